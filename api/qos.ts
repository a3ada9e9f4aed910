// The QoS class of a pod: who is throttled and evicted first. After pkg/apis/core/v1/helper/qos.
import type { Pod, ResourceRequirements } from './pod.ts';
import { addQuantities, compareQuantities, parseQuantity, type Quantity } from './quantity.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

const QOS_RESOURCES = ['cpu', 'memory'] as const;

/** The class as the API server recorded it (immutable), else computed from the spec. */
export function podQosClass(pod: Pod): QosClass {
  return (pod.status?.qosClass as QosClass | undefined) ?? computeQosClass(pod);
}

/**
 * Computes the class from cpu and memory greater than zero of regular and init containers; ephemeral containers do
 * not count, and pod-level resources, when present, count instead of the containers'.
 */
export function computeQosClass(pod: Pod): QosClass {
  const spec = pod.spec;
  const all: (ResourceRequirements | undefined)[] =
    spec?.resources !== undefined
      ? [spec.resources]
      : [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].map((c) => c.resources);
  const requests = new Map<string, Quantity>();
  const limits = new Map<string, Quantity>();
  let everyLimited = true;
  for (const resources of all) {
    addPositive(requests, resources?.requests);
    const limited = addPositive(limits, resources?.limits);
    if (limited !== QOS_RESOURCES.length) everyLimited = false;
  }
  if (requests.size === 0 && limits.size === 0) return 'BestEffort';
  const guaranteed =
    everyLimited &&
    requests.size === limits.size &&
    [...requests].every(([name, amount]) => {
      const limit = limits.get(name);
      return limit !== undefined && compareQuantities(amount, limit) === 0;
    });
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

/** Adds the positive cpu and memory entries of `list`; returns how many there were. */
function addPositive(into: Map<string, Quantity>, list: Readonly<Record<string, string>> | undefined): number {
  let found = 0;
  for (const name of QOS_RESOURCES) {
    const text = list?.[name];
    if (text === undefined) continue;
    const amount = parseQuantity(text);
    if (amount.nanos <= 0n) continue;
    found++;
    const current = into.get(name);
    into.set(name, current === undefined ? amount : addQuantities(current, amount));
  }
  return found;
}
