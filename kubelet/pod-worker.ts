// One worker per pod uid: at most one piece of work at a time, the newest update wins, and what to do next is decided by
// pod-worker-state.ts. Pods do not wait for each other: a worker is an async function that mostly waits for the runtime,
// so a hundred pods in a long termination cost a hundred pending promises. What is scarce is bounded where it is used
// (image pulls, API writes); the number of pods is bounded by maxPods. After pkg/kubelet/pod_workers.go.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Pod } from '../api/pod.ts';
import { aborted, type LinkedSignal, linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { DueQueue } from '../core/due-queue.ts';
import type { Logger } from '../core/log.ts';
import type { KubeletObserver, PodWork } from './metrics/observer.ts';
import type { PodIdentity } from './pod-cache.ts';
import {
  afterWork,
  applyUpdate,
  identityOf,
  type PodUpdate,
  startWorker,
  type WorkerPhase,
  type WorkerState,
} from './pod-worker-state.ts';

export interface SyncOutcome {
  /** The phase is terminal: what still runs is to be stopped. */
  readonly podIsOver?: boolean;
  /** Something changed that has to be looked at again at once. */
  readonly again?: boolean;
  /** Something failed that may go well later: look again after the error delay instead of the sync frequency. */
  readonly failed?: boolean;
  /** Ms until something is due (a back-off ends, a deadline passes): never look later than that. */
  readonly wakeAfterMs?: number;
}

/** The work of each state. Each may be called again at any time, also by another process after this one was killed. */
export interface PodLifecycle {
  syncPod(pod: Pod, signal: AbortSignal): Promise<SyncOutcome>;
  syncTerminatingPod(state: WorkerState & { readonly pod: Pod }, signal: AbortSignal): Promise<void>;
  /** A pod that only the runtime knows. */
  syncTerminatingOrphan(identity: PodIdentity, graceSeconds: number, signal: AbortSignal): Promise<void>;
  syncTerminatedPod(pod: Pod, signal: AbortSignal): Promise<void>;
}

export interface PodWorkersOptions {
  readonly syncFrequencyMs: number;
}

export interface PodWorkersDeps {
  readonly lifecycle: PodLifecycle;
  /** The runtime has no running container and no ready sandbox for the pod. */
  readonly nothingRuns: (podUid: string) => boolean;
  /** A worker reached its end. Must not throw. */
  readonly onFinished: (podUid: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
  readonly observer?: Pick<KubeletObserver, 'podWorked' | 'podWorkerStarted'>;
}

/** Thrown by work that is expected to go well sooner than the usual error delay. */
export class RetrySoon extends Error {
  readonly afterMs: number;

  constructor(message: string, afterMs: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

interface Worker {
  state: WorkerState;
  readonly madeAtMs: number;
  /** What the next work is for, in upstream's words. */
  reason: PodWork;
  /** An update or event came while work ran. */
  dirty: boolean;
  /** The last work failed, and will be tried again after the error delay. */
  failed: boolean;
  work: { readonly done: Promise<void>; readonly cancel: LinkedSignal } | undefined;
}

const ERROR_RETRY_MS = 10_000;
/** Delays are spread over [1, 1.5) so that pods started together do not sync together for ever. */
const JITTER = 0.5;
/** Work that cannot be interrupted (a pull, a CRI call) is left behind after this: the next start of the agent goes on. */
const STOP_WAIT_MS = 2000;

export class PodWorkers {
  readonly #opts: PodWorkersOptions;
  readonly #deps: PodWorkersDeps;
  readonly #log: Logger;
  readonly #workers = new Map<string, Worker>();
  readonly #due: DueQueue<string>;
  /** Told of every phase that ends. */
  readonly #watchers = new Set<() => void>();
  readonly #random: () => number;
  #signal: AbortSignal | undefined;

  constructor(opts: PodWorkersOptions, deps: PodWorkersDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'pod-workers' });
    this.#random = deps.random ?? Math.random;
    this.#due = new DueQueue(deps.clock, (uid) => this.poke(uid));
  }

  /** Tells the pod's worker something; the first update makes the worker. */
  update(update: PodUpdate): void {
    const uid = update.type === 'orphan' ? update.identity.uid : identityOf(update.pod).uid;
    const worker = this.#workers.get(uid);
    if (worker === undefined) {
      const { state } = startWorker(update, this.#deps.nothingRuns(uid));
      const madeAtMs = this.#deps.clock.monotonicMs();
      this.#workers.set(uid, { state, madeAtMs, reason: 'create', dirty: false, failed: false, work: undefined });
      this.poke(uid);
      return;
    }
    const { state, work, cancel } = applyUpdate(worker.state, update);
    worker.state = state;
    if (work && worker.reason === 'sync') worker.reason = 'update';
    if (cancel) worker.work?.cancel.abort(new DOMException('the pod is to end, or to end sooner', 'AbortError'));
    if (work) this.poke(uid);
  }

  /** Something about the pod may have changed: its worker looks. Unknown pods are ignored. */
  poke(uid: string): void {
    const worker = this.#workers.get(uid);
    if (worker === undefined || worker.state.phase === 'finished') return;
    worker.dirty = true;
    if (worker.work === undefined) this.#start(uid, worker);
  }

  /** What work failed for may be over: it is done again now. */
  retryFailed(): void {
    for (const [uid, { failed }] of this.#workers) if (failed) this.poke(uid);
  }

  state(uid: string): WorkerState | undefined {
    return this.#workers.get(uid)?.state;
  }

  uids(): string[] {
    return [...this.#workers.keys()];
  }

  states(): WorkerState[] {
    return [...this.#workers.values()].map((w) => w.state);
  }

  /** Containers of the pod may be running: it has a worker that has not stopped them all. */
  mayBeRunning(uid: string): boolean {
    const phase = this.#workers.get(uid)?.state.phase;
    return phase === 'sync' || phase === 'terminating';
  }

  isTerminationRequested(uid: string): boolean {
    const state = this.#workers.get(uid)?.state;
    return state !== undefined && state.phase !== 'sync';
  }

  /**
   * Resolves when the pod has been stopped (`terminated`) or cleaned up as well (`finished`), which a pod without a
   * worker is; or when `signal` aborts.
   */
  async reached(uid: string, phase: 'terminated' | 'finished', signal: AbortSignal): Promise<void> {
    const isThere = () => {
      const now = this.#workers.get(uid)?.state.phase;
      return now === undefined || now === 'finished' || now === phase;
    };
    if (signal.aborted || isThere()) return;
    await new Promise<void>((resolve) => {
      const look = () => {
        if (!signal.aborted && !isThere()) return;
        this.#watchers.delete(look);
        signal.removeEventListener('abort', look);
        resolve();
      };
      this.#watchers.add(look);
      signal.addEventListener('abort', look);
    });
  }

  /** Forgets a finished worker. False when there is none or it is not finished. */
  forget(uid: string): boolean {
    if (this.#workers.get(uid)?.state.phase !== 'finished') return false;
    this.#workers.delete(uid);
    return true;
  }

  /** Works until `signal` aborts; updates that came before wait for it. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    for (const [uid, worker] of this.#workers) if (worker.dirty && worker.work === undefined) this.#start(uid, worker);
    await aborted(signal);
    this.#due[Symbol.dispose]();
    const running = [...this.#workers.values()].flatMap((w) => (w.work === undefined ? [] : [w.work.done]));
    if (running.length === 0) return;
    using limit = linkedSignal();
    await Promise.race([Promise.all(running), this.#deps.clock.sleep(STOP_WAIT_MS, limit.signal)]);
    limit.abort();
  }

  #start(uid: string, worker: Worker): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted) return;
    void this.#work(uid, worker, signal); // catches everything itself; `run` waits for it through `work.done`
  }

  /** Works until there is nothing to do now. */
  async #work(uid: string, worker: Worker, signal: AbortSignal): Promise<void> {
    const finished = Promise.withResolvers<void>();
    try {
      while (worker.dirty && worker.state.phase !== 'finished' && !signal.aborted) {
        worker.dirty = false;
        using cancel = linkedSignal(signal);
        worker.work = { done: finished.promise, cancel };
        const { phase } = worker.state;
        const delayMs = await this.#observed(worker, cancel.signal);
        if (worker.state.phase !== phase) {
          worker.dirty = true;
          for (const look of this.#watchers) look();
        }
        if (delayMs === 0) {
          worker.dirty = true;
          await nextTurn(); // what this pass tells the API is on its way before the next one takes the processor
        } else if (!worker.dirty && !signal.aborted) this.#due.set(uid, delayMs);
      }
    } finally {
      worker.work = undefined;
      finished.resolve();
    }
    if (worker.state.phase !== 'finished') return;
    this.#due.delete(uid);
    this.#deps.onFinished(uid);
  }

  async #observed(worker: Worker, signal: AbortSignal): Promise<number> {
    const { observer, clock } = this.#deps;
    const { reason } = worker;
    const startMs = clock.monotonicMs();
    if (reason === 'create') observer?.podWorkerStarted((startMs - worker.madeAtMs) / 1000);
    worker.reason = 'sync';
    const delayMs = await this.#perform(worker, signal);
    observer?.podWorked(reason, (clock.monotonicMs() - startMs) / 1000);
    return delayMs;
  }

  /** Does the work of the present state once. Returns ms until it should be done again if nothing changes. */
  async #perform(worker: Worker, signal: AbortSignal): Promise<number> {
    const { state } = worker;
    worker.failed = false;
    try {
      const outcome = await this.#effect(state, signal);
      // `state` may be newer by now; afterWork moves on only from the state whose work was done.
      const interrupted = signal.aborted && state.phase !== 'terminated';
      worker.state = afterWork(worker.state, state.phase, interrupted ? { ok: false } : { ok: true, ...outcome });
      if (outcome.again) return 0;
      // A back-off has an end of its own.
      worker.failed = outcome.failed === true && outcome.wakeAfterMs === undefined;
      const usualMs = this.#jittered(outcome.failed ? ERROR_RETRY_MS : this.#opts.syncFrequencyMs);
      const wakeMs = outcome.wakeAfterMs ?? Number.POSITIVE_INFINITY;
      // A known end of a back-off replaces the error delay; it never postpones the regular look.
      return outcome.failed && outcome.wakeAfterMs !== undefined
        ? Math.min(Math.max(1, wakeMs), this.#opts.syncFrequencyMs)
        : Math.min(usualMs, Math.max(1, wakeMs));
    } catch (err) {
      worker.failed = true;
      // Interrupted on purpose: whatever interrupted it has set `dirty`.
      if (!signal.aborted) this.#logFailure(err, state);
      return err instanceof RetrySoon ? this.#jittered(err.afterMs) : this.#jittered(ERROR_RETRY_MS);
    }
  }

  #jittered(ms: number): number {
    return ms * (1 + JITTER * this.#random());
  }

  async #effect(state: WorkerState, signal: AbortSignal): Promise<SyncOutcome> {
    const { lifecycle } = this.#deps;
    const { pod } = state;
    if (pod === undefined) {
      await lifecycle.syncTerminatingOrphan(state.identity, state.graceSeconds, signal);
      return {};
    }
    switch (state.phase) {
      case 'sync':
        return lifecycle.syncPod(pod, signal);
      case 'terminating':
        await lifecycle.syncTerminatingPod({ ...state, pod }, signal);
        return {};
      default:
        await lifecycle.syncTerminatedPod(pod, signal);
        return {};
    }
  }

  #logFailure(err: unknown, { identity, phase }: { identity: PodIdentity; phase: WorkerPhase }): void {
    const pod = `${identity.namespace}/${identity.name}`;
    this.#log.warn({ err, pod, podUid: identity.uid, phase, retryInMs: ERROR_RETRY_MS }, 'pod work failed');
  }
}
