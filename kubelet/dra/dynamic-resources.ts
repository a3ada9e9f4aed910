// Dynamic resources put together: the plugins of drivers, the claims that they prepare, and the record of both.
import type { ApiClient } from '../../client/api-client.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Registry } from '../../core/metrics.ts';
import type { DraDeviceHealth } from '../../cri/gen/messages.ts';
import { ClaimCache } from './claim-cache.ts';
import { ClaimManager } from './claim-manager.ts';
import { DeviceHealth } from './device-health.ts';
import { draMetrics } from './dra-metrics.ts';
import { DraPlugins } from './dra-plugins.ts';
import { wipeSlices } from './slice-wiper.ts';

export interface DynamicResourcesDeps {
  readonly rootDir: string;
  readonly nodeName: string;
  readonly client: ApiClient;
  /** The pod's worker should try again: a driver has come. Must not throw. */
  readonly retryPod: (podUid: string) => void;
  /** Whether statuses of pods tell how well their devices are. */
  readonly showsHealth: boolean;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface DynamicResources extends Disposable {
  readonly claims: ClaimManager;
  readonly plugins: DraPlugins;
}

/** What runs in the background ends with `signal`. @throws {AgentError} DRA_STATE_UNREADABLE */
export function createDynamicResources(deps: DynamicResourcesDeps, signal: () => AbortSignal): DynamicResources {
  const cache = new ClaimCache(deps.rootDir);
  const health = new DeviceHealth(deps.clock);
  const onHealth = (driver: string, devices: readonly DraDeviceHealth[] | undefined) => {
    const isChanged = devices === undefined ? health.clear(driver) : health.update(driver, devices);
    if (isChanged) for (const uid of claims.usersOf(driver)) deps.retryPod(uid); // its status is looked at again
  };
  const metrics = draMetrics(deps.registry, () => cache.all());
  const plugins = new DraPlugins({
    wipe: (driver) => void wipeSlices(deps, driver, signal()), // tries until it can, and never throws
    onUsable: () => {
      for (const uid of claims.takeWaiting()) deps.retryPod(uid);
    },
    observe: metrics.call,
    ...(deps.showsHealth ? { onHealth } : {}),
    clock: deps.clock,
    log: deps.log,
  });
  const claims = new ClaimManager({
    client: deps.client,
    plugins,
    cache,
    health,
    observe: metrics.operation,
    lifetime: signal,
    log: deps.log,
  });
  return { claims, plugins, [Symbol.dispose]: () => plugins[Symbol.dispose]() };
}
