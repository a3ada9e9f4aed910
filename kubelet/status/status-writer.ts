// The only writer of pod status. It holds what every pod's status should be and makes the API say so: at once when a pod
// becomes ready or unready or has ended, other changes a moment later and folded into one patch. After
// pkg/kubelet/status/status_manager.go, but for reading the pod before each patch:
//
// The patch is computed against the newest copy at hand, the informer's or the answer to our last patch. A copy that is
// behind does no harm: the patch carries the uid, so the server refuses to touch a namesake; it names only fields that
// the agent owns, and conditions merge by type, so others' writes stay; and when somebody wrote our own fields, the
// informer's next event shows the difference and the pod is written again. That saves one round trip per write.
import { compareVersions } from '../../api/meta.ts';
import { isMirrorPod, isTerminalPhase, type Pod, type PodStatus } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isConflict, isNotFound } from '../../client/errors.ts';
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { KeyedWorker } from '../../core/keyed-worker.ts';
import type { Logger } from '../../core/log.ts';
import type { Rush } from '../../core/rush.ts';
import type { KubeletObserver } from '../metrics/observer.ts';
import { finishedStatus } from './finish-status.ts';
import { predates } from './mirror-status.ts';
import { type ProbedField, withContainerField } from './readiness.ts';
import { illegalTransition, isStatusEqual, mergeStatus } from './status-merge.ts';
import { computeStatusPatch } from './status-patch.ts';

export interface StatusWriterDeps {
  readonly client: Pick<ApiClient, 'patch' | 'delete'>;
  /** The pod's object in the API as the informer has it: of a static pod its mirror, undefined while there is none. */
  readonly getPod: (uid: string) => Pod | undefined;
  /** Containers of the pod may be running: it must not be told to be over. */
  readonly mayBeRunning: (uid: string) => boolean;
  readonly isTerminationRequested: (uid: string) => boolean;
  /** While it is on, changes on the way to readiness are folded for longer. */
  readonly rush?: Pick<Rush, 'isOn' | 'over'>;
  readonly observer?: Pick<KubeletObserver, 'statusWritten'>;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Held {
  readonly uid: string;
  status: PodStatus;
  version: number;
  /** Monotonic ms of the newest change. */
  changedAtMs: number;
  sentVersion: number;
  /** The worker is done: nothing of the pod is left on this node. */
  finished: boolean;
  /** Answer to the last patch: newer than the informer's copy for a moment. */
  answer: Pod | undefined;
  answeredAtMs: number;
  failures: number;
}

/** Changes within this time make one patch, ms. */
const FOLD_MS = 200;
/** The same of a pod whose containers do not run yet: one that starts quickly is written once, when it is Ready. */
const STARTING_FOLD_MS = 500;
/** The same while so many pods start that each write delays their starts. */
const RUSH_FOLD_MS = 3_000;
/** Until a difference made by somebody else is put right, ms (upstream: status reconcile period). */
const RECONCILE_MS = 10_000;
/** An informer that is behind our answer for longer may be right: the server came back with an older store, ms. */
const ANSWER_MS = 10_000;
const RETRY_INITIAL_MS = 500;
const RETRY_MAX_MS = 10_000;
const CALL_TIMEOUT_MS = 30_000;
/** Writes at the same time, over all pods. The client limits their rate. */
const CONCURRENCY = 8;

export class StatusWriter {
  readonly #deps: StatusWriterDeps;
  readonly #log: Logger;
  readonly #held = new Map<string, Held>();
  readonly #worker: KeyedWorker<string>;
  readonly #due: DueQueue<string>;
  readonly #stop = new AbortController();
  /** Pods whose write waits for the end of the rush. */
  readonly #stoodBack = new Set<string>();
  readonly #listeners = new Set<(uid: string, status: PodStatus) => void>();

