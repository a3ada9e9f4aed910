// The conditions PodResizePending and PodResizeInProgress of each pod, and the Events that tell of their coming and
// going. In memory: after a restart of the agent they follow again from what was given and what is used. After
// pkg/kubelet/status/status_manager.go SetPodResizePendingCondition and its siblings.
import { formatTime } from '../../api/meta.ts';
import type { Pod, PodCondition } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import type { InfeasibleDetail, ResizeObserver } from '../metrics/resize-metrics.ts';
import { podReference } from '../runtime/runtime-deps.ts';
import { resizeText } from './resize-texts.ts';

export type PendingReason = 'Deferred' | 'Infeasible';

interface State {
  readonly reason: string;
  readonly message: string;
  /** Of the pod whose wish this is about. */
  readonly generation: number;
  readonly since: Moment;
}

interface Moment {
  /** As told to users. */
  readonly wallMs: number;
  /** For how long it took: the clock may be set meanwhile. */
  readonly monotonicMs: number;
}

interface PodState {
  readonly pending?: State | undefined;
  readonly inProgress?: State | undefined;
}

export interface ResizeConditionsDeps {
  readonly events: EventRecorder;
  readonly resizes?: ResizeObserver;
  readonly clock: Clock;
}

export class ResizeConditions {
  readonly #events: EventRecorder;
  readonly #observer: ResizeObserver | undefined;
  readonly #clock: Clock;
  readonly #pods = new Map<string, PodState>();

  constructor(deps: ResizeConditionsDeps) {
    this.#events = deps.events;
    this.#observer = deps.resizes;
    this.#clock = deps.clock;
    this.#count();
  }

  /** In the order of a status; empty for nearly every pod. */
  of(podUid: string): PodCondition[] {
    const { pending, inProgress } = this.#pods.get(podUid) ?? {};
    return [
      ...(pending === undefined ? [] : [conditionOf('PodResizePending', pending)]),
      ...(inProgress === undefined ? [] : [conditionOf('PodResizeInProgress', inProgress)]),
    ];
  }

  /** Wall ms since which a resize waits; undefined when none does. */
  pendingSinceMs(podUid: string): number | undefined {
    return this.#pods.get(podUid)?.pending?.since.wallMs;
  }

  /** True when that is news. `detail`: why it can never be. */
  setPending(pod: Pod, reason: PendingReason, message: string, detail?: InfeasibleDetail): boolean {
    const uid = pod.metadata?.uid ?? '';
    const before = this.#pods.get(uid)?.pending;
    const generation = generationOf(pod);
    if (before?.reason === reason && before.message === message && before.generation === generation) return false;
    this.#change(uid, { pending: { reason, message, generation, since: before?.since ?? this.#now() } });
    if (detail !== undefined) this.#observer?.resizeInfeasible(detail);
    this.#tell(pod, 'Warning', `Resize${reason}`, resizeText(reason, pod, generation, message));
    return true;
  }

  /** True when there was one. */
  clearPending(podUid: string): boolean {
    if (this.#pods.get(podUid)?.pending === undefined) return false;
    this.#change(podUid, { pending: undefined });
    return true;
  }

  /** The pod was given what it asked for. An error of a resize before it is forgotten. */
  started(pod: Pod): void {
    const generation = generationOf(pod);
    const inProgress = { reason: '', message: '', generation, since: this.#now() };
    this.#change(pod.metadata?.uid ?? '', { pending: undefined, inProgress });
    this.#tell(pod, 'Normal', 'ResizeStarted', resizeText('started', pod, generation));
  }

  /** Whether containers of `pod`, as allocated, still use something else. An error that was met meanwhile stays told. */
  observe(pod: Pod, isInProgress: boolean): void {
    const uid = pod.metadata?.uid ?? '';
    const before = this.#pods.get(uid)?.inProgress;
    if (isInProgress === (before !== undefined)) return;
    if (isInProgress) {
      const inProgress = { reason: '', message: '', generation: generationOf(pod), since: this.#now() };
      this.#change(uid, { inProgress });
    } else if (before !== undefined) {
      this.#change(uid, { inProgress: undefined });
      this.#observer?.resizeMade(this.#msSince(before.since), true);
      this.#tell(pod, 'Normal', 'ResizeCompleted', resizeText('completed', pod, before.generation));
    }
  }

  /** Containers could not be made to use what they were given. */
  failed(pod: Pod, message: string): void {
    const uid = pod.metadata?.uid ?? '';
    const before = this.#pods.get(uid)?.inProgress;
    if (before?.reason === 'Error' && before.message === message) return;
    const generation = before?.generation ?? generationOf(pod);
    const since = before?.since ?? this.#now();
    this.#change(uid, { inProgress: { reason: 'Error', message, generation, since } });
    this.#observer?.resizeMade(this.#msSince(since), false);
    this.#tell(pod, 'Warning', 'ResizeError', resizeText('error', pod, generation, message));
  }

  forget(podUid: string): void {
    if (this.#pods.delete(podUid)) this.#count();
  }

  #now(): Moment {
    return { wallMs: this.#clock.now(), monotonicMs: this.#clock.monotonicMs() };
  }

  #msSince({ monotonicMs }: Moment): number {
    return this.#clock.monotonicMs() - monotonicMs;
  }

  #change(uid: string, part: PodState): void {
    const next = { ...this.#pods.get(uid), ...part };
    if (next.pending === undefined && next.inProgress === undefined) this.#pods.delete(uid);
    else this.#pods.set(uid, next);
    this.#count();
  }

  /** Few pods are resized at any time. */
  #count(): void {
    const states = [...this.#pods.values()];
    const pending = (reason: PendingReason) => states.filter((s) => s.pending?.reason === reason).length;
    const inProgress = states.filter((s) => s.inProgress !== undefined).length;
    this.#observer?.resizeCounts({ deferred: pending('Deferred'), infeasible: pending('Infeasible'), inProgress });
  }

  #tell(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#events.event(podReference(pod), type, reason, message);
  }
}

function generationOf(pod: Pod): number {
  return pod.metadata?.generation ?? 0;
}

function conditionOf(type: string, { reason, message, generation, since }: State): PodCondition {
  return {
    type,
    status: 'True',
    ...(generation === 0 ? {} : { observedGeneration: generation }),
    lastProbeTime: formatTime(since.wallMs),
    lastTransitionTime: formatTime(since.wallMs),
    ...(reason === '' ? {} : { reason }),
    ...(message === '' ? {} : { message }),
  };
}
