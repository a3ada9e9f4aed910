// When a volume that could not be set up is tried again, and told of again: after 0.5 s, doubled up to 2 min 2 s, each
// volume by itself. After pkg/volume/util/operationexecutor and goroutinemap/exponentialbackoff.
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import { type VolumeStep, VolumeStepError } from './volume-error.ts';

const INITIAL_MS = 500;
const MAX_MS = 122_000;
const OTHERS_FIRST: ReadonlySet<VolumeStep> = new Set(['process', 'attach', 'WaitForAttach']);

interface Failure {
  readonly err: unknown;
  readonly delayMs: number;
  /** Monotonic ms. */
  untilMs: number;
}

export class MountBackoff {
  readonly #clock: Clock;
  /** By pod, then by volume. */
  readonly #failures = new Map<string, Map<string, Failure>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Pods some of whose volumes could not be set up when last tried. */
  get podUids(): Iterable<string> {
    return this.#failures.keys();
  }

  /** Why the volume must not be tried yet; undefined when it may be. What others must do first is looked at always. */
  heldBack(podUid: string, volume: string): { readonly err: unknown } | undefined {
    const failure = this.#failures.get(podUid)?.get(volume);
    if (failure === undefined || this.#clock.monotonicMs() >= failure.untilMs) return undefined;
    const { err } = failure;
    return err instanceof VolumeStepError && OTHERS_FIRST.has(err.step) ? undefined : failure;
  }

  /** Notes a failure. True when users should hear of it: it is news, or was last told of long enough ago. */
  failed(podUid: string, volume: string, err: unknown): boolean {
    const nowMs = this.#clock.monotonicMs();
    const ofPod = this.#failures.get(podUid) ?? new Map<string, Failure>();
    const last = ofPod.get(volume);
    if (last !== undefined && nowMs < last.untilMs && errorMessage(last.err) === errorMessage(err)) return false;
    const delayMs = last === undefined ? INITIAL_MS : Math.min(last.delayMs * 2, MAX_MS);
    ofPod.set(volume, { err, delayMs, untilMs: nowMs + delayMs });
    this.#failures.set(podUid, ofPod);
    return true;
  }

  succeeded(podUid: string, volume: string): void {
    const ofPod = this.#failures.get(podUid);
    if (ofPod?.delete(volume) && ofPod.size === 0) this.#failures.delete(podUid);
  }

  /** What the pod waits for may be there: all is tried at once, and later tries stay as rare as they were. */
  release(podUid: string): void {
    for (const failure of this.#failures.get(podUid)?.values() ?? []) failure.untilMs = 0;
  }

  /** Until the first of the pod's volumes may be tried again, ms. */
  retryInMs(podUid: string): number {
    const times = [...(this.#failures.get(podUid)?.values() ?? [])].map((f) => f.untilMs);
    return Math.max(0, Math.min(...times) - this.#clock.monotonicMs());
  }

  forgetPod(podUid: string): void {
    this.#failures.delete(podUid);
  }
}
