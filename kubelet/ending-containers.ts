// While a pod ends, one of its containers may be gone long before the others. Whoever goes by the pod's status, Services
// above all, is told so without waiting for the last one. Upstream does that with its evented PLEG alone (test/e2e/node
// container_readiness_during_termination.go).
import type { Pod } from '../api/pod.ts';
import type { Clock } from '../core/clock.ts';
import type { PodCache } from './pod-cache.ts';
import { identityOf } from './pod-worker-state.ts';
import type { PodRuntimeStatus } from './runtime/pod-runtime-status.ts';

/** Most pods are gone by then: the end of each of their containers would be told for nothing. */
const SETTLE_MS = 1000;

export interface EndingDeps {
  readonly cache: Pick<PodCache, 'fresh' | 'onChanged'>;
  readonly clock: Clock;
}

/**
 * Calls `tell` each time when fewer containers of the pod run than in `before`, or when it was told last, but still some.
 * Resolves when `signal` aborts; `tell` is not called after that. Never throws: the end of the pod is told by others.
 */
export async function followEnds(
  pod: Pod,
  before: PodRuntimeStatus,
  tell: (status: PodRuntimeStatus) => void,
  { cache, clock }: EndingDeps,
  signal: AbortSignal,
): Promise<void> {
  const identity = identityOf(pod);
  let known = runningOf(before);
  if (known < 2 || signal.aborted) return;
  let changed = Promise.withResolvers<void>();
  const look = (): void => changed.resolve();
  using _changes = cache.onChanged((uid) => {
    if (uid === identity.uid) look();
  });
  signal.addEventListener('abort', look, { once: true });
  while (!signal.aborted) {
    await changed.promise;
    await clock.sleep(SETTLE_MS, signal);
    if (signal.aborted) break;
    changed = Promise.withResolvers<void>(); // before the look: what comes during it causes another
    const status = await cache.fresh(identity).catch(() => undefined);
    const running = status === undefined ? known : runningOf(status);
    if (status === undefined || signal.aborted || running === 0 || running >= known) continue;
    known = running;
    tell(status);
  }
  signal.removeEventListener('abort', look);
}

function runningOf({ containers }: PodRuntimeStatus): number {
  return containers.filter((c) => c.state === 'running').length;
}
