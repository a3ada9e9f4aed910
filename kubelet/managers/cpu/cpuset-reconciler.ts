// Running containers follow the CPUs that they may use: those that share lose what one gets for itself, and have it back
// when it is gone. At once when something changed, and once every period in case a container was just being made, or could
// not be told. One timer for all; in between nothing. After pkg/kubelet/cm/cpumanager/cpu_manager.go reconcileState.
import type { Clock } from '../../../core/clock.ts';
import type { Logger } from '../../../core/log.ts';
import { SyncRunner } from '../../../core/sync-runner.ts';

export interface RunningContainer {
  readonly podUid: string;
  readonly name: string;
  readonly id: string;
}

export interface CpusetReconcilerDeps {
  /** From memory. */
  readonly running: () => Iterable<RunningContainer>;
  /** What a container is to run on; '' for no wish. */
  readonly cpusetOf: (podUid: string, name: string) => string;
  readonly update: (containerId: string, cpuset: string, signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Pods that come together change the pool together. */
const MIN_INTERVAL_MS = 100;
/** Containers that were never seen running; one that is forgotten costs a call that changes nothing. */
const MAX_GRANTED = 1000;

export class CpusetReconciler {
  readonly #deps: CpusetReconcilerDeps;
  readonly #log: Logger;
  readonly #runner: SyncRunner;
  /** By container id. A container of which nothing is known (an earlier agent's) is told what it is to have. */
  #told = new Map<string, string>();
  /** By pod uid and name: what the newest instance was made with, until it is seen running. */
  readonly #granted = new Map<string, string>();

  constructor(periodMs: number, deps: CpusetReconcilerDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'cpusets' });
    this.#runner = new SyncRunner(
      (signal) => this.reconcile(signal),
      { name: 'cpusets', minIntervalMs: MIN_INTERVAL_MS, retryIntervalMs: periodMs, maxIntervalMs: periodMs },
      deps,
    );
  }

  /** The pool changed. */
  request(): void {
    this.#runner.request();
  }

  /** A container is about to be made with `cpuset`. */
  granted(podUid: string, name: string, cpuset: string): void {
    if (this.#granted.size >= MAX_GRANTED) this.#granted.clear();
    this.#granted.set(`${podUid}/${name}`, cpuset);
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#runner.run(signal);
  }

  /** A container that cannot be told is told again the next time; it does not keep the others from it. */
  async reconcile(signal: AbortSignal): Promise<void> {
    const told = new Map<string, string>();
    for (const { podUid, name, id } of this.#deps.running()) {
      if (signal.aborted) return;
      const cpuset = this.#deps.cpusetOf(podUid, name);
      const has = this.#told.get(id) ?? this.#takeGranted(podUid, name);
      const isRight = cpuset === '' || has === cpuset || (await this.#update(id, cpuset, signal));
      if (isRight) told.set(id, cpuset);
    }
    this.#told = told;
  }

  #takeGranted(podUid: string, name: string): string | undefined {
    const key = `${podUid}/${name}`;
    const cpuset = this.#granted.get(key);
    this.#granted.delete(key);
    return cpuset;
  }

  async #update(id: string, cpuset: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#deps.update(id, cpuset, signal);
      this.#log.debug({ containerId: id, cpuset }, 'container told its CPUs');
      return true;
    } catch (err) {
      if (!signal.aborted) this.#log.warn({ err, containerId: id, cpuset }, 'container not told its CPUs, will retry');
      return false;
    }
  }
}