  constructor(deps: StatusWriterDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'status-writer' });
    this.#worker = new KeyedWorker(
      (uid, signal) => this.#write(uid, signal),
      { name: 'status-writer', concurrency: CONCURRENCY },
      { log: deps.log },
    );
    this.#due = new DueQueue(deps.clock, (uid) => this.#worker.request(uid));
  }

  /** What the status should be, undefined for a pod that has none yet. */
  get(uid: string): PodStatus | undefined {
    return this.#held.get(uid)?.status;
  }

  /** Pods with a held status. */
  uids(): string[] {
    return [...this.#held.keys()];
  }

  /** `listener` gets every status that is stored; it must not throw. */
  onStored(listener: (uid: string, status: PodStatus) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Stores what the status should be. A status in which an ended container runs again is dropped, with an error. */
  set(pod: Pod, status: PodStatus): void {
    this.#store(pod, status, false);
  }

  /** Puts a probe verdict into the status. `containerId` has the runtime's prefix. */
  setContainerField(pod: Pod, containerId: string, field: ProbedField, value: boolean): void {
    const status = this.#held.get(pod.metadata?.uid ?? '')?.status;
    if (status === undefined) return;
    const next = withContainerField(pod, status, containerId, field, value, this.#deps.clock.now());
    if (next !== undefined) this.#store(pod, next, false);
  }

  /** The worker is done with the pod: writes its last status, and deletes the object when that was asked for. */
  finish(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const status = this.#held.get(uid)?.status ?? pod.status ?? {};
    this.#store(pod, finishedStatus(pod, status), true);
  }

  /** The informer has a new copy of the pod's object; `uid` is that of the static pod when it is a mirror. */
  podChanged(pod: Pod, uid: string = pod.metadata?.uid ?? ''): void {
    const held = this.#held.get(uid);
    if (held === undefined) return;
    if (held.finished && pod.metadata?.deletionTimestamp !== undefined) {
      this.#worker.request(held.uid);
      return;
    }
    const api = this.#newest(held, pod).status ?? {};
    const wanted = mergeStatus(pod, api, held.status, this.#deps.mayBeRunning(held.uid), this.#deps.clock.now());
    if (held.answer !== undefined) this.#writeWithin(held.uid, ANSWER_MS); // if this copy is then the newest still
    if (isStatusEqual(api, wanted)) return;
    // Without a start time nothing was ever written: a mirror that was made anew shows its pod at once.
    this.#writeWithin(held.uid, api.startTime === undefined ? FOLD_MS : RECONCILE_MS);
  }

  /** The pod is gone from the API, or unknown. */
  forget(uid: string): void {
    this.#held.delete(uid);
    this.#due.delete(uid);
  }

  /** Writes until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.#worker.run(signal);
    } finally {
      this.#stop.abort();
      this.#due[Symbol.dispose]();
    }
  }

  #store(pod: Pod, status: PodStatus, finished: boolean): void {
    const uid = pod.metadata?.uid ?? '';
    const before = this.#held.get(uid);
    const container = before === undefined || finished ? undefined : illegalTransition(pod, before.status, status);
    if (container !== undefined) {
      this.#log.error({ podUid: uid, container }, 'dropped a status in which an ended container runs again');
      return;
    }
    const becomesFinished = finished && before?.finished !== true;
    if (before !== undefined && !becomesFinished && isStatusEqual(before.status, status)) return;
    const held: Held = before ?? {
      uid,
      status,
      version: 0,
      changedAtMs: 0,
      sentVersion: 0,
      finished: false,
      answer: undefined,
      answeredAtMs: 0,
      failures: 0,
    };
    const urgent = becomesFinished || this.#isUrgent(uid, before?.status ?? pod.status, status);
    held.status = status;
    held.version++;
    held.changedAtMs = this.#deps.clock.monotonicMs();
    held.finished ||= finished;
    this.#held.set(uid, held);
    for (const listener of this.#listeners) listener(uid, status);
    if (urgent) this.#requestNow(uid);
    else if (this.#deps.rush?.isOn) this.#writeAfterRush(uid, this.#deps.rush);
    else this.#writeWithin(uid, status.phase === 'Pending' ? STARTING_FOLD_MS : FOLD_MS);
  }

  #writeAfterRush(uid: string, rush: Pick<Rush, 'over'>): void {
    this.#writeWithin(uid, RUSH_FOLD_MS);
    if (this.#stoodBack.size === 0) {
      void rush.over(RUSH_FOLD_MS, this.#stop.signal).then(() => {
        for (const each of this.#stoodBack) if (this.#due.dueMs(each) !== undefined) this.#writeWithin(each, FOLD_MS);
        this.#stoodBack.clear();
      });
    }
    this.#stoodBack.add(uid);
  }

  #writeWithin(uid: string, ms: number): void {
    if (!this.#stop.signal.aborted) this.#due.setEarlier(uid, ms); // a worker may end after the writer has
  }

  #requestNow(uid: string): void {
    this.#due.delete(uid);
    this.#worker.request(uid);
  }

  /**
   * Readiness moves traffic, an end lets others go on. While a pod is being stopped all of this waits for the last
   * status, which comes soon and is followed by the delete.
   */
  #isUrgent(uid: string, before: PodStatus | undefined, after: PodStatus): boolean {
    if (this.#deps.isTerminationRequested(uid)) return false;
    if (isTerminalPhase(after.phase) && !this.#deps.mayBeRunning(uid)) return true;
    return isReady(before) !== isReady(after);
  }

  async #write(uid: string, signal: AbortSignal): Promise<void> {
    const held = this.#held.get(uid);
    const copy = this.#deps.getPod(uid);
    if (held === undefined || copy === undefined) return;
    const pod = this.#newest(held, copy);
    // What an earlier agent told in a mirror comes first: the worker, which hears of the mirror now, takes it over.
    if (held.sentVersion === 0 && isMirrorPod(pod) && predates(pod.status ?? {}, held.status)) return;
    const { version, changedAtMs } = held;
    try {
      const written = await this.#patch(held, pod, signal);
      const { observer, clock } = this.#deps;
      if (held.sentVersion !== version) observer?.statusWritten((clock.monotonicMs() - changedAtMs) / 1000);
      held.sentVersion = version;
      if (canBeDeleted(held, written, copy)) await this.#delete(held, written, signal);
      held.failures = 0;
    } catch (err) {
      if (!signal.aborted) this.#handleFailure(held, pod, err);
    }
  }

  async #patch(held: Held, pod: Pod, signal: AbortSignal): Promise<Pod> {
    const { clock, mayBeRunning, client } = this.#deps;
    const api = pod.status ?? {};
    const wanted = mergeStatus(pod, api, held.status, mayBeRunning(held.uid), clock.now());
    const body = computeStatusPatch(pod.metadata?.uid ?? '', api, wanted);
    if (body === undefined) return pod;
    const answer = await client.patch(
      pods,
      nameOf(pod),
      { type: 'strategic', body },
      {
        subresource: 'status',
        signal,
        timeoutMs: CALL_TIMEOUT_MS,
      },
    );
    held.answer = answer;
    held.answeredAtMs = clock.monotonicMs();
    return answer;
  }

  async #delete(held: Held, pod: Pod, signal: AbortSignal): Promise<void> {
    await this.#deps.client.delete(pods, nameOf(pod), {
      gracePeriodSeconds: 0,
      preconditions: { uid: held.uid },
      signal,
      timeoutMs: CALL_TIMEOUT_MS,
    });
    this.#log.debug({ pod: nameText(pod), podUid: held.uid }, 'pod object deleted');
    this.forget(held.uid);
  }

  #handleFailure(held: Held, pod: Pod, err: unknown): void {
    const context = { err, pod: nameText(pod), podUid: held.uid };
    if (isNotFound(err)) {
      // Mostly true. But a server that starts, or a proxy before it, says so of everything: asked again if the pod stays.
      this.#log.debug(context, 'pod is gone, its status is not written');
      this.#writeWithin(held.uid, RECONCILE_MS);
      return;
    }
    if (isConflict(err)) {
      // The name belongs to another pod now. The informer will say the same in a moment; until then our copy is wrong.
      held.answer = undefined;
    }
    const retryInMs = Math.min(RETRY_INITIAL_MS * 2 ** held.failures, RETRY_MAX_MS);
    held.failures = Math.min(held.failures + 1, 10);
    this.#log.warn({ ...context, retryInMs }, 'pod status not written');
    this.#writeWithin(held.uid, retryInMs);
  }

  /** The answer to our last patch until the informer has caught up with it. */
  #newest(held: Held, copy: Pod): Pod {
    // A mirror that was made anew has another uid, and nothing of what was written to the one before.
    const { answer } = held;
    const isSame = answer?.metadata?.uid === copy.metadata?.uid;
    const isRecent = this.#deps.clock.monotonicMs() - held.answeredAtMs < ANSWER_MS;
    if (answer !== undefined && isSame && isRecent && (compareVersions(copy, answer) ?? -1) < 0) return answer;
    held.answer = undefined;
    return copy;
  }
}

/** Terminal in the API, nothing left on the node, asked for, and not a mirror, whose object is the API's own matter. */
function canBeDeleted(held: Held, written: Pod, copy: Pod): boolean {
  const asked = written.metadata?.deletionTimestamp ?? copy.metadata?.deletionTimestamp;
  return asked !== undefined && held.finished && !isMirrorPod(written) && isTerminalPhase(written.status?.phase);
}

function isReady(status: PodStatus | undefined): boolean {
  return status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
}

function nameOf(pod: Pod): { namespace: string; name: string } {
  return { namespace: pod.metadata?.namespace ?? '', name: pod.metadata?.name ?? '' };
}

function nameText(pod: Pod): string {
  const { namespace, name } = nameOf(pod);
  return `${namespace}/${name}`;
}
