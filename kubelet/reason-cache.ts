// Why containers last failed to start, for `state.waiting`. Bounded: the least recently used reason is forgotten.
// After pkg/kubelet/reason_cache.go.
import type { PodSyncResult } from './runtime/runtime-manager.ts';
import type { StartFailureReason } from './status/container-statuses.ts';

const MAX_ENTRIES = 1000;

export class ReasonCache {
  readonly #entries = new Map<string, StartFailureReason>();

  /** Takes over what one sync did: a start clears the reason, a failure sets it. */
  update(podUid: string, result: Pick<PodSyncResult, 'started' | 'failures'>): void {
    for (const container of result.started) this.#entries.delete(keyOf(podUid, container));
    for (const { container, reason, message } of result.failures) {
      const key = keyOf(podUid, container);
      this.#entries.delete(key); // a Map keeps the order of insertion: set again, it is the youngest
      this.#entries.set(key, { reason, message });
    }
    while (this.#entries.size > MAX_ENTRIES) this.#entries.delete(this.#entries.keys().next().value!);
  }

  get(podUid: string, container: string): StartFailureReason | undefined {
    return this.#entries.get(keyOf(podUid, container));
  }

  forgetPod(podUid: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(`${podUid}_`)) this.#entries.delete(key);
  }
}

function keyOf(podUid: string, container: string): string {
  return `${podUid}_${container}`;
}
