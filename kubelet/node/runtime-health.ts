// Watches whether the container runtime and its network are ready: a question every 5 s, quicker while the node is
// coming up. After the kubelet's updateRuntimeUp and runtimeState (pkg/kubelet/runtime.go).

import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { SyncRunner } from '../../core/sync-runner.ts';
import type { StatusResponse, VersionResponse } from '../../cri/gen/messages.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';

const CHECK_INTERVAL_MS = 5000;
/** While not yet ready the runtime is asked this often, for at most the time below (kubelet: fastNodeStatusUpdate). */
const STARTING_INTERVAL_MS = 100;
const STARTING_LIMIT_MS = 120_000;
const DOWN_AFTER_MS = 30_000;

export class RuntimeHealth {
  readonly #runtime: Pick<RuntimeService, 'status' | 'version'>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onChange: () => void;
  readonly #startedMs: number;
  readonly #runner: SyncRunner;
  readonly #looked = Promise.withResolvers<void>();
  #signal: AbortSignal | undefined;
  #retry: Disposable | undefined;
  #lastOkMs: number | undefined;
  #runtimeErrors: readonly string[] = [];
  #networkErrors: readonly string[] = ['network state unknown'];
  #status: StatusResponse | undefined;
  #version: VersionResponse | undefined;
  #reported = '';

  /** `onChange` is called when `errors` may have changed; it must be cheap. */
  constructor(
    runtime: Pick<RuntimeService, 'status' | 'version'>,
    deps: { clock: Clock; log: Logger; onChange: () => void },
  ) {
    this.#runtime = runtime;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'runtime-health' });
    this.#onChange = deps.onChange;
    this.#startedMs = deps.clock.monotonicMs();
    this.#runner = new SyncRunner(
      () => this.#check(),
      {
        name: 'runtime-health',
        minIntervalMs: 20,
        retryIntervalMs: CHECK_INTERVAL_MS,
        maxIntervalMs: CHECK_INTERVAL_MS,
      },
      deps,
    );
  }

  /** Asks the runtime now, e.g. after its CNI configuration was written. */
  request(): void {
    this.#runner.request();
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    await this.#runner.run(signal);
    this.#retry?.[Symbol.dispose]();
  }

  /** Resolves once the runtime has been asked for the first time, whatever it said. */
  get looked(): Promise<void> {
    return this.#looked.promise;
  }

  /** What keeps pods from being synced at all. */
  runtimeErrors(): string[] {
    if (this.#lastOkMs === undefined && this.#runtimeErrors.length === 0) {
      return ['container runtime status check may not have completed yet'];
    }
    const errors = [...this.#runtimeErrors];
    if (this.#lastOkMs !== undefined && this.#clock.monotonicMs() - this.#lastOkMs > DOWN_AFTER_MS) {
      errors.unshift('container runtime is down');
    }
    return errors;
  }

  /** What keeps pods off the pod network; pods on the host network may run. */
  networkErrors(): string[] {
    return [...this.#networkErrors];
  }

  /** The newest answer of the runtime, with handlers and features. */
  get status(): StatusResponse | undefined {
    return this.#status;
  }

  get version(): VersionResponse | undefined {
    return this.#version;
  }

  async #check(): Promise<void> {
    const opts = this.#signal === undefined ? {} : { signal: this.#signal };
    try {
      const status = await this.#runtime.status(false, opts);
      // Asked again after every outage: the runtime may have been upgraded meanwhile.
      if (this.#version === undefined || this.runtimeErrors().length > 0) {
        this.#version = await this.#runtime.version(opts);
      }
      this.#take(status);
    } catch (err) {
      // The old time stamp stays: the node is told down once it is 30 s old.
      this.#log.debug({ err }, 'container runtime did not answer');
    }
    this.#looked.resolve();
    this.#report();
    this.#askSoonWhileStarting();
  }

  #take(status: StatusResponse): void {
    this.#status = status;
    const network = conditionError(status, 'NetworkReady');
    this.#networkErrors = network === undefined ? [] : [`container runtime network not ready: ${network}`];
    const runtime = conditionError(status, 'RuntimeReady');
    this.#runtimeErrors = runtime === undefined ? [] : [`container runtime not ready: ${runtime}`];
    if (runtime === undefined) this.#lastOkMs = this.#clock.monotonicMs();
  }

  #report(): void {
    const now = JSON.stringify([this.runtimeErrors(), this.#networkErrors, this.#version]);
    if (now === this.#reported) return;
    this.#reported = now;
    this.#log.info({ runtime: this.runtimeErrors(), network: this.#networkErrors }, 'runtime state changed');
    this.#onChange();
  }

  #askSoonWhileStarting(): void {
    this.#retry?.[Symbol.dispose]();
    this.#retry = undefined;
    const ready = this.#networkErrors.length === 0 && this.runtimeErrors().length === 0;
    if (ready || this.#signal?.aborted || this.#clock.monotonicMs() - this.#startedMs > STARTING_LIMIT_MS) return;
    this.#retry = this.#clock.setTimer(STARTING_INTERVAL_MS, () => this.#runner.request());
  }
}

/** `NetworkReady=false reason:… message:…` when the condition is false or missing. */
function conditionError(status: StatusResponse, type: string): string | undefined {
  const condition = status.status?.conditions.find((c) => c.type === type);
  if (condition?.status === true) return undefined;
  return `${type}=false reason:${condition?.reason ?? ''} message:${condition?.message ?? ''}`;
}
