// The kinds of the remaining groups.
import { isDeepStrictEqual } from 'node:util';
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import type { RoleBinding } from 'kubernetes-types/rbac/v1.js';
import {
  defaultCsiDriver,
  defaultEndpointSlice,
  defaultIngressClass,
  defaultNetworkPolicy,
  defaultPriorityClass,
  defaultRoleBinding,
  defaultStorageClass,
} from '../defaults/others.ts';
import type { AnyObject, KindDefinition, UpdateSubresource } from '../definition.ts';
import { restore } from '../restore.ts';
import * as tables from '../tables/others.ts';
import * as certificates from '../validation/certificates.ts';
import { csiNodeFaults, csiNodeUpdateFaults } from '../validation/csi-node.ts';
import { runtimeClassFaults } from '../validation/limits.ts';
import * as faults from '../validation/others.ts';
import { csiDriverFaults, storageClassFaults } from '../validation/storage.ts';
import { clusterScoped, namespaced } from './build.ts';

const RBAC = 'rbac.authorization.k8s.io';

type SigningRequest = CertificateSigningRequest;

/** /approval and /status each own some conditions; /status alone sets the certificate. */
function signingRequestPart(owns: (type: string) => boolean, certificate: boolean): UpdateSubresource {
  return {
    reset(next, old) {
      const wanted = (next as unknown as SigningRequest).status;
      const known = (old as unknown as SigningRequest).status;
      for (const member of Object.keys(next)) delete next[member as keyof AnyObject];
      Object.assign(next, structuredClone(old));
      const kept = (known?.conditions ?? []).filter((c) => !owns(c.type));
      const taken = (wanted?.conditions ?? []).filter((c) => owns(c.type));
      const conditions = [...kept, ...taken];
      next.status = { ...known, ...(conditions.length === 0 ? {} : { conditions }) };
      if (certificate && wanted?.certificate !== undefined) next.status.certificate = wanted.certificate;
    },
    validate: (next, old) =>
      certificates.approvalFaults(next as unknown as SigningRequest, old as unknown as SigningRequest),
  };
}

const isDecision = (type: string): boolean => type === 'Approved' || type === 'Denied';

function role(kind: KindDefinition): KindDefinition {
  return { ...kind, nameRule: 'path-segment', createOnUpdate: true };
}

const binding: Partial<KindDefinition> = {
  defaults: defaultRoleBinding,
  validate: (o) => faults.roleBindingFaults(o as unknown as RoleBinding),
  validateUpdate: (next, old) =>
    faults.roleBindingUpdateFaults(next as unknown as RoleBinding, old as unknown as RoleBinding),
  table: tables.roleBinding,
};

