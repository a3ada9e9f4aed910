// What a pod worker does next, decided purely from what it was told. After pkg/kubelet/pod_workers.go.
//
//   sync ──(termination requested)──► terminating ──► terminated ──► finished
//
// A pod leaves a state only forwards; the same uid can begin anew only after it has been forgotten.
import { isTerminalPhase, type Pod, type PodStatus } from '../api/pod.ts';
import type { PodIdentity } from './pod-cache.ts';

export type WorkerPhase = 'sync' | 'terminating' | 'terminated' | 'finished';

export interface KillOptions {
  /** Seconds; replaces what spec and deletion say when it is shorter. */
  readonly graceOverrideSeconds?: number;
  /** The pod may not keep its data: it was evicted. */
  readonly evict?: boolean;
  /** Applied to each status from now on, e.g. to say why the pod was evicted. */
  readonly statusOverride?: (status: PodStatus) => PodStatus;
}

export type PodUpdate =
  | { readonly type: 'create' | 'update' | 'sync'; readonly pod: Pod }
  | { readonly type: 'kill'; readonly pod: Pod; readonly kill?: KillOptions }
  /** A pod that only the runtime knows. */
  | { readonly type: 'orphan'; readonly identity: PodIdentity; readonly kill: KillOptions };

export interface WorkerState {
  readonly phase: WorkerPhase;
  readonly identity: PodIdentity;
  /** Undefined for an orphan. */
  readonly pod: Pod | undefined;
  readonly deleted: boolean;
  readonly evicted: boolean;
  /** Seconds; 0 until termination is requested. */
  readonly graceSeconds: number;
  /** Asked for again under the same uid (static pods) while it was ending. */
  readonly restartRequested: boolean;
  readonly statusOverride: KillOptions['statusOverride'];
}

export interface Transition {
  readonly state: WorkerState;
  /** There is work to do now. */
  readonly work: boolean;
  /** What runs now must stop: the pod ends, or ends sooner. */
  readonly cancel: boolean;
}

const UNCHANGED = { work: false, cancel: false } as const;

/**
 * The state of a worker that is told its first update. `nothingRuns`: the runtime has no running container and no
 * ready sandbox for the pod, so one that is over already only needs its final clean-up.
 */
export function startWorker(update: PodUpdate, nothingRuns: boolean): Transition {
  const pod = update.type === 'orphan' ? undefined : update.pod;
  const fresh: WorkerState = {
    phase: 'sync',
    identity: update.type === 'orphan' ? update.identity : identityOf(update.pod),
    pod,
    deleted: false,
    evicted: false,
    graceSeconds: 0,
    restartRequested: false,
    statusOverride: undefined,
  };
  const next = applyUpdate(fresh, update);
  if (!isTerminalPhase(pod?.status?.phase) || !nothingRuns) return { ...next, cancel: false };
  return { state: { ...next.state, phase: 'terminated' }, work: true, cancel: false };
}

export function applyUpdate(state: WorkerState, update: PodUpdate): Transition {
  if (state.phase !== 'sync' && update.type === 'create') {
    return { state: { ...state, restartRequested: true }, ...UNCHANGED };
  }
  if (state.phase === 'finished') return { state, ...UNCHANGED };
  if (update.type === 'orphan' && state.pod !== undefined) return { state, ...UNCHANGED }; // not an orphan after all
  const newest: WorkerState = update.type === 'orphan' ? state : { ...state, pod: update.pod };
  if (state.phase === 'sync' && !asksForTermination(update)) return { state: newest, work: true, cancel: false };
  return terminate(state, newest, update);
}

function asksForTermination(update: PodUpdate): boolean {
  if (update.type === 'orphan' || update.type === 'kill') return true;
  return update.pod.metadata?.deletionTimestamp !== undefined || isTerminalPhase(update.pod.status?.phase);
}

function terminate(before: WorkerState, newest: WorkerState, update: PodUpdate): Transition {
  const kill = update.type === 'kill' || update.type === 'orphan' ? update.kill : undefined;
  const graceSeconds = effectiveGrace(before.graceSeconds, newest.pod, kill?.graceOverrideSeconds);
  const begins = before.phase === 'sync';
  const shortened = before.graceSeconds > 0 && graceSeconds !== before.graceSeconds;
  const state: WorkerState = {
    ...newest,
    phase: begins ? 'terminating' : before.phase,
    graceSeconds,
    deleted: before.deleted || update.type === 'orphan' || newest.pod?.metadata?.deletionTimestamp !== undefined,
    evicted: before.evicted || kill?.evict === true,
    statusOverride: kill?.statusOverride ?? before.statusOverride,
  };
  const cancel = begins || (shortened && before.phase === 'terminating');
  return { state, work: true, cancel };
}

/** Seconds, never below 1; once set it only shrinks. */
export function effectiveGrace(current: number, pod: Pod | undefined, override: number | undefined): number {
  let grace = current;
  let replaced = false;
  for (const wanted of [pod?.metadata?.deletionGracePeriodSeconds, override]) {
    if (wanted === undefined || (grace !== 0 && wanted >= grace)) continue;
    grace = Math.max(1, wanted);
    replaced = true;
  }
  if (!replaced && current === 0) grace = pod?.spec?.terminationGracePeriodSeconds ?? 1;
  return Math.max(1, grace);
}

/** What came of the work of one phase. */
export type WorkOutcome = { readonly ok: false } | { readonly ok: true; readonly podIsOver?: boolean };

/** The state after the work of `phase` ended. The state may have moved on while the work ran. */
export function afterWork(state: WorkerState, phase: WorkerPhase, outcome: WorkOutcome): WorkerState {
  if (!outcome.ok || state.phase !== phase) return state;
  switch (phase) {
    case 'sync': {
      if (outcome.podIsOver !== true) return state;
      const graceSeconds = effectiveGrace(state.graceSeconds, state.pod, undefined);
      return { ...state, phase: 'terminating', graceSeconds };
    }
    case 'terminating':
      // Of an orphan nothing but the runtime knows, so nothing is left to clean up or to report.
      return { ...state, phase: state.pod === undefined ? 'finished' : 'terminated' };
    default:
      return { ...state, phase: 'finished' };
  }
}

export function identityOf(pod: Pod): PodIdentity {
  const { uid = '', name = '', namespace = '' } = pod.metadata ?? {};
  return { uid, name, namespace };
}
