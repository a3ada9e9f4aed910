// How pods are run, from the configuration and the facts of the host; and the runtime's first answer.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { RuntimeClass } from '../../api/kinds.ts';
import type { ReadonlyStore } from '../../client/store.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { VersionResponse } from '../../cri/gen/messages.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { CgroupHierarchies } from '../../host/cgroup.ts';
import type { MachineInfo } from '../../host/machine.ts';
import { pageBytes } from '../../host/page-size.ts';
import { thermalThrottlePaths } from '../../host/thermal-paths.ts';
import type { MemoryQosSettings } from '../../kubelet/resources/memory-qos.ts';
import type { SwapSettings } from '../../kubelet/resources/swap.ts';
import type { ResourceSettings } from '../../kubelet/runtime/resources.ts';
import type { RuntimeSettings } from '../../kubelet/runtime/runtime-deps.ts';
import { UserNamespaces, userNamespacePool } from '../../kubelet/runtime/user-namespaces.ts';
import { hugepageSizeName } from './cgroups-part.ts';
import type { AgentContext } from './shared.ts';

export interface RuntimeHost {
  readonly rootDir: string;
  readonly machine: MachineInfo;
  readonly hierarchies: CgroupHierarchies;
  /** Absent where swap cannot be limited. */
  readonly swap?: SwapSettings;
  /** Absent unless it is asked for and the kernel can do it. */
  readonly memoryQos?: MemoryQosSettings;
  readonly hasUnlimitedCpus: NonNullable<ResourceSettings['hasUnlimitedCpus']>;
}

export async function runtimeSettings({ config }: AgentContext, host: RuntimeHost): Promise<RuntimeSettings> {
  const { kubelet: settings } = config;
  const { rootDir, machine, hierarchies, swap, memoryQos, hasUnlimitedCpus } = host;
  return {
    nodeName: config.nodeName,
    rootDir,
    podLogsDir: settings.podLogsDir,
    containerLogsDir: config.nodelet.containerLogsDir,
    clusterDns: settings.clusterDNS,
    clusterDomain: settings.clusterDomain,
    resolvConfFile: settings.resolvConf,
    nodeHostsFile: '/etc/hosts',
    maxRestartBackoffMs: settings.crashLoopMaxContainerRestartPeriodMs,
    initialRestartBackoffMs: settings.crashLoopInitialRestartDelayMs,
    pulls: {
      maxParallelPulls: settings.serializeImagePulls ? 1 : (settings.maxParallelImagePulls ?? Number.POSITIVE_INFINITY),
      pullsPerSecond: settings.registryPullQPS,
      pullBurst: settings.registryBurst,
    },
    containerGc: settings.containerGc,
    resources: {
      memoryCapacityBytes: machine.memoryBytes,
      enforceCpuLimits: settings.cpuCFSQuota,
      cpuPeriodUs: settings.cpuCFSQuotaPeriodUs,
      hasUnlimitedCpus,
      cgroupVersion: hierarchies.version,
      singleProcessOomKill: settings.singleProcessOomKill ?? hierarchies.version === 1,
      ...(swap === undefined ? {} : { swap }),
      ...(memoryQos === undefined ? {} : { memoryQos }),
      hugepageSizes: machine.hugePages.map((h) => hugepageSizeName(h.pageBytes)),
    },
    security: {
      seccompDefault: settings.seccompDefault,
      seccompDir: path.join(rootDir, 'seccomp'),
      extraMaskedPaths: await thermalThrottlePaths(),
    },
  };
}

export function swapSettings(limited: boolean, machine: MachineInfo): SwapSettings {
  return { limited, nodeMemoryBytes: machine.memoryBytes, nodeSwapBytes: machine.swapBytes };
}

/** What the gate MemoryQoS asks for, where the kernel can do it. */
export function memoryQosSettings(
  { config, log }: AgentContext,
  hierarchies: CgroupHierarchies,
  nodeAllocatableBytes: number,
): { readonly memoryQos?: MemoryQosSettings } {
  const { memoryQos } = config.kubelet;
  if (memoryQos === undefined) return {};
  if (hierarchies.version === 1) {
    log.warn({ hint: 'boot with cgroup v2' }, 'the feature gate MemoryQoS has no effect on cgroup v1');
    return {};
  }
  return { memoryQos: { ...memoryQos, nodeAllocatableBytes, pageBytes: pageBytes() } };
}

export async function userNamespacesOf({ config, exec }: AgentContext, rootDir: string): Promise<UserNamespaces> {
  const { userNamespaceIdsPerPod: idsPerPod, maxPods } = config.kubelet;
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => ''); // a host without it has no user kubelet
  const pool = await userNamespacePool(exec, passwd, { idsPerPod, maxPods });
  return new UserNamespaces({ rootDir, pool, idsPerPod });
}

/** @throws {AgentError} RUNTIME_UNREACHABLE naming the socket. */
export async function connectedVersion(runtime: RuntimeService, endpoint: string): Promise<VersionResponse> {
  try {
    return await runtime.version();
  } catch (cause) {
    throw new AgentError(`cannot talk to the container runtime at ${endpoint}: ${errorMessage(cause)}`, {
      code: 'RUNTIME_UNREACHABLE',
      cause,
      retryable: true,
      hint: 'start it (systemctl start containerd), or name its socket with --container-runtime-endpoint',
    });
  }
}

/** @throws {AgentError} RUNTIME_CLASS_MISSING */
export function handlerOf(classes: ReadonlyStore<RuntimeClass>, name: string): string {
  const found = classes.get(name);
  if (found === undefined) {
    throw new AgentError(`failed to get RuntimeClass ${name}: RuntimeClass.node.k8s.io "${name}" not found`, {
      code: 'RUNTIME_CLASS_MISSING',
      retryable: true,
    });
  }
  return found.handler;
}
