// Binding: how the scheduler gives a pod its node. After pkg/registry/core/pod/storage BindingREST.
import { formatTime, type KubeObject } from '../api/meta.ts';
import type { Pod } from '../api/pod.ts';
import { pods } from '../api/resources.ts';
import type { Clock } from '../core/clock.ts';
import type { AnyObject } from './registry/definition.ts';
import { invalidObject, notSupported, required } from './registry/field-errors.ts';
import type { Registry } from './registry/registry.ts';
import type { WriteContext } from './registry/resource-store.ts';
import { badRequest, conflict } from './status-error.ts';
import type { ObjectSubresource, VirtualResource } from './subresource.ts';

interface Binding extends KubeObject {
  target?: { kind?: string; name?: string };
}

const BINDING_KIND = { group: '', version: 'v1', kind: 'Binding' } as const;
const RESOURCE = { group: '', resource: 'pods/binding' };

export function bindingSubresource(registry: Registry, clock: Clock): ObjectSubresource {
  return {
    type: 'object',
    ...BINDING_KIND,
    resource: 'pods',
    subresource: 'binding',
    verbs: ['create'],
    responseKind: BINDING_KIND,
    async create(body, { info, dryRun, warn }) {
      const named = body.metadata?.name;
      if (named && named !== info.name) {
        throw badRequest(`the name of the object (${named}) does not match the name on the URL (${info.name})`);
      }
      await bind(registry, clock, info.namespace, info.name, body, { user: info.user, dryRun, warn });
      return { code: 201, object: success() };
    },
  };
}

/** POST /bindings: the pod is named by the body. */
export function bindingsResource(registry: Registry, clock: Clock): VirtualResource {
  return {
    ...BINDING_KIND,
    plural: 'bindings',
    namespaced: true,
    async create(body, { info, dryRun, warn }) {
      await bind(registry, clock, info.namespace, body.metadata?.name ?? '', body, { user: info.user, dryRun, warn });
      return success();
    },
  };
}

function success(): KubeObject {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 } as KubeObject;
}

async function bind(
  registry: Registry,
  clock: Clock,
  namespace: string,
  name: string,
  binding: Binding,
  context: WriteContext,
): Promise<void> {
  const { kind = '', name: node = '' } = binding.target ?? {};
  const faults = [
    ...(kind === '' || kind === 'Node' ? [] : [notSupported('target.kind', kind, ['Node', '<empty>'])]),
    ...(node === '' ? [required('target.name')] : []),
  ];
  if (faults.length > 0) throw invalidObject('', 'Binding', name, faults);
  const change = (current: AnyObject) => bound(current as Pod, binding, node, clock.now()) as AnyObject;
  await registry.endpoint(pods).resource.update(namespace, name, 'binding', change, context);
}

function bound(pod: Pod, binding: Binding, node: string, nowMs: number): Pod {
  const name = pod.metadata?.name ?? '';
  if (pod.metadata?.deletionTimestamp !== undefined) {
    throw conflict(RESOURCE, name, `pod ${name} is being deleted, cannot be assigned to a host`);
  }
  if (pod.spec?.nodeName) {
    throw conflict(RESOURCE, name, `pod ${name} is already assigned to node "${pod.spec.nodeName}"`);
  }
  if ((pod.spec?.schedulingGates?.length ?? 0) > 0) {
    throw conflict(RESOURCE, name, `pod ${name} has non-empty .spec.schedulingGates`);
  }
  const { uid, resourceVersion, annotations, labels } = binding.metadata ?? {};
  const { resourceVersion: _, ...metadata } = pod.metadata ?? {};
  const { nominatedNodeName: _n, ...status } = pod.status ?? {};
  const others = (status.conditions ?? []).filter((c) => c.type !== 'PodScheduled');
  const scheduled = {
    type: 'PodScheduled',
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: formatTime(nowMs),
  };
  return {
    ...pod,
    metadata: {
      ...metadata,
      ...(uid ? { uid } : {}),
      ...(resourceVersion ? { resourceVersion } : {}),
      ...(annotations === undefined ? {} : { annotations: { ...metadata.annotations, ...annotations } }),
      ...(labels === undefined ? {} : { labels: { ...metadata.labels, ...labels } }),
    },
    spec: { ...pod.spec!, nodeName: node },
    status: { ...status, conditions: [...others, scheduled] as NonNullable<Pod['status']>['conditions'] & object },
  };
}
