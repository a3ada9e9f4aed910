// Which thresholds are met, since when, and what that says about the node. Pure: the state before and what is observed
// now give the state after. After the first half of synchronize in pkg/kubelet/eviction/eviction_manager.go.
import type { Observations } from './observations.ts';
import { conditionOf, type PressureCondition, type Signal } from './signals.ts';
import { isMet, type Threshold } from './thresholds.ts';

export interface PressureState {
  /** Since when each threshold that is met has been met without a break, monotonic ms. */
  readonly since: ReadonlyMap<Threshold, number>;
  /** Those of them whose grace period is over: something is to be done. */
  readonly due: readonly Threshold[];
  /** When each condition was last true by the thresholds, monotonic ms. */
  readonly seen: ReadonlyMap<PressureCondition, number>;
  /** What the node tells about itself, sorted. */
  readonly conditions: readonly PressureCondition[];
}

export const NO_PRESSURE: PressureState = { since: new Map(), due: [], seen: new Map(), conditions: [] };

export interface PressureInput {
  readonly thresholds: readonly Threshold[];
  readonly observations: Observations;
  readonly nowMs: number;
  /** evictionPressureTransitionPeriod: a condition stays for so long after it was last true, ms. */
  readonly transitionMs: number;
}

export function nextPressure(before: PressureState, input: PressureInput): PressureState {
  const { thresholds, observations, nowMs, transitionMs } = input;
  const met = thresholds.filter((t) => {
    if (isMetNow(t, observations, false)) return true;
    // What was acted upon counts until the node is some way beyond it, or the next pod would bring it back.
    return before.due.includes(t) && isMetNow(t, observations, true);
  });
  const since = new Map(met.map((t) => [t, before.since.get(t) ?? nowMs]));
  const seen = new Map(before.seen);
  // A soft threshold counts at once, before its grace period: nothing more should be scheduled here.
  for (const { signal } of met) seen.set(conditionOf(signal), nowMs);
  const conditions = [...seen].filter(([, atMs]) => atMs === nowMs || nowMs - atMs < transitionMs).map(([c]) => c);
  return { since, due: met.filter((t) => nowMs - since.get(t)! >= t.graceMs), seen, conditions: conditions.sort() };
}

/** A threshold about something that could not be read is not met. */
function isMetNow(threshold: Threshold, observations: Observations, reclaiming: boolean): boolean {
  const observed = observations.get(threshold.signal);
  return observed !== undefined && isMet(threshold, observed, reclaiming);
}

/** After something was reclaimed: no threshold is met any more, minimum reclaim included. */
export function isRelieved(thresholds: readonly Threshold[], observations: Observations): boolean {
  return !thresholds.some((t) => isMetNow(t, observations, true));
}

/** What to act upon first; memory comes before all else as nothing works without it. Undefined when nothing is due. */
export function mostUrgent(due: readonly Threshold[]): Threshold | undefined {
  const rank = (signal: Signal) => (conditionOf(signal) === 'MemoryPressure' ? 0 : 1);
  return [...due].sort((a, b) => rank(a.signal) - rank(b.signal))[0];
}
