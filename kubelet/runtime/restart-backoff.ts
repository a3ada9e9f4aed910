// CrashLoopBackOff: how long a container that ended waits before it is started again
// (pkg/kubelet/kuberuntime/kuberuntime_manager.go doBackOff, client-go util/flowcontrol).
import { type Pod, podDescription } from '../../api/pod.ts';
import { KeyedBackoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { formatGoDuration } from '../../core/go-duration.ts';
import { fnv1a64Hex } from './container-hash.ts';
import type { AnyContainer } from './labels.ts';
import type { PodRuntimeStatus } from './pod-runtime-status.ts';

const DEFAULT_INITIAL_MS = 10_000;

export interface RestartDelay {
  /** Of `state.waiting` under the reason CrashLoopBackOff. */
  readonly message: string;
  /** Wall ms at which the container may start. */
  readonly retryAtMs: number;
}

export class RestartBackoff {
  readonly #backoff: KeyedBackoff<string>;
  readonly #clock: Clock;

  /** `maxMs`: crashLoopBackOff.maxContainerRestartPeriod, 300,000 by default; never below the first delay. */
  constructor(
    opts: { readonly maxMs: number; readonly initialMs?: number | undefined },
    deps: { readonly clock: Clock },
  ) {
    const { maxMs, initialMs = DEFAULT_INITIAL_MS } = opts;
    this.#backoff = new KeyedBackoff({ initialMs: Math.min(initialMs, maxMs), maxMs }, deps);
    this.#clock = deps.clock;
  }

  /**
   * Asks to start `container` now: undefined means go, and the next delay grows. Counted from the end of the newest
   * exited instance; a container that never ended is never delayed.
   */
  tryStart(pod: Pod, container: AnyContainer, status: PodRuntimeStatus): RestartDelay | undefined {
    const last = status.containers.find((c) => c.name === container.name && c.state === 'exited');
    if (last === undefined) return undefined;
    const key = restartBackoffKey(pod, container);
    const leftMs = this.#backoff.leftSince(key, last.finishedAtMs);
    if (leftMs > 0) {
      const delayMs = this.#backoff.get(key);
      return {
        message: `back-off ${formatGoDuration(delayMs)} restarting failed container=${container.name} pod=${podDescription(pod)}`,
        retryAtMs: this.#clock.now() + leftMs,
      };
    }
    this.#backoff.next(key, last.finishedAtMs);
    return undefined;
  }

  /** Forgets delays that nobody has asked about for long; to be called now and then. */
  collect(): void {
    this.#backoff.collect();
  }
}

/** One delay per container as it is specified: another image or other resources start afresh. */
export function restartBackoffKey(pod: Pod, container: AnyContainer): string {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const resources = JSON.stringify((container as { resources?: unknown }).resources ?? {});
  return fnv1a64Hex([name, namespace, uid, container.name, container.image ?? '', resources].join('/'));
}
