// Which pod goes first when something runs short: one that uses more than it asked for, of those the least important,
// of those the one that is furthest beyond its request. Pure. After pkg/kubelet/eviction/helpers.go (rankMemoryPressure,
// rankDiskPressureFunc, rankPIDPressure).
import type { Pod } from '../../api/pod.ts';
import { podRequests } from '../../api/pod-resources.ts';
import { quantityValue } from '../../api/quantity.ts';
import type { PodStorage, StorageUse } from '../stats/usage.ts';
import { resourceOf, type Signal, type StoragePart, storageParts } from './signals.ts';

/** What is known about a pod's use; a part that could not be read is undefined. */
export interface PodUse {
  readonly workingSetBytes?: number;
  readonly processes?: number;
  readonly storage?: PodStorage;
}

export type PodUses = ReadonlyMap<string, PodUse>;

interface Candidate {
  readonly pod: Pod;
  /** Undefined when it is not known. */
  readonly used: number | undefined;
  readonly requested: number;
}

/** The pods in the order in which they are to be evicted. */
export function rankForEviction(
  pods: readonly Pod[],
  uses: PodUses,
  signal: Signal,
  hasImageFs: boolean,
): readonly Pod[] {
  const usage = usageFor(signal, hasImageFs);
  const candidates = pods.map((pod): Candidate => {
    const use = uses.get(pod.metadata?.uid ?? '');
    return { pod, used: use === undefined ? undefined : usage(use), requested: requestedBy(pod, signal) };
  });
  return candidates.sort(signal === 'pid.available' ? byProcesses : byExcess).map((c) => c.pod);
}

function usageFor(signal: Signal, hasImageFs: boolean): (use: PodUse) => number | undefined {
  const resource = resourceOf(signal);
  if (resource === 'memory') return (use) => use.workingSetBytes;
  if (resource === 'pids') return (use) => use.processes;
  const parts = storageParts(signal, hasImageFs);
  const figure = resource === 'inodes' ? 'inodesUsed' : 'usedBytes';
  return ({ storage }) => (storage === undefined ? undefined : sumOf(storage, parts, figure));
}

/** Volumes in memory take nothing of a disk. */
function sumOf(storage: PodStorage, parts: readonly StoragePart[], figure: keyof StorageUse): number {
  const uses = parts.flatMap((part) =>
    [...storage[part]].filter(([name]) => part !== 'volumes' || !storage.inMemory.has(name)),
  );
  return uses.reduce((sum, [, use]) => sum + use[figure], 0);
}

function requestedBy(pod: Pod, signal: Signal): number {
  const resource = resourceOf(signal);
  if (resource !== 'memory' && resource !== 'ephemeral-storage') return 0; // nobody can ask for inodes
  const amount = podRequests(pod).get(resource);
  return amount === undefined ? 0 : quantityValue(amount);
}

function byExcess(a: Candidate, b: Candidate): number {
  return unknownFirst(a, b) || firstWhere(a, b, exceeds) || priorityOf(a) - priorityOf(b) || excess(b) - excess(a);
}

function byProcesses(a: Candidate, b: Candidate): number {
  return priorityOf(a) - priorityOf(b) || unknownFirst(a, b) || (b.used ?? 0) - (a.used ?? 0);
}

/** A pod about which nothing can be found out is most likely one that ends anyway. */
function unknownFirst(a: Candidate, b: Candidate): number {
  return firstWhere(a, b, (c) => c.used === undefined);
}

function firstWhere(a: Candidate, b: Candidate, holds: (c: Candidate) => boolean): number {
  return Number(holds(b)) - Number(holds(a));
}

function exceeds(c: Candidate): boolean {
  return (c.used ?? 0) > c.requested;
}

function excess(c: Candidate): number {
  return (c.used ?? 0) - c.requested;
}

function priorityOf({ pod }: Candidate): number {
  return pod.spec?.priority ?? 0;
}
