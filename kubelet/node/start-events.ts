// What is said about a node when its agent starts: conditions of the host that a user should know of. Pure.
// pkg/kubelet/cm/container_manager_linux.go.
import type { EventType } from '../../client/event-recorder.ts';

export interface HostConditions {
  readonly cgroupVersion: 1 | 2;
  readonly swapBytes: number;
  /** As uname says it: `6.1.0-18-amd64`. */
  readonly kernelVersion: string;
}

export interface NodeEvent {
  readonly type: EventType;
  readonly reason: string;
  readonly message: string;
}

/** From here on tmpfs takes `noswap` (kernel commit 2c6efe9cf2d7). */
const NOSWAP_KERNEL = [6, 4] as const;

export function startEvents(host: HostConditions): NodeEvent[] {
  const events: NodeEvent[] = [];
  if (host.cgroupVersion === 1) {
    const message = 'cgroup v1 support is in maintenance mode, please migrate to cgroup v2';
    events.push({ type: 'Warning', reason: 'CgroupV1', message });
  }
  if (host.swapBytes > 0 && !isKernelAtLeast(host.kernelVersion, NOSWAP_KERNEL)) {
    const message =
      'The tmpfs noswap option is not supported. Memory-backed volumes (e.g. secrets, emptyDirs, etc.) might be swapped to disk and should no longer be considered secure.';
    events.push({ type: 'Warning', reason: 'PossibleMemoryBackedVolumesOnDisk', message });
  }
  return events;
}

function isKernelAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const found = /^(\d+)\.(\d+)/.exec(version);
  if (found === null) return false;
  const [have, haveMinor] = [Number(found[1]), Number(found[2])];
  return have > major || (have === major && haveMinor >= minor);
}