export const otherKinds: KindDefinition[] = [
  clusterScoped('certificates.k8s.io', 'v1', 'certificatesigningrequests', 'CertificateSigningRequest', {
    shortNames: ['csr'],
    status: true,
    nameRule: 'path-segment',
    fields: { 'spec.signerName': (o) => o.spec?.signerName ?? '' },
    prepareCreate: (o, { user }) => {
      o.spec = { ...o.spec, username: user.name, groups: [...user.groups] };
      if (user.uid !== undefined) o.spec.uid = user.uid;
      if (user.extra !== undefined) o.spec.extra = user.extra;
      o.status = {};
    },
    prepareUpdate: (next, old) => restore(next, old, 'spec'),
    validate: (o) => certificates.signingRequestFaults(o as unknown as SigningRequest),
    subresources: {
      approval: signingRequestPart(isDecision, false),
      status: signingRequestPart((type) => !isDecision(type), true),
    },
    table: tables.signingRequest,
  }),
  namespaced('coordination.k8s.io', 'v1', 'leases', 'Lease', {
    createOnUpdate: true,
    versionedUpdate: true,
    validate: faults.leaseFaults,
    table: tables.lease,
  }),
  namespaced('discovery.k8s.io', 'v1', 'endpointslices', 'EndpointSlice', {
    generation: true,
    defaults: defaultEndpointSlice,
    validate: faults.endpointSliceFaults,
    validateUpdate: faults.endpointSliceUpdateFaults,
    table: tables.endpointSlice,
  }),
  namespaced('networking.k8s.io', 'v1', 'ingresses', 'Ingress', {
    shortNames: ['ing'],
    status: true,
    generation: true,
    prepareCreate: (o) => {
      o.status = { loadBalancer: {} };
    },
    table: tables.ingress,
  }),
  clusterScoped('networking.k8s.io', 'v1', 'ingressclasses', 'IngressClass', {
    generation: true,
    defaults: defaultIngressClass,
    table: tables.ingressClass,
  }),
  namespaced('networking.k8s.io', 'v1', 'networkpolicies', 'NetworkPolicy', {
    shortNames: ['netpol'],
    generation: true,
    defaults: defaultNetworkPolicy,
    table: tables.networkPolicy,
  }),
  clusterScoped('networking.k8s.io', 'v1', 'servicecidrs', 'ServiceCIDR', {
    status: true,
    statusKeepsMetadata: true,
    generation: true,
    table: tables.serviceCidr,
  }),
  clusterScoped('networking.k8s.io', 'v1', 'ipaddresses', 'IPAddress', {
    shortNames: ['ip'],
    generation: true,
    nameRule: 'path-segment',
    table: tables.ipAddress,
  }),
  clusterScoped('node.k8s.io', 'v1', 'runtimeclasses', 'RuntimeClass', {
    createOnUpdate: true,
    versionedUpdate: true,
    validate: runtimeClassFaults,
    validateUpdate: (next, old) => faults.immutable(next, old, ['handler']),
    table: tables.runtimeClass,
  }),
  role(namespaced(RBAC, 'v1', 'roles', 'Role', { validate: faults.roleFaults })),
  role(clusterScoped(RBAC, 'v1', 'clusterroles', 'ClusterRole', { validate: faults.roleFaults })),
  role(namespaced(RBAC, 'v1', 'rolebindings', 'RoleBinding', binding)),
  role(clusterScoped(RBAC, 'v1', 'clusterrolebindings', 'ClusterRoleBinding', binding)),
  clusterScoped('scheduling.k8s.io', 'v1', 'priorityclasses', 'PriorityClass', {
    shortNames: ['pc'],
    generation: true,
    defaults: defaultPriorityClass,
    validate: faults.priorityClassFaults,
    validateUpdate: (next, old) => faults.immutable(next, old, ['value', 'preemptionPolicy']),
    table: tables.priorityClass,
  }),
  clusterScoped('storage.k8s.io', 'v1', 'storageclasses', 'StorageClass', {
    shortNames: ['sc'],
    defaults: defaultStorageClass,
    validate: storageClassFaults,
    validateUpdate: (next, old) =>
      faults.immutable(next, old, ['provisioner', 'parameters', 'reclaimPolicy', 'volumeBindingMode']),
    table: tables.storageClass,
  }),
  clusterScoped('storage.k8s.io', 'v1', 'csidrivers', 'CSIDriver', {
    versionedUpdate: true,
    defaults: defaultCsiDriver,
    validate: csiDriverFaults,
    table: tables.csiDriver,
  }),
  clusterScoped('storage.k8s.io', 'v1', 'csinodes', 'CSINode', {
    versionedUpdate: true,
    validate: csiNodeFaults,
    validateUpdate: csiNodeUpdateFaults,
    table: tables.csiNode,
  }),
  namespaced('storage.k8s.io', 'v1', 'csistoragecapacities', 'CSIStorageCapacity', { versionedUpdate: true }),
  clusterScoped('storage.k8s.io', 'v1', 'volumeattachments', 'VolumeAttachment', {
    status: true,
    statusKeepsMetadata: true,
    versionedUpdate: true,
    validateUpdate: (next, old) =>
      isDeepStrictEqual(next.spec, old.spec) ? [] : faults.immutable(next, old, ['spec']),
    table: tables.volumeAttachment,
  }),
  clusterScoped('storage.k8s.io', 'v1', 'volumeattributesclasses', 'VolumeAttributesClass', { shortNames: ['vac'] }),
];
