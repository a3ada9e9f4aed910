// The pods that are being evicted: each gets its Event and its status, and is waited for as long as its grace allows.
// After evictPod in pkg/kubelet/eviction/eviction_manager.go and killPodNow in pkg/kubelet/pod_workers.go.
import type { Pod, PodStatus } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { podReference } from '../runtime/runtime-deps.ts';
import { EVICTED, endedByNode } from './evicted-status.ts';

export interface PodEnd {
  readonly graceSeconds: number;
  readonly statusOverride: (status: PodStatus) => PodStatus;
}

export interface EndedPod {
  /** Its containers have ended. */
  readonly stopped: Promise<void>;
  /** Nothing is left of it: volumes and cgroups are gone, too. */
  readonly cleanedUp: Promise<void>;
}

/** Has the pod's worker end it. Both promises resolve when `signal` aborts, and never reject. */
export type EndPod = (pod: Pod, end: PodEnd, signal: AbortSignal) => EndedPod;

export interface Eviction {
  /** 0 is as little as a pod can get: one second. */
  readonly graceSeconds: number;
  readonly isHard: boolean;
  readonly message: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of the condition DisruptionTarget; none for a pod that is itself to blame. */
  readonly disruption?: string;
}

interface PodEvictionsDeps {
  readonly endPod: EndPod;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The kubelet's own bounds: 10 s or half as long again as the pod was given. */
const MIN_STOP_MS = 10_000;
const STOP_FACTOR = 1.5;
/** What a pod that has ended may take to be cleaned up before the next is chosen, ms. */
const CLEAN_UP_MS = 30_000;

export class PodEvictions {
  readonly #deps: PodEvictionsDeps;
  /** By uid. */
  readonly #running = new Map<string, { readonly how: Eviction; readonly done: Promise<void> }>();

  constructor(deps: PodEvictionsDeps) {
    this.#deps = deps;
  }

  /** A pod that was evicted before has not gone yet; one that was given time to end does not count for `isHard`. */
  isBusy(isHard: boolean): boolean {
    return [...this.#running.values()].some(({ how }) => !isHard || how.isHard);
  }

  /** False when the pod is being evicted already, with no more time than this. */
  start(pod: Pod, how: Eviction, signal: AbortSignal): boolean {
    const { events, clock } = this.#deps;
    const uid = pod.metadata?.uid ?? '';
    const before = this.#running.get(uid);
    if (before !== undefined && before.how.graceSeconds <= how.graceSeconds) return false;
    const { message, disruption } = how;
    events.event(podReference(pod), 'Warning', EVICTED, message, how.annotations);
    const statusOverride = endedByNode(pod, { reason: EVICTED, message, disruption }, clock.now());
    const done = this.#waitFor(pod, how, statusOverride, signal);
    const entry = { how, done };
    this.#running.set(uid, entry);
    void done.then(() => {
      if (this.#running.get(uid) === entry) this.#running.delete(uid); // not one with less grace that came meanwhile
    }); // cannot fail
    return true;
  }

  /** Resolves when no eviction is waited for any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  async #waitFor(
    pod: Pod,
    { graceSeconds }: Eviction,
    statusOverride: PodEnd['statusOverride'],
    signal: AbortSignal,
  ): Promise<void> {
    const { endPod, events } = this.#deps;
    using waiting = linkedSignal(signal);
    const { stopped, cleanedUp } = endPod(pod, { graceSeconds, statusOverride }, waiting.signal);
    if (!(await this.#within(stopped, Math.max(MIN_STOP_MS, STOP_FACTOR * graceSeconds * 1000), signal))) {
      if (signal.aborted) return;
      const text = 'Container runtime did not kill the pod within specified grace period.';
      events.event(podReference(pod), 'Warning', 'ExceededGracePeriod', text);
    }
    await this.#within(cleanedUp, CLEAN_UP_MS, signal);
    waiting.abort(); // whatever is not over by now is not waited for
  }

  /** True when `done` came in time. */
  async #within(done: Promise<void>, ms: number, signal: AbortSignal): Promise<boolean> {
    using timer = linkedSignal(signal);
    const inTime = await Promise.race([
      done.then(() => !signal.aborted),
      this.#deps.clock.sleep(ms, timer.signal).then(() => false),
    ]);
    timer.abort();
    return inTime;
  }
}
