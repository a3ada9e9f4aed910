// How long a new node takes from its boot to its first Ready. Shown as 0 where the Node existed already, as upstream does
// (pkg/kubelet/util/node_startup_latency_tracker.go).
import type { Clock } from '../../core/clock.ts';
import { Gauge, type Registry } from '../../core/metrics.ts';

/** What the registration of the node tells of its progress. Each counts once. */
export interface StartupObserver {
  /** The Node is going to be made. */
  registering(): void;
  /** It was made: it was not there before. */
  registered(): void;
  /** It has been reported Ready. */
  ready(): void;
}

const GAUGES = {
  beforeAgent: ['kubelet_node_startup_pre_kubelet_duration_seconds', 'From the boot to the start of the agent'],
  beforeRegistration: [
    'kubelet_node_startup_pre_registration_duration_seconds',
    'From the start of the agent to the registration of its node',
  ],
  registration: ['kubelet_node_startup_registration_duration_seconds', 'Time that the registration took'],
  afterRegistration: [
    'kubelet_node_startup_post_registration_duration_seconds',
    'From the registration of the node to its first Ready',
  ],
  all: ['kubelet_node_startup_duration_seconds', 'From the boot to the first Ready of a new node'],
} as const;

export class NodeStartup implements StartupObserver {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #bootedAtMs: number;
  readonly #startedAtMs: number;
  readonly #gauges: Readonly<Record<keyof typeof GAUGES, Gauge>>;
  #registeringAtMs: number | undefined;
  #registeredAtMs: number | undefined;
  #isReady = false;

  /** Wall ms of the boot; the agent starts now. */
  constructor(registry: Registry, bootedAtMs: number, clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
    this.#bootedAtMs = bootedAtMs;
    this.#startedAtMs = clock.now();
    const gauges = Object.entries(GAUGES).map(([key, [name, about]]) => {
      return [key, new Gauge({ name, help: `${about}, seconds`, registers: [registry] })] as const;
    });
    this.#gauges = Object.fromEntries(gauges) as Record<keyof typeof GAUGES, Gauge>;
  }

  registering(): void {
    this.#registeringAtMs ??= this.#clock.now();
  }

  registered(): void {
    if (this.#registeringAtMs === undefined || this.#registeredAtMs !== undefined) return;
    this.#registeredAtMs = this.#clock.now();
    this.#set('beforeAgent', this.#bootedAtMs, this.#startedAtMs);
    this.#set('beforeRegistration', this.#startedAtMs, this.#registeringAtMs);
    this.#set('registration', this.#registeringAtMs, this.#registeredAtMs);
  }

  ready(): void {
    if (this.#registeredAtMs === undefined || this.#isReady) return;
    this.#isReady = true;
    const nowMs = this.#clock.now();
    this.#set('afterRegistration', this.#registeredAtMs, nowMs);
    this.#set('all', this.#bootedAtMs, nowMs);
  }

  /** A clock that was set back meanwhile must not make it negative. */
  #set(gauge: keyof typeof GAUGES, fromMs: number, toMs: number): void {
    this.#gauges[gauge].set(Math.max(0, toMs - fromMs) / 1000);
  }
}
