// PLEG, the pod lifecycle event generator: which pods did the runtime change? Answered by the runtime's event stream
// within milliseconds, and by a slow relist for what a stream may lose. After pkg/kubelet/pleg, but events only mark a
// pod: its status is read once by whoever needs it, so that a pod start, which causes half a dozen events that we caused
// ourselves, costs no further calls.
import { linkedSignal } from '../core/abort.ts';
import { Backoff } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { DueQueue } from '../core/due-queue.ts';
import { isAgentError } from '../core/errors.ts';
import { formatGoDuration } from '../core/go-duration.ts';
import type { Logger } from '../core/log.ts';
import { runTasks } from '../core/tasks.ts';
import { isCriError } from '../cri/errors.ts';
import type { RuntimeEvent, RuntimeService } from '../cri/runtime-service.ts';
import type { KubeletObserver } from './metrics/observer.ts';
import { differsFromList, type KnownInstance, type PodCache } from './pod-cache.ts';
import type { PodRuntimeStatus, RuntimePod } from './runtime/pod-runtime-status.ts';
import { SIGKILL_EXIT_CODE } from './runtime/pod-status-reader.ts';
import type { RuntimeManager } from './runtime/runtime-manager.ts';

export interface PlegDeps {
  readonly runtime: Pick<RuntimeManager, 'listPods' | 'memoryRanOut'>;
  readonly events: Pick<RuntimeService, 'events'>;
  readonly cache: PodCache;
  readonly clock: Clock;
  readonly log: Logger;
  /** The runtime may show another state for this pod. Called synchronously; must not throw. */
  readonly onPodChanged: (podUid: string) => void;
  /** After each relist. Must not throw. */
  readonly onListed?: (pods: readonly RuntimePod[]) => void;
  /** The runtime answers again after it had gone, also for the first time. Must not throw. */
  readonly onRuntimeBack?: () => void;
  readonly observer?: Pick<KubeletObserver, 'relisted'>;
}

const RELIST_WITH_EVENTS_MS = 60_000;
const RELIST_WITHOUT_EVENTS_MS = 1000;
/**
 * An end is told, and then CRI writes it down, which takes as long as the disk does: a list may show it late. What the
 * stream told just before we listened is in a list that begins so much later, ms.
 */
const SETTLE_MS = 2_000;
/** Events of unknown containers wait this long for the pod's own worker to learn of them before all is relisted. */
const UNKNOWN_EVENT_WAIT_MS = 1000;
const MAX_UNKNOWN_EVENTS = 1000;
/**
 * A kill is told so much later when no notice of a lack of memory has come: runtimes send both on ways of their own, and
 * an end that is final is read only once. Upstream, which relists, learns of it after half a second on average.
 */
const OOM_NOTICE_WAIT_MS = 200;
/** Older than this, the last relist says that the runtime is not answering (pkg/kubelet/pleg relistThreshold). */
const HEALTH_THRESHOLD_MS = 180_000;
/** A runtime without any event stream may be replaced by one that has it. */
const NO_STREAM_RETRY_MS = 300_000;

export class Pleg {
  readonly #deps: PlegDeps;
  readonly #log: Logger;
  /** The newest event by container, and since when there has been one; the first to come stands first. */
  readonly #unknown = new Map<string, { readonly event: RuntimeEvent; readonly sinceMs: number }>();
  readonly #startedAtMs: number;
  readonly #firstList = Promise.withResolvers<void>();
  /** Ends by SIGKILL, by container id, that may turn out to be for want of memory. */
  readonly #kills: DueQueue<string>;
  /** Running containers whose notice has come: their end need not wait for it. */
  readonly #ranOut = new Set<string>();
  /** Undefined while there is no event stream. */
  #connectedAtMs: number | undefined;
  #listedAtMs: number | undefined;
  /** Also before the first list. */
  #listFailed = true;
  /** Since the last list that went well the runtime has not answered, or its event stream has ended. */
  #wasLost = true;
  #relistWanted = false;
  #relistStartMs: number | undefined;
  #wake: (() => void) | undefined;
  #unknownTimer: Disposable | undefined;
  #pods: readonly RuntimePod[] = [];

