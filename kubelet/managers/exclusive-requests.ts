// What of a pod's requests managers tie to containers: whole CPUs and memory, of Guaranteed pods. Pure. After
// pkg/kubelet/cm/cpumanager/policy_static.go guaranteedCPUs, memorymanager/policy_static.go getRequestedResources.
import type { Container, Pod } from '../../api/pod.ts';
import { amountsOf } from '../../api/pod-resources.ts';
import { podQosClass } from '../../api/qos.ts';
import { type Quantity, quantityMilliValue, quantityValue } from '../../api/quantity.ts';
import { isSidecar } from '../runtime/restart-policy.ts';

/** Of a pod that has resources as a whole no container has any for itself (upstream: gate PodLevelResourceManagers). */
export function hasExclusiveRequests(pod: Pod): boolean {
  const { requests = {}, limits = {} } = pod.spec?.resources ?? {};
  if (Object.keys(requests).length + Object.keys(limits).length > 0) return false;
  return podQosClass(pod) === 'Guaranteed';
}

/** CPUs that the container asks to have alone; 0: it shares. */
export function exclusiveCpus(pod: Pod, container: Container): number {
  if (!hasExclusiveRequests(pod)) return 0;
  const millis = requestsOf(container).get('cpu');
  if (millis === undefined) return 0;
  const value = quantityMilliValue(millis);
  return value % 1000 === 0 ? value / 1000 : 0;
}

/** Memory and huge pages that the container asks for, bytes by type. */
export function exclusiveMemory(pod: Pod, container: Container): ReadonlyMap<string, number> {
  if (!hasExclusiveRequests(pod)) return new Map();
  const memory = [...requestsOf(container)].filter(([name]) => name === 'memory' || name.startsWith('hugepages-'));
  return new Map(memory.map(([name, amount]) => [name, quantityValue(amount)]));
}

/** The most that the containers of a pod need at a time: an init container runs alone but for the sidecars before it. */
export function podPeak(pod: Pod, amountOf: (container: Container) => number): number {
  let [sidecars, init] = [0, 0];
  for (const container of pod.spec?.initContainers ?? []) {
    const amount = amountOf(container);
    if (isSidecar(container)) sidecars += amount;
    else init = Math.max(init, sidecars + amount);
  }
  const running = (pod.spec?.containers ?? []).reduce((sum, container) => sum + amountOf(container), sidecars);
  return Math.max(init, running);
}

/** Runs to its end before the next container: what it had is free for them. */
export function isPlainInit(pod: Pod, container: Container): boolean {
  return pod.spec?.initContainers?.some((c) => c.name === container.name && !isSidecar(c)) ?? false;
}

/** What is only limited is requested as well. */
function requestsOf(container: Container): ReadonlyMap<string, Quantity> {
  return new Map([...amountsOf(container.resources, 'limits'), ...amountsOf(container.resources, 'requests')]);
}
