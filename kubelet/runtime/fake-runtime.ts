// What a KubeRuntime over a FakeCri needs besides, in tests: settings, and dependencies that have nothing to say.
import path from 'node:path';
import type { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { FakeCri } from './fake-cri.ts';
import { KubeRuntime } from './kube-runtime.ts';
import type { ResourceSettings } from './resources.ts';
import type { RuntimeDeps, RuntimeSettings } from './runtime-deps.ts';

/** A new one knows nothing but what the runtime tells: an agent that was started again. Files are made below `dir`. */
export function runtimeOver(
  dir: string,
  { cri, clock }: { readonly cri: FakeCri; readonly clock: FakeClock },
  others: Partial<RuntimeDeps> = {},
): KubeRuntime {
  return new KubeRuntime(settingsFor(dir), {
    ...cri.services,
    recorder: { event: () => {} },
    clock,
    log: silentLog,
    nodeIps: () => ['192.168.0.1'],
    nodeAllocatable: () => ({}),
    configMap: async () => undefined,
    secret: async () => undefined,
    services: () => [],
    runtimeHandler: async () => '',
    supportsRecursiveReadOnly: () => false,
    supportsUserNamespaces: () => true,
    userNamespaces: { mappingOf: async () => ({ hostId: 131_072, containerId: 0, length: 65_536 }) },
    imageVolumesMissing: () => undefined,
    cgroupParent: () => '/kubepods/pod',
    volumesOf: () => new Map(),
    tailLog: async () => 'end of the log',
    bindMount: async () => {},
    unmount: async () => {},
    ...others,
  });
}

/** Of a node with 1 GiB. */
export const FAKE_RESOURCES: ResourceSettings = {
  memoryCapacityBytes: 2 ** 30,
  enforceCpuLimits: true,
  cpuPeriodUs: 100_000,
  cgroupVersion: 1,
  singleProcessOomKill: true,
  hugepageSizes: [],
};

function settingsFor(dir: string): RuntimeSettings {
  return {
    nodeName: 'n1',
    rootDir: path.join(dir, 'root'),
    podLogsDir: path.join(dir, 'pods'),
    containerLogsDir: path.join(dir, 'containers'),
    clusterDns: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    resolvConfFile: '',
    nodeHostsFile: '/etc/hosts',
    maxRestartBackoffMs: 300_000,
    pulls: { maxParallelPulls: 1, pullsPerSecond: 5, pullBurst: 10 },
    resources: FAKE_RESOURCES,
    security: { seccompDefault: false, seccompDir: '', extraMaskedPaths: [] },
  };
}
