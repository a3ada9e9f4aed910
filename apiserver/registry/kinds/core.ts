// The kinds of the core group besides Pod and Service.

import type { ConfigMap, Namespace, Node, Secret } from '../../../api/kinds.ts';
import { formatLabelSelector, selectorOfMap } from '../../../api/labels.ts';
import { defaultNamespace, prepareNamespace } from '../defaults/namespace.ts';
import {
  defaultEndpoints,
  defaultLimitRange,
  defaultNode,
  defaultPersistentVolume,
  defaultPersistentVolumeClaim,
  defaultSecret,
} from '../defaults/others.ts';
import { defaultReplicationController, defaultTemplate } from '../defaults/workloads.ts';
import type { AnyObject, UpdateSubresource } from '../definition.ts';
import { restore } from '../restore.ts';
import * as tables from '../tables/core.ts';
import { eventTable } from '../tables/event.ts';
import { configMapFaults, immutableDataFaults, secretFaults, secretUpdateFaults } from '../validation/config.ts';
import { eventFaults } from '../validation/events.ts';
import { limitRangeFaults, resourceQuotaFaults, resourceQuotaUpdateFaults } from '../validation/limits.ts';
import { nodeFaults, nodeStatusFaults, nodeUpdateFaults } from '../validation/node.ts';
import {
  claimFaults,
  claimUpdateFaults,
  persistentVolumeFaults,
  persistentVolumeUpdateFaults,
} from '../validation/storage.ts';
import { templateOwnerFaults } from '../validation/workloads.ts';
import { clusterScoped, namespaced } from './build.ts';

/** PUT …/finalize takes spec.finalizers and nothing else. */
const finalize: UpdateSubresource = {
  reset(next, old) {
    const finalizers = (next as Namespace).spec?.finalizers;
    for (const member of Object.keys(next)) delete next[member as keyof AnyObject];
    Object.assign(next, structuredClone(old));
    next.spec = { ...next.spec };
    if (finalizers === undefined || finalizers.length === 0) delete next.spec.finalizers;
    else next.spec.finalizers = finalizers;
  },
};

const replicationControllers = namespaced('', 'v1', 'replicationcontrollers', 'ReplicationController', {
  root: '/registry/controllers/',
  shortNames: ['rc'],
  categories: ['all'],
  status: true,
  generation: true,
  orphansByDefault: true,
  fields: { 'status.replicas': (o) => String(o.status?.replicas ?? 0) },
  defaults: defaultReplicationController,
  prepareCreate: (o) => {
    o.status = { replicas: 0 };
  },
  validate: templateOwnerFaults,
  scale: {
    selector: (o) => formatLabelSelector(selectorOfMap(o.spec?.selector ?? {})),
    statusReplicas: (o) => o.status?.replicas ?? 0,
  },
  table: tables.replicationController,
});

const eventFields = Object.fromEntries(
  ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map((member) => [
    `involvedObject.${member}`,
    (o: AnyObject) => eventOf(o).involvedObject?.[member] ?? '',
  ]),
);

interface EventFields {
  involvedObject?: Record<string, string>;
  reason?: string;
  type?: string;
  source?: { component?: string };
  reportingComponent?: string;
}

const eventOf = (o: AnyObject): EventFields => o as unknown as EventFields;

const EVENT_TTL_S = 3600;

