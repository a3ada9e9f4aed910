// How many pods of a budget may be disrupted now (pkg/controller/disruption). Pure.
import type { PodDisruptionBudget, PodDisruptionBudgetStatus } from 'kubernetes-types/policy/v1.js';
import { formatTime } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { isPodReady } from './pod-control.ts';

/** An eviction counts against its budget until the pod is seen going, at most this long. */
const DELETION_TIMEOUT_MS = 2 * 60_000;

type IntOrPercent = number | string;

export interface BudgetInput {
  readonly budget: PodDisruptionBudget;
  /** Those that its selector selects. */
  readonly pods: readonly Pod[];
  /** Pods that the owners of `pods` are to have, or why that cannot be said. */
  readonly scale: number | { readonly fault: string };
  readonly nowMs: number;
}

export interface BudgetVerdict {
  readonly status: PodDisruptionBudgetStatus;
  /** Wall ms at which an entry of disruptedPods expires. */
  readonly recheckAtMs: number | undefined;
}

/** The status as it should be; the same but for the time of the condition when nothing changed. */
export function budgetVerdict({ budget, pods, scale, nowMs }: BudgetInput): BudgetVerdict {
  const old = budget.status;
  const observedGeneration = budget.metadata?.generation ?? 0;
  const wanted = wantedPods(budget, pods.length, scale);
  if ('fault' in wanted) {
    const failed = { type: 'DisruptionAllowed', status: 'False', reason: 'SyncFailed', message: wanted.fault };
    const counts = old ?? { currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 };
    const conditions = withCondition(old, { ...failed, observedGeneration }, nowMs);
    return { status: { ...counts, disruptionsAllowed: 0, conditions }, recheckAtMs: undefined };
  }
  const { disruptedPods, recheckAtMs } = stillGoing(old?.disruptedPods ?? {}, pods, nowMs);
  const isGoing = (p: Pod) => p.metadata?.deletionTimestamp !== undefined || (p.metadata?.name ?? '') in disruptedPods;
  const currentHealthy = pods.filter((p) => !isGoing(p) && isPodReady(p)).length;
  const spare = currentHealthy - wanted.desiredHealthy;
  const disruptionsAllowed = wanted.expectedPods <= 0 || spare <= 0 ? 0 : spare;
  const allowed = disruptionsAllowed > 0;
  const condition = {
    type: 'DisruptionAllowed',
    status: allowed ? 'True' : 'False',
    reason: allowed ? 'SufficientPods' : 'InsufficientPods',
    message: '',
    observedGeneration,
  };
  const status: PodDisruptionBudgetStatus = {
    observedGeneration,
    currentHealthy,
    ...wanted,
    disruptionsAllowed,
    ...(Object.keys(disruptedPods).length === 0 ? {} : { disruptedPods }),
    conditions: withCondition(old, condition, nowMs),
  };
  return { status, recheckAtMs };
}

/** Whether the owners' scale is needed: a plain number of pods to keep needs none. */
export function needsScale({ spec }: PodDisruptionBudget): boolean {
  return spec?.maxUnavailable !== undefined || typeof spec?.minAvailable === 'string';
}

function wantedPods(
  { spec }: PodDisruptionBudget,
  count: number,
  scale: BudgetInput['scale'],
): { expectedPods: number; desiredHealthy: number } | { fault: string } {
  const { minAvailable, maxUnavailable } = spec ?? {};
  if (typeof minAvailable === 'number') return { expectedPods: count, desiredHealthy: minAvailable };
  if (minAvailable === undefined && maxUnavailable === undefined) return { expectedPods: count, desiredHealthy: 0 };
  if (typeof scale !== 'number') return scale;
  if (maxUnavailable !== undefined) {
    return { expectedPods: scale, desiredHealthy: Math.max(0, scale - share(maxUnavailable, scale)) };
  }
  return { expectedPods: scale, desiredHealthy: share(minAvailable!, scale) };
}

/** A number, or that part of `of`, rounded up. */
function share(value: IntOrPercent, of: number): number {
  return typeof value === 'number' ? value : Math.ceil((Number.parseInt(value, 10) * of) / 100);
}

/** Evicted pods that have not yet begun to go. */
function stillGoing(entries: Readonly<Record<string, string>>, pods: readonly Pod[], nowMs: number) {
  const disruptedPods: Record<string, string> = {};
  let recheckAtMs: number | undefined;
  for (const pod of pods) {
    const name = pod.metadata?.name ?? '';
    const since = entries[name];
    if (since === undefined || pod.metadata?.deletionTimestamp !== undefined) continue;
    const expiresMs = Date.parse(since) + DELETION_TIMEOUT_MS;
    if (expiresMs <= nowMs) continue;
    disruptedPods[name] = since;
    recheckAtMs = Math.min(recheckAtMs ?? expiresMs, expiresMs);
  }
  return { disruptedPods, recheckAtMs };
}

type Condition = NonNullable<PodDisruptionBudgetStatus['conditions']>[number];

function withCondition(
  old: PodDisruptionBudgetStatus | undefined,
  condition: Omit<Condition, 'lastTransitionTime'>,
  nowMs: number,
): Condition[] {
  const known = old?.conditions?.find((c) => c.type === condition.type);
  const lastTransitionTime = known?.status === condition.status ? known.lastTransitionTime : formatTime(nowMs);
  const others = (old?.conditions ?? []).filter((c) => c.type !== condition.type);
  return [...others, { ...condition, lastTransitionTime }];
}
