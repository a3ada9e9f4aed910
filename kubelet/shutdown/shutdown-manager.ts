// The pods' part in the end of the node: no new ones, and those that are here end group by group, each with its time.
// After pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go.
import type { ObjectReference } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { EndPod } from '../eviction/pod-evictions.ts';
import { endedWithNode, graceSecondsOf, groupPods, type PodGroup, type ShutdownGroup } from './shutdown-groups.ts';

export interface ShutdownManagerDeps {
  /** Sorted by priority. */
  readonly groups: readonly ShutdownGroup[];
  readonly activePods: () => readonly Pod[];
  readonly endPod: EndPod;
  /** Remembers when it was; a failure is logged. */
  readonly record: { began(nowMs: number): Promise<void>; ended(nowMs: number): Promise<void> };
  /** The node's conditions have changed. */
  readonly requestNodeStatus: () => void;
  readonly events: EventRecorder;
  readonly node: ObjectReference;
  readonly clock: Clock;
  readonly log: Logger;
}

const SHUTTING_DOWN = 'node is shutting down';

export class ShutdownManager {
  readonly #deps: ShutdownManagerDeps;
  readonly #log: Logger;
  #active = false;

  constructor(deps: ShutdownManagerDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'shutdown' });
  }

  /** Why the node is not ready, undefined while it stays up. Pods are refused meanwhile. */
  get error(): string | undefined {
    return this.#active ? SHUTTING_DOWN : undefined;
  }

  /** The shutdown that was announced does not happen. Pods that have ended stay so. */
  cancelled(): void {
    this.#tell('Shutdown manager detected shutdown cancellation');
    this.#active = false;
    this.#deps.requestNodeStatus();
  }

  /** Resolves when the pods have ended or their time is over; when `signal` aborts, no further group is begun. */
  async shutDown(signal: AbortSignal): Promise<void> {
    const { activePods, groups, record, clock } = this.#deps;
    this.#active = true; // before the pods are counted: none may come in between
    this.#tell('Shutdown manager detected shutdown event');
    this.#deps.requestNodeStatus();
    await record.began(clock.now()).catch((err: unknown) => this.#log.warn({ err }, 'time of shutdown not kept'));
    for (const group of groupPods(activePods(), groups)) {
      if (!signal.aborted) await this.#end(group, signal);
    }
    await record.ended(clock.now()).catch((err: unknown) => this.#log.warn({ err }, 'time of shutdown not kept'));
  }

  /** All at once. Their volumes may be needed by what shuts down after us: they are waited for, too. */
  async #end({ pods, seconds }: PodGroup, signal: AbortSignal): Promise<void> {
    const { endPod, clock } = this.#deps;
    this.#log.info({ pods: pods.length, seconds }, 'ending pods, the node is going down');
    using limit = linkedSignal(signal);
    const ended = pods.map((pod) => {
      const graceSeconds = graceSecondsOf(pod, seconds);
      return endPod(pod, { graceSeconds, statusOverride: endedWithNode(pod, clock.now()) }, limit.signal);
    });
    const all = Promise.all(ended.map((e) => e.cleanedUp)).then(() => 'ended' as const);
    const first = await Promise.race([all, clock.sleep(seconds * 1000, limit.signal).then(() => 'late' as const)]);
    limit.abort(); // lets go of the timer, and of pods that are late
    if (first === 'late' && !signal.aborted) this.#log.warn({ seconds }, 'pods did not end in their time');
  }

  #tell(message: string): void {
    this.#log.info(message);
    this.#deps.events.event(this.#deps.node, 'Normal', 'Shutdown', message);
  }
}
