// What a host must be for the configuration at hand; upstream's kubelet refuses to start for the same reasons.
import { AgentError } from '../../core/errors.ts';

export interface HostFacts {
  readonly cgroupVersion: 1 | 2;
  readonly swapBytes: number;
}

export interface HostRules {
  readonly failCgroupV1: boolean;
  readonly failSwapOn: boolean;
  /** Undefined: as is usual for the cgroup version. */
  readonly singleProcessOomKill: boolean | undefined;
  readonly limitedSwap: boolean;
}

/** @throws {AgentError} CGROUP_V1, SWAP_ON, or CONFIG_INVALID for what cgroup v1 cannot do. */
export function refuseUnfitHost(host: HostFacts, rules: HostRules): void {
  if (host.cgroupVersion === 1 && rules.failCgroupV1) {
    const why = 'cgroup v1 support is unsupported and will be removed in a future release';
    throw new AgentError(`kubelet is configured to not run on a host using cgroup v1. ${why}`, {
      code: 'CGROUP_V1',
      hint: 'move the host to cgroup v2, or set failCgroupV1: false in the KubeletConfiguration',
    });
  }
  if (host.swapBytes > 0 && rules.failSwapOn) {
    const remedy = 'please disable swap or set --fail-swap-on flag to false';
    throw new AgentError(`running with swap on is not supported, ${remedy}`, {
      code: 'SWAP_ON',
      hint: 'switch it off (swapoff -a), or set failSwapOn: false in the KubeletConfiguration',
    });
  }
  if (host.cgroupVersion === 1 && rules.limitedSwap) {
    throw new AgentError('swap feature is enabled and LimitedSwap but it is only supported with cgroupv2', {
      code: 'CONFIG_INVALID',
      hint: 'set memorySwap.swapBehavior: NoSwap in the KubeletConfiguration, or move the host to cgroup v2',
    });
  }
  // Only the kernel's memory.oom.group, which v1 has not, ends all processes of a container together.
  if (host.cgroupVersion === 1 && rules.singleProcessOomKill === false) {
    throw new AgentError('singleProcessOOMKill must not be explicitly set to false when using cgroup v1', {
      code: 'CONFIG_INVALID',
      hint: 'leave singleProcessOOMKill out of the KubeletConfiguration, or move the host to cgroup v2',
    });
  }
}