  constructor(deps: PlegDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'pleg' });
    this.#startedAtMs = deps.clock.monotonicMs();
    this.#kills = new DueQueue(deps.clock, (id) => this.#tellKill(id));
    deps.cache.onStored((status) => this.#resolveUnknown(status));
  }

  /** Resolves once the runtime has been listed for the first time. */
  get listed(): Promise<void> {
    return this.#firstList.promise;
  }

  /** All pods as the last relist saw them. */
  get pods(): readonly RuntimePod[] {
    return this.#pods;
  }

  /** The same, undefined while the runtime cannot be listed. */
  get current(): readonly RuntimePod[] | undefined {
    return this.#listFailed ? undefined : this.#pods;
  }

  /** What the node's Ready condition says, undefined while all is well. */
  healthError(): string | undefined {
    const sinceMs = this.#deps.clock.monotonicMs() - (this.#listedAtMs ?? this.#startedAtMs);
    if (this.#listedAtMs === undefined) {
      return sinceMs > HEALTH_THRESHOLD_MS ? 'PLEG is not healthy: pleg has yet to be successful' : undefined;
    }
    if (sinceMs <= HEALTH_THRESHOLD_MS) return undefined;
    const [ago, threshold] = [formatGoDuration(Math.round(sinceMs)), formatGoDuration(HEALTH_THRESHOLD_MS)];
    return `PLEG is not healthy: pleg was last seen active ${ago} ago; threshold is ${threshold}`;
  }

  /** Asks for a relist soon. */
  requestRelist(): void {
    this.#relistWanted = true;
    this.#wake?.();
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      await runTasks(signal, { events: (s) => this.#followEvents(s), relist: (s) => this.#relistLoop(s) });
    } finally {
      this.#unknownTimer?.[Symbol.dispose]();
      this.#kills[Symbol.dispose]();
    }
  }

  async #followEvents(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ initialMs: 200, maxMs: 5000, jitter: 0.5 });
    while (!signal.aborted) {
      let waitMs: number | undefined;
      try {
        const onConnected = () => {
          this.#connectedAtMs = this.#deps.clock.monotonicMs();
          backoff.reset();
          this.requestRelist(); // what happened while there was no stream
        };
        for await (const event of this.#deps.events.events(signal, onConnected)) this.#handleEvent(event);
      } catch (err) {
        if (signal.aborted) break;
        if (isCriError(err, 'UNIMPLEMENTED') || isAgentError(err, 'CRI_UNIMPLEMENTED')) waitMs = NO_STREAM_RETRY_MS;
        this.#log.warn({ err }, 'no runtime event stream, relisting every second until it is back');
      }
      this.#connectedAtMs = undefined;
      this.#wasLost = true;
      this.requestRelist();
      await this.#deps.clock.sleep(waitMs ?? backoff.next(), signal);
    }
  }

  #handleEvent(event: RuntimeEvent): void {
    this.#log.trace({ event }, 'runtime event');
    const known = this.#deps.cache.instance(event.containerId);
    const podUid = event.podUid ?? known?.podUid;
    if (event.type === 'oom') {
      this.#handleOom(event.containerId, known);
      return;
    }
    const wasTold = event.type !== 'started' && this.#ranOut.delete(event.containerId);
    if (!wasTold && podUid !== undefined && this.#mayBeOomKill(event, podUid)) {
      this.#kills.setEarlier(event.containerId, OOM_NOTICE_WAIT_MS);
      return;
    }
    if (podUid === undefined) this.#keepUnknown(event);
    else if (isNews(event, known)) this.#changed(podUid);
  }

  /** Mostly the end follows and tells why. Where it is known already, or just being read, it told too little. */
  #handleOom(id: string, known: KnownInstance | undefined): void {
    this.#deps.runtime.memoryRanOut(id);
    if (known === undefined) return; // whoever reads of it for the first time has been told now
    const isHeld = this.#kills.dueMs(id) !== undefined;
    this.#kills.delete(id);
    if (isHeld || known.state === 'exited' || this.#deps.cache.isStale(known.podUid)) this.#changed(known.podUid);
    else this.#remember(id);
  }

  /** Ends and removals forget; what a lost event left behind is bounded. */
  #remember(id: string): void {
    if (this.#ranOut.size >= MAX_UNKNOWN_EVENTS) this.#ranOut.clear();
    this.#ranOut.add(id);
  }

  #mayBeOomKill(event: RuntimeEvent, podUid: string): boolean {
    if (event.type !== 'stopped' || event.exitCode !== SIGKILL_EXIT_CODE) return false;
    const container = this.#deps.cache.get(podUid)?.containers.find((c) => c.id === event.containerId);
    return container?.state === 'running';
  }

  #tellKill(id: string): void {
    const known = this.#deps.cache.instance(id);
    if (known !== undefined && known.state !== 'exited') this.#changed(known.podUid);
  }

  #changed(podUid: string): void {
    this.#deps.cache.markStale(podUid);
    this.#deps.onPodChanged(podUid);
  }

  /**
   * Mostly a container that a worker of ours has just created: the worker reads the status when it is done, which
   * tells whose it is. Anything else is found by a relist.
   */
  #keepUnknown(event: RuntimeEvent): void {
    if (event.type === 'deleted') {
      this.#unknown.delete(event.containerId);
      return;
    }
    if (this.#unknown.size >= MAX_UNKNOWN_EVENTS) {
      this.#unknown.clear();
      this.requestRelist();
    }
    const sinceMs = this.#unknown.get(event.containerId)?.sinceMs ?? this.#deps.clock.monotonicMs();
    this.#unknown.set(event.containerId, { event, sinceMs });
    this.#unknownTimer ??= this.#deps.clock.setTimer(UNKNOWN_EVENT_WAIT_MS, () => this.#lookAtUnknown());
  }

  /** A relist when the oldest event has waited long enough; one of a pod that is just being started has not. */
  #lookAtUnknown(): void {
    const { clock } = this.#deps;
    this.#unknownTimer = undefined;
    const [oldest] = this.#unknown.values();
    if (oldest === undefined) return;
    const leftMs = oldest.sinceMs + UNKNOWN_EVENT_WAIT_MS - clock.monotonicMs();
    if (leftMs <= 0) this.requestRelist();
    else this.#unknownTimer = clock.setTimer(leftMs, () => this.#lookAtUnknown());
  }

  /** A status may be older than an event that came while it was being read: then it has to be read again. */
  #resolveUnknown(status: PodRuntimeStatus): void {
    if (this.#unknown.size === 0) return;
    const ids = [...status.sandboxes.map((s) => s.id), ...status.containers.map((c) => c.id)];
    let changed = false;
    for (const id of ids) {
      const kept = this.#unknown.get(id);
      if (kept === undefined) continue;
      this.#unknown.delete(id);
      if (isNews(kept.event, this.#deps.cache.instance(id))) changed = true;
    }
    if (changed) this.#changed(status.uid);
  }

  async #relistLoop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#relistWanted = false;
      const startMs = this.#deps.clock.monotonicMs();
      try {
        await this.#relist(signal);
        this.#listFailed = false;
      } catch (err) {
        [this.#listFailed, this.#wasLost] = [true, true];
        if (!signal.aborted) this.#log.warn({ err }, 'cannot list the pods of the runtime');
      }
      const sinceMs = startMs - (this.#connectedAtMs ?? Number.POSITIVE_INFINITY);
      const mayWait = sinceMs >= SETTLE_MS && !this.#listFailed;
      await this.#waitForRelist(mayWait ? RELIST_WITH_EVENTS_MS : RELIST_WITHOUT_EVENTS_MS, signal);
    }
  }

  async #waitForRelist(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#relistWanted) return;
    using waiting = linkedSignal(signal);
    this.#wake = () => waiting.abort();
    await this.#deps.clock.sleep(ms, waiting.signal);
    this.#wake = undefined;
  }

  async #relist(signal: AbortSignal): Promise<void> {
    const { cache, clock, observer } = this.#deps;
    const seq = cache.beginList();
    const [startMs, beforeMs] = [clock.monotonicMs(), this.#relistStartMs];
    this.#relistStartMs = startMs;
    const olderEvents = new Map(this.#unknown);
    const pods = await this.#deps.runtime.listPods(signal);
    const sinceSeconds = beforeMs === undefined ? undefined : (startMs - beforeMs) / 1000;
    observer?.relisted((clock.monotonicMs() - startMs) / 1000, sinceSeconds);
    this.#pods = pods;
    this.#listedAtMs = clock.monotonicMs();
    for (const [id, entry] of olderEvents) if (this.#unknown.get(id) === entry) this.#unknown.delete(id);
    const gone = cache.endList(seq, new Set(pods.map((p) => p.uid)));
    for (const pod of pods) {
      // A status that was asked for after the list began may know better than the list.
      if (!cache.isNewerThan(pod.uid, seq) && differsFromList(cache.get(pod.uid), pod)) this.#changed(pod.uid);
    }
    for (const uid of gone) this.#deps.onPodChanged(uid);
    this.#firstList.resolve();
    this.#deps.onListed?.(pods);
    if (this.#wasLost) this.#deps.onRuntimeBack?.();
    this.#wasLost = false;
  }
}

/** False for what the status shows already, e.g. the start that our own worker caused and has seen. */
function isNews(event: RuntimeEvent, known: KnownInstance | undefined): boolean {
  switch (event.type) {
    case 'created':
      return known === undefined;
    case 'started':
      return known === undefined || known.state === 'created';
    case 'stopped':
      return known?.state !== 'exited';
    case 'deleted':
      return known !== undefined;
    case 'oom':
      return false; // has its own way
  }
}
