// Device plugins of the node: where they register, what they offer, and what containers were given of it.
import path from 'node:path';
import { Counter, Histogram, type Registry } from '../../core/metrics.ts';
import type { Task } from '../../core/tasks.ts';
import { onlineNumaNodes } from '../../host/numa-nodes.ts';
import { DeviceManager } from '../../kubelet/devices/device-manager.ts';
import { DevicePlugins } from '../../kubelet/devices/device-plugins.ts';
import { RegistrationServer } from '../../kubelet/devices/registration-server.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { DEFAULT_BUCKETS_S } from '../../kubelet/metrics/kubelet-metrics.ts';
import type { HealthCheck } from '../../kubelet/server/healthz.ts';
import type { AgentContext } from './shared.ts';

/** Names under which registrations are counted: whoever registers may invent any. */
const MAX_COUNTED = 256;

export interface DevicesPart extends Disposable {
  readonly manager: DeviceManager;
  /** For statuses of pods; undefined where its gate is off. */
  readonly health: DeviceManager['health'] | undefined;
  /** For plugins that are found in the registration directory. */
  readonly plugins: DevicePlugins;
  readonly healthCheck: HealthCheck;
  readonly task: Task;
}

export async function createDevicesPart(
  { config, registry, clock, log }: AgentContext,
  deps: {
    readonly rootDir: string;
    readonly kubelet: () => Pick<Kubelet, 'isContainerRunning' | 'retryPod'>;
    readonly requestNodeStatus: () => void;
  },
): Promise<DevicesPart> {
  const showsHealth = config.featureGates.get('ResourceHealthStatus') !== false;
  const dir = path.join(deps.rootDir, 'device-plugins');
  const metrics = deviceMetrics(registry);
  const manager = await DeviceManager.open(dir, {
    isRunning: (uid, container) => deps.kubelet().isContainerRunning(uid, container),
    numaNodes: onlineNumaNodes,
    onAmountsChanged: deps.requestNodeStatus,
    onPodHealthChanged: (uid) => {
      if (showsHealth) deps.kubelet().retryPod(uid);
    },
    onAllocated: (resource_name, tookSeconds) => metrics.allocations.observe({ resource_name }, tookSeconds),
    clock,
    log,
  });
  const plugins = new DevicePlugins({ inventory: manager.inventory, clock, log });
  const counted = new Set<string>();
  const onRegister = (resource_name: string) => {
    if (counted.size < MAX_COUNTED) counted.add(resource_name);
    if (counted.has(resource_name)) metrics.registrations.inc({ resource_name });
  };
  const onOpen = () => manager.inventory.opened();
  const server = new RegistrationServer(dir, { plugins, onOpen, onRegister, clock, log });
  return {
    manager,
    health: showsHealth ? (podUid, container) => manager.health(podUid, container) : undefined,
    plugins,
    healthCheck: { name: 'device-plugin', error: () => server.error() },
    task: async (signal) => {
      await server.run(signal);
      await manager.flush().catch(() => {}); // told of before; the next agent finds out
    },
    [Symbol.dispose]() {
      plugins[Symbol.dispose]();
      manager[Symbol.dispose]();
    },
  };
}

function deviceMetrics(registry: Registry) {
  const labelNames = ['resource_name'] as const;
  const registers = [registry];
  return {
    registrations: new Counter({
      name: 'kubelet_device_plugin_registration_total',
      help: 'Registrations of device plugins',
      labelNames,
      registers,
    }),
    allocations: new Histogram({
      name: 'kubelet_device_plugin_alloc_duration_seconds',
      help: 'Time that device plugins took to allocate, seconds',
      labelNames,
      buckets: DEFAULT_BUCKETS_S,
      registers,
    }),
  };
}