export const coreKinds = [
  namespaced('', 'v1', 'configmaps', 'ConfigMap', {
    shortNames: ['cm'],
    validate: (o) => configMapFaults(o as ConfigMap),
    validateUpdate: (next, old) => immutableDataFaults(next as ConfigMap, old as ConfigMap, ['data', 'binaryData']),
    table: tables.configMap,
  }),
  namespaced('', 'v1', 'endpoints', 'Endpoints', {
    root: '/registry/services/endpoints/',
    shortNames: ['ep'],
    createOnUpdate: true,
    deprecation: 'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice',
    defaults: defaultEndpoints,
    table: tables.endpoints,
  }),
  namespaced('', 'v1', 'events', 'Event', {
    shortNames: ['ev'],
    ttlSeconds: EVENT_TTL_S,
    createOnUpdate: true,
    fields: {
      ...eventFields,
      reason: (o) => eventOf(o).reason ?? '',
      type: (o) => eventOf(o).type ?? '',
      source: (o) => eventOf(o).source?.component ?? eventOf(o).reportingComponent ?? '',
      reportingComponent: (o) => eventOf(o).reportingComponent ?? '',
    },
    validate: eventFaults,
    table: eventTable,
  }),
  namespaced('', 'v1', 'limitranges', 'LimitRange', {
    shortNames: ['limits'],
    createOnUpdate: true,
    defaults: defaultLimitRange,
    validate: limitRangeFaults,
  }),
  clusterScoped('', 'v1', 'namespaces', 'Namespace', {
    shortNames: ['ns'],
    verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
    status: true,
    nameRule: 'label',
    fields: { 'status.phase': (o) => o.status?.phase ?? '' },
    defaults: defaultNamespace,
    prepareCreate: prepareNamespace,
    prepareUpdate: (next, old) => {
      next.spec = { ...next.spec };
      restore(next.spec, old.spec, 'finalizers');
    },
    startDeletion: (o) => {
      o.status = { ...o.status, phase: 'Terminating' };
    },
    finished: (o) => ((o as Namespace).spec?.finalizers ?? []).length === 0,
    subresources: { finalize },
    table: tables.namespace,
  }),
  clusterScoped('', 'v1', 'nodes', 'Node', {
    root: '/registry/minions/',
    shortNames: ['no'],
    status: true,
    keepStatusOnCreate: true,
    fields: { 'spec.unschedulable': (o) => String((o as Node).spec?.unschedulable ?? false) },
    defaults: defaultNode,
    prepareCreate: (o) => {
      o.spec ??= {};
      o.status ??= {};
    },
    validate: (o) => nodeFaults(o as Node),
    validateUpdate: (next, old) => nodeUpdateFaults(next as Node, old as Node),
    subresources: { status: { reset: () => {}, validate: (next) => nodeStatusFaults(next as Node) } },
    table: tables.node,
  }),
  namespaced('', 'v1', 'persistentvolumeclaims', 'PersistentVolumeClaim', {
    shortNames: ['pvc'],
    status: true,
    defaults: defaultPersistentVolumeClaim,
    validate: claimFaults,
    validateUpdate: claimUpdateFaults,
    table: tables.persistentVolumeClaim,
  }),
  clusterScoped('', 'v1', 'persistentvolumes', 'PersistentVolume', {
    shortNames: ['pv'],
    status: true,
    defaults: defaultPersistentVolume,
    validate: persistentVolumeFaults,
    validateUpdate: persistentVolumeUpdateFaults,
    table: tables.persistentVolume,
  }),
  namespaced('', 'v1', 'podtemplates', 'PodTemplate', {
    defaults: (o) => defaultTemplate((o as { template?: Parameters<typeof defaultTemplate>[0] }).template),
    table: tables.podTemplate,
  }),
  replicationControllers,
  namespaced('', 'v1', 'resourcequotas', 'ResourceQuota', {
    shortNames: ['quota'],
    status: true,
    validate: resourceQuotaFaults,
    validateUpdate: resourceQuotaUpdateFaults,
    table: tables.resourceQuota,
  }),
  namespaced('', 'v1', 'secrets', 'Secret', {
    fields: { type: (o) => (o as Secret).type ?? '' },
    defaults: defaultSecret,
    validate: (o) => secretFaults(o as Secret),
    validateUpdate: (next, old) => secretUpdateFaults(next as Secret, old as Secret),
    table: tables.secret,
  }),
  namespaced('', 'v1', 'serviceaccounts', 'ServiceAccount', { shortNames: ['sa'], table: tables.serviceAccount }),
];
