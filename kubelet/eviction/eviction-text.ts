// What an evicted pod's status and Event say: what ran short, and which containers used more than they had asked for.
// Pure. After pkg/kubelet/eviction/helpers.go evictionMessage.
import type { Pod } from '../../api/pod.ts';
import { amountsOf, podRequests } from '../../api/pod-resources.ts';
import { compareQuantities, formatQuantity, quantityOf, ZERO_QUANTITY } from '../../api/quantity.ts';
import type { PodStorage } from '../stats/usage.ts';
import { availableQuantity, type Observations } from './observations.ts';
import type { PodUse } from './ranking.ts';
import { resourceOf, type StarvedResource } from './signals.ts';
import { amountOf, type Threshold } from './thresholds.ts';

/** What containers use, as far as it is known, by name. */
export type ContainerMemory = ReadonlyMap<string, number>;

export interface EvictionText {
  readonly message: string;
  /** Of the Event. */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Shortage {
  readonly resource: StarvedResource;
  readonly due: readonly Threshold[];
  readonly observations: Observations;
}

export function evictionText(
  pod: Pod,
  use: PodUse | undefined,
  containerMemory: ContainerMemory,
  shortage: Shortage,
): EvictionText {
  const { resource } = shortage;
  const parts = [`The node was low on resource: ${resource}. `, thresholdText(shortage)];
  const annotations: Record<string, string> = {};
  const wholePod = resource === 'memory' ? podOffence(pod, use) : undefined;
  if (wholePod !== undefined) {
    parts.push(wholePod.text);
    annotations.offending_pod = pod.metadata?.name ?? '';
    annotations.offending_pod_usage = wholePod.usage;
  }
  const offences = containerOffences(pod, use, containerMemory, resource);
  return {
    message: [...parts, ...offences.map((o) => o.text)].join(''),
    annotations: {
      ...annotations,
      offending_containers: offences.map((o) => o.name).join(','),
      offending_containers_usage: offences.map((o) => o.usage).join(','),
      starved_resource: resource,
    },
  };
}

function thresholdText({ resource, due, observations }: Shortage): string {
  for (const { signal, value } of due) {
    const observed = observations.get(signal);
    if (observed === undefined || resourceOf(signal) !== resource) continue;
    const quantity = formatQuantity(amountOf(value, observed.capacity));
    return `Threshold quantity: ${quantity}, available: ${formatQuantity(availableQuantity(signal, observed.available))}. `;
  }
  return '';
}

interface Offence {
  readonly name: string;
  readonly usage: string;
  readonly text: string;
}

/** Only a pod that asked for memory as a whole answers for it as a whole. */
function podOffence(pod: Pod, use: PodUse | undefined): Offence | undefined {
  if (pod.spec?.resources?.requests?.memory === undefined || use?.workingSetBytes === undefined) return undefined;
  const name = pod.metadata?.name ?? '';
  const request = podRequests(pod).get('memory') ?? ZERO_QUANTITY;
  return offence(`Pod ${name}`, name, use.workingSetBytes, request, 'memory');
}

function containerOffences(
  pod: Pod,
  use: PodUse | undefined,
  containerMemory: ContainerMemory,
  resource: StarvedResource,
): Offence[] {
  if (resource !== 'memory' && resource !== 'ephemeral-storage') return [];
  const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  return all.flatMap(({ name, resources }) => {
    const used = resource === 'memory' ? containerMemory.get(name) : storageOf(use?.storage, name);
    const request = amountsOf(resources, 'requests').get(resource) ?? ZERO_QUANTITY;
    return used === undefined ? [] : (offence(`Container ${name}`, name, used, request, resource) ?? []);
  });
}

function storageOf(storage: PodStorage | undefined, container: string): number | undefined {
  const [layer, logs] = [storage?.rootfs.get(container), storage?.logs.get(container)];
  return layer === undefined || logs === undefined ? undefined : layer.usedBytes + logs.usedBytes;
}

function offence(
  who: string,
  name: string,
  used: number,
  request: typeof ZERO_QUANTITY,
  resource: string,
): Offence | undefined {
  const quantity = quantityOf(used, 'BinarySI');
  if (compareQuantities(quantity, request) <= 0) return undefined;
  const usage = formatQuantity(quantity);
  const text = `${who} was using ${usage}, request is ${formatQuantity(request)}, has larger consumption of ${resource}. `;
  return { name, usage, text };
}
