// How well devices are, as their drivers last said. What a driver has not said again in time is not known any more. After
// pkg/kubelet/cm/dra/healthinfo.go.
import type { ResourceHealth } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';
import type { DraDeviceHealth } from '../../cri/gen/messages.ts';

/** Of what is said without a time of its own, ms. */
const TIMEOUT_MS = 30_000;
/** Characters; the API takes no longer ones. */
const MAX_MESSAGE = 1024;
/** By upstream's numbers. */
const STATES = ['Unknown', 'Healthy', 'Unhealthy'] as const;

export type DeviceState = Required<Pick<ResourceHealth, 'health'>> & Pick<ResourceHealth, 'message'>;

interface Told {
  readonly state: DeviceState;
  /** Monotonic ms. */
  readonly untilMs: number;
}

const UNKNOWN: DeviceState = Object.freeze({ health: 'Unknown' });

export class DeviceHealth {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  /** By driver, then by pool and device. */
  readonly #drivers = new Map<string, Map<string, Told>>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  of(driver: string, pool: string, device: string): DeviceState {
    const told = this.#drivers.get(driver)?.get(keyOf(pool, device));
    return told === undefined || told.untilMs < this.#clock.monotonicMs() ? UNKNOWN : told.state;
  }

  /** Takes what a driver says of all its devices. True when any of them is not as it was. */
  update(driver: string, devices: readonly DraDeviceHealth[]): boolean {
    const nowMs = this.#clock.monotonicMs();
    const known = this.#drivers.get(driver) ?? new Map<string, Told>();
    this.#drivers.set(driver, known);
    let isChanged = false;
    for (const { device, health, healthCheckTimeoutSeconds, message } of devices) {
      const { poolName = '', deviceName = '' } = device ?? {};
      const before = this.of(driver, poolName, deviceName);
      const state = { health: STATES[health] ?? 'Unknown', ...(message === '' ? {} : { message: shortened(message) }) };
      const timeoutMs = healthCheckTimeoutSeconds > 0 ? healthCheckTimeoutSeconds * 1000 : TIMEOUT_MS;
      known.set(keyOf(poolName, deviceName), { state, untilMs: nowMs + timeoutMs });
      isChanged ||= before.health !== state.health || before.message !== state.message;
    }
    // Of a device that is not told of any more nobody asks for long.
    for (const [key, { untilMs }] of known) if (untilMs < nowMs) known.delete(key);
    return isChanged;
  }

  /** Nobody tells of the driver's devices any more. True when anything was known. */
  clear(driver: string): boolean {
    return this.#drivers.delete(driver);
  }
}

function keyOf(pool: string, device: string): string {
  return `${pool}/${device}`;
}

function shortened(message: string): string {
  return message.length <= MAX_MESSAGE ? message : `${message.slice(0, MAX_MESSAGE - 3)}...`;
}
