// Whose place a critical pod takes when the node is full. As few pods as possible go, the least assured first: those of
// a higher QoS class only where all lower ones together would not do. Pure. After pkg/kubelet/preemption/preemption.go.

import type { Pod, PodStatus } from '../api/pod.ts';
import { podQosClass } from '../api/qos.ts';
import {
  addQuantities,
  compareQuantities,
  type Quantity,
  quantityMilliValue,
  quantityOf,
  quantityValue,
} from '../api/quantity.ts';
import { endedByNode } from './eviction/evicted-status.ts';
import { type Shortage, takenBy } from './node-fit.ts';
import { isCriticalPod } from './pod-manager.ts';

export const PREEMPTION_MESSAGE = 'Preempted in order to admit critical pod';

export type Victims = { readonly victims: readonly Pod[] } | { readonly unmet: string };

interface Candidate {
  readonly pod: Pod;
  readonly taken: ReadonlyMap<string, Quantity>;
}

/** Pods of `active` whose end gives `pod` what it lacks; `unmet` says what would still be missing with all of them gone. */
export function chooseVictims(pod: Pod, active: readonly Pod[], shortages: readonly Shortage[]): Victims {
  const candidates = active.filter((p) => mayPreempt(pod, p)).map((p) => ({ pod: p, taken: takenBy(p) }));
  const left = without(shortages, candidates);
  if (left.length > 0) return { unmet: left.map(shortageText).join('') };
  const ofClass = (qos: string) => candidates.filter((c) => podQosClass(c.pod) === qos);
  const [bestEffort, burstable, guaranteed] = [ofClass('BestEffort'), ofClass('Burstable'), ofClass('Guaranteed')];
  const fromGuaranteed = closest(guaranteed, without(shortages, [...bestEffort, ...burstable]));
  const fromBurstable = closest(burstable, without(shortages, [...bestEffort, ...fromGuaranteed]));
  const fromBestEffort = closest(bestEffort, without(shortages, [...fromBurstable, ...fromGuaranteed]));
  return { victims: [...fromBestEffort, ...fromBurstable, ...fromGuaranteed].map((c) => c.pod) };
}

/** Only what is critical takes others' place, and only theirs that are less so. */
function mayPreempt(pod: Pod, other: Pod): boolean {
  if (!isCriticalPod(pod)) return false;
  if (!isCriticalPod(other)) return true;
  const [own, theirs] = [pod.spec?.priority, other.spec?.priority];
  return own !== undefined && theirs !== undefined && own > theirs;
}

/** What is still missing when `gone` are. */
function without(shortages: readonly Shortage[], gone: readonly Candidate[]): Shortage[] {
  return shortages.flatMap(({ resource, missing }) => {
    const freed = gone.reduce((sum, c) => addQuantities(sum, c.taken.get(resource) ?? quantityOf(0)), quantityOf(0));
    const nanos = missing.nanos - freed.nanos;
    return nanos > 0n ? [{ resource, missing: { ...missing, nanos } }] : [];
  });
}

/** Takes the pod that comes nearest to what is missing, again and again; of equal ones the smaller. */
function closest(candidates: readonly Candidate[], shortages: readonly Shortage[]): Candidate[] {
  const chosen: Candidate[] = [];
  let left = shortages;
  for (let open = [...candidates]; left.length > 0 && open.length > 0; ) {
    const [first, ...rest] = open;
    const best = rest.reduce((a, b) => (isBetter(b, a, left) ? b : a), first!);
    chosen.push(best);
    open = open.filter((c) => c !== best);
    left = without(left, [best]);
  }
  return chosen;
}

function isBetter(a: Candidate, b: Candidate, left: readonly Shortage[]): boolean {
  const [distanceA, distanceB] = [distance(a, left), distance(b, left)];
  return distanceA < distanceB || (distanceA === distanceB && isSmaller(a, b));
}

/** Squares of the fractions that would still be missing: 0 when the pod alone would do. */
function distance({ taken }: Candidate, left: readonly Shortage[]): number {
  return left.reduce((sum, { resource, missing }) => {
    const rest = missing.nanos - (taken.get(resource)?.nanos ?? 0n);
    return rest > 0n ? sum + (Number(rest) / Number(missing.nanos)) ** 2 : sum;
  }, 0);
}

function isSmaller(a: Candidate, b: Candidate): boolean {
  for (const resource of ['memory', 'cpu']) {
    const order = compareQuantities(a.taken.get(resource) ?? quantityOf(0), b.taken.get(resource) ?? quantityOf(0));
    if (order !== 0) return order < 0;
  }
  return false;
}

function shortageText({ resource, missing }: Shortage): string {
  const amount = resource === 'cpu' ? quantityMilliValue(missing) : quantityValue(missing);
  return `(res: ${resource}, q: ${amount}), `;
}

/** Why a critical pod is refused although it may take others' place. */
export function unmetMessage(unmet: string): string {
  return (
    'Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to ' +
    `preempt: no set of running pods found to reclaim resources: [${unmet}]`
  );
}

/** What the status of a pod says that lost its place. */
export function preemptedStatus(victim: Pod, nowMs: number): (status: PodStatus) => PodStatus {
  const disruption = 'Pod was preempted by Kubelet to accommodate a critical pod.';
  return endedByNode(victim, { reason: 'Preempting', message: PREEMPTION_MESSAGE, disruption }, nowMs);
}
