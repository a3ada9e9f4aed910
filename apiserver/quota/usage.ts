// What an object takes of the quotas of its namespace, by the names that quotas use. Pure. Source:
// pkg/quota/v1/evaluator/core.
import type { PersistentVolumeClaim, Service } from 'kubernetes-types/core/v1.js';
import type { KubeObject } from '../../api/meta.ts';
import { isTerminalPhase, type Pod } from '../../api/pod.ts';
import { podLimits, podRequests } from '../../api/pod-resources.ts';
import { parseQuantity, type Quantity, quantityOf } from '../../api/quantity.ts';
import { withCountedRequests } from '../scheduler/pod-in-resize.ts';

export type Usage = ReadonlyMap<string, Quantity>;

export interface Counted {
  /** '' for the core group. */
  readonly group: string;
  /** Plural. */
  readonly resource: string;
}

const ONE = quantityOf(1);
const COMPUTE = ['cpu', 'memory', 'ephemeral-storage'];
/** Kinds that had a name of their own before `count/…` came. */
const PLAIN = new Set(['configmaps', 'secrets', 'replicationcontrollers', 'resourcequotas', 'services']);

/** `nowMs`: a pod whose grace is over takes nothing but its place in the store. */
export function usageOf({ group, resource }: Counted, object: KubeObject, nowMs: number): Usage {
  const usage = new Map<string, Quantity>([[countName({ group, resource }), ONE]]);
  if (group !== '') return usage;
  if (PLAIN.has(resource)) usage.set(resource, ONE);
  if (resource === 'services') addService(usage, object as Service);
  if (resource === 'persistentvolumeclaims') addClaim(usage, object as PersistentVolumeClaim);
  if (resource === 'pods' && isCharged(object as Pod, nowMs)) addPod(usage, object as Pod);
  return usage;
}

function countName({ group, resource }: Counted): string {
  return `count/${resource}${group === '' ? '' : `.${group}`}`;
}

function addService(usage: Map<string, Quantity>, { spec }: Service): void {
  const ports = spec?.ports?.length ?? 0;
  const balanced = spec?.type === 'LoadBalancer';
  if (balanced) usage.set('services.loadbalancers', ONE);
  const allocated = spec?.type === 'NodePort' || (balanced && spec.allocateLoadBalancerNodePorts !== false);
  if (allocated) usage.set('services.nodeports', quantityOf(ports));
}

function addClaim(usage: Map<string, Quantity>, { spec }: PersistentVolumeClaim): void {
  const storage = spec?.resources?.requests?.storage;
  const prefixes = ['', ...(spec?.storageClassName ? [`${spec.storageClassName}.storageclass.storage.k8s.io/`] : [])];
  for (const prefix of prefixes) {
    usage.set(`${prefix}persistentvolumeclaims`, ONE);
    if (storage !== undefined) usage.set(`${prefix}requests.storage`, parseQuantity(storage));
  }
}

function isCharged({ metadata, status }: Pod, nowMs: number): boolean {
  if (isTerminalPhase(status?.phase)) return false;
  // deletionTimestamp is the time at which the grace is over.
  return metadata?.deletionTimestamp === undefined || Date.parse(metadata.deletionTimestamp) > nowMs;
}

function addPod(usage: Map<string, Quantity>, pod: Pod): void {
  usage.set('pods', ONE);
  for (const [name, amount] of podRequests(withCountedRequests(pod))) {
    if (COMPUTE.includes(name) || name.startsWith('hugepages-')) usage.set(name, amount);
    usage.set(`requests.${name}`, amount);
  }
  for (const [name, amount] of podLimits(pod)) {
    if (COMPUTE.includes(name)) usage.set(`limits.${name}`, amount);
  }
}

/** Compute resources that a quota tracks and a container must therefore name: `must specify …`, or undefined. */
export function missingRequirements(tracked: readonly string[], { spec }: Pod): string | undefined {
  const names = tracked.filter((name) => /^((requests|limits)\.)?(cpu|memory)$/.test(name)).sort();
  const faults = names.flatMap((name) => {
    const list = name.startsWith('limits.') ? 'limits' : 'requests';
    const resource = name.slice(name.indexOf('.') + 1);
    // Named for the pod as a whole, it need not be named for each container.
    if (spec?.resources?.[list]?.[resource] !== undefined) return [];
    const silent = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].filter(
      (c) => c.resources?.[list]?.[resource] === undefined,
    );
    const who = silent.map((c) => c.name).sort();
    return who.length === 0 ? [] : [`${name} for: ${who.join(',')}`];
  });
  return faults.length === 0 ? undefined : `must specify ${faults.join('; ')}`;
}
