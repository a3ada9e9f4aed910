// What a pod asks for as a whole: requests and limits over all its containers (k8s.io/component-helpers resource).
import type { Pod, ResourceRequirements } from './pod.ts';
import { addQuantities, compareQuantities, parseQuantity, type Quantity } from './quantity.ts';

type Which = 'requests' | 'limits';

/** One list of resources, parsed. @throws {ParseError} for a text that is no quantity. */
export function amountsOf(resources: ResourceRequirements | undefined, which: Which): Map<string, Quantity> {
  return parseAmounts(resources?.[which]);
}

/** Requests of the whole pod with its overhead, by resource name. @throws {ParseError} */
export function podRequests(pod: Pod): Map<string, Quantity> {
  return sum([podAmounts(pod, 'requests'), parseAmounts(pod.spec?.overhead)]);
}

/** Limits of the whole pod; overhead widens only what is limited. @throws {ParseError} */
export function podLimits(pod: Pod): Map<string, Quantity> {
  const limits = podAmounts(pod, 'limits');
  const overhead = [...parseAmounts(pod.spec?.overhead)].filter(([name]) => limits.has(name));
  return sum([limits, new Map(overhead)]);
}

/** True when nothing in the pod can use more of `resource` than its limits say: all containers, or the pod, limited. */
export function isPodLimited(pod: Pod, resource: string): boolean {
  const limited = (r: ResourceRequirements | undefined) => (amountsOf(r, 'limits').get(resource)?.nanos ?? 0n) > 0n;
  if (limited(pod.spec?.resources)) return true;
  return [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].every((c) => limited(c.resources));
}

/**
 * Requests or limits of the whole pod, without overhead. Regular containers add up; an init container runs alone but
 * for the sidecars started before it; sidecars stay. Pod-level values replace the sum, resource by resource.
 */
export function podAmounts(pod: Pod, which: Which): Map<string, Quantity> {
  let running = sum((pod.spec?.containers ?? []).map((c) => amountsOf(c.resources, which)));
  let sidecars = new Map<string, Quantity>();
  let initPeak = new Map<string, Quantity>();
  for (const container of pod.spec?.initContainers ?? []) {
    const own = amountsOf(container.resources, which);
    const together = sum([sidecars, own]);
    if (container.restartPolicy === 'Always') {
      running = sum([running, own]);
      sidecars = together;
    }
    initPeak = max(initPeak, together);
  }
  return new Map([...max(running, initPeak), ...amountsOf(pod.spec?.resources, which)]);
}

function parseAmounts(list: Readonly<Record<string, string>> | undefined): Map<string, Quantity> {
  return new Map(Object.entries(list ?? {}).map(([name, text]) => [name, parseQuantity(text)]));
}

function sum(all: readonly ReadonlyMap<string, Quantity>[]): Map<string, Quantity> {
  const total = new Map<string, Quantity>();
  for (const amounts of all) {
    for (const [name, amount] of amounts) {
      const before = total.get(name);
      total.set(name, before === undefined ? amount : addQuantities(before, amount));
    }
  }
  return total;
}

function max(a: ReadonlyMap<string, Quantity>, b: ReadonlyMap<string, Quantity>): Map<string, Quantity> {
  const result = new Map(a);
  for (const [name, amount] of b) {
    const other = result.get(name);
    if (other === undefined || compareQuantities(amount, other) > 0) result.set(name, amount);
  }
  return result;
}
