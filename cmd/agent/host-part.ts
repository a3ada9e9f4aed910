// What the kubelet finds on its host, or makes of it, before any of its parts: the machine, cgroups, the container runtime,
// the root directory, and what is kept from pods.
import { readFile } from 'node:fs/promises';
import { errorMessage } from '../../core/errors.ts';
import { withoutUndefined } from '../../core/without-undefined.ts';
import type { VersionResponse } from '../../cri/gen/messages.ts';
import { connectRuntime } from '../../cri/remote-runtime.ts';
import type { ImageEvents, ImageService, RuntimeService } from '../../cri/runtime-service.ts';
import { type CgroupHierarchies, detectCgroups } from '../../host/cgroup.ts';
import { canLimitSwap } from '../../host/cgroup-swap.ts';
import { fileSystemFigures } from '../../host/file-system-use.ts';
import { type MachineInfo, readMachineInfo } from '../../host/machine.ts';
import { startEvents } from '../../kubelet/node/start-events.ts';
import type { SwapSettings } from '../../kubelet/resources/swap.ts';
import { parseResolvConf, resolvConfFault } from '../../kubelet/runtime/dns.ts';
import { nodeReference } from '../../kubelet/runtime/runtime-deps.ts';
import { refuseUnfitHost } from './host-rules.ts';
import { prepareKernel } from './kernel-part.ts';
import { runtimeCallMetrics } from './metrics.ts';
import { capacityOf, type Reservations, refuseOverReserved, reservationsOf } from './reservations.ts';
import { prepareRootDir } from './root-dir.ts';
import { connectedVersion, swapSettings } from './runtime-settings.ts';
import type { AgentContext } from './shared.ts';

export interface KubeletHost {
  readonly machine: MachineInfo;
  readonly hierarchies: CgroupHierarchies;
  /** Undefined where containers cannot have a limit of swap. */
  readonly swap: SwapSettings | undefined;
  readonly runtime: RuntimeService;
  readonly images: ImageService & ImageEvents;
  /** The runtime's first answer. */
  readonly version: VersionResponse;
  /** Without links. */
  readonly rootDir: string;
  readonly reserved: Reservations;
  /** Ends the connections to the runtime. */
  close(): void;
}

/** In this order: nothing is changed on a host that is unfit, or whose runtime does not answer. @throws {AgentError} */
export async function prepareHost(ctx: AgentContext): Promise<KubeletHost> {
  const { node, kubelet: settings, nodelet } = ctx.config;
  const machine = await readMachineInfo();
  const hierarchies = await detectCgroups();
  refuseUnfitHost(
    { cgroupVersion: hierarchies.version, swapBytes: machine.swapBytes },
    { ...node, singleProcessOomKill: settings.singleProcessOomKill, limitedSwap: settings.limitedSwap },
  );
  const swap = (await canLimitSwap(hierarchies)) ? swapSettings(settings.limitedSwap, machine) : undefined;
  const { runtime, images, close } = connectRuntime(
    {
      endpoint: settings.containerRuntimeEndpoint,
      ...withoutUndefined({ imageEndpoint: settings.imageServiceEndpoint }),
      requestTimeoutMs: settings.runtimeRequestTimeoutMs,
    },
    runtimeCallMetrics(ctx.registry),
    ctx.clock,
  );
  const version = await connectedVersion(runtime, settings.containerRuntimeEndpoint);
  const rootDir = await prepareRootDir(ctx, { ...settings, containerLogsDir: nodelet.containerLogsDir });
  const rootFsBytes = (await fileSystemFigures(rootDir)).capacityBytes;
  const reserved = reservationsOf(node, machine, rootFsBytes);
  refuseOverReserved(reserved, capacityOf(machine, rootFsBytes));
  await prepareKernel(ctx);
  return { machine, hierarchies, swap, runtime, images, version, rootDir, reserved, close };
}

/** What of the host its users should know, in Events. */
export async function tellStart(
  { config, recorder }: AgentContext,
  { machine, hierarchies }: Pick<KubeletHost, 'machine' | 'hierarchies'>,
): Promise<void> {
  const { resolvConf, clusterDomain } = config.kubelet;
  const node = nodeReference(config.nodeName);
  const { swapBytes, kernelVersion } = machine;
  for (const event of startEvents({ cgroupVersion: hierarchies.version, swapBytes, kernelVersion })) {
    recorder.event(node, event.type, event.reason, event.message);
  }
  const fault = await hostDnsFault(resolvConf, clusterDomain);
  if (fault !== undefined) recorder.event(node, 'Warning', 'CheckLimitsForResolvConf', fault);
}

/** What is wrong with the node's resolv.conf, told once; pods get as much of it as they can hold. */
async function hostDnsFault(file: string, clusterDomain: string): Promise<string | undefined> {
  if (file === '') return undefined;
  try {
    return resolvConfFault(file, parseResolvConf(await readFile(file, 'utf8')), clusterDomain);
  } catch (err) {
    return errorMessage(err);
  }
}
