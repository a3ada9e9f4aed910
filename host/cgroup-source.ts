// The reader of cgroup figures that fits this host.
import type { CgroupHierarchies } from './cgroup.ts';
import type { CgroupSource } from './cgroup-stats.ts';
import { v1Source } from './cgroup-stats-v1.ts';
import { v2Source } from './cgroup-stats-v2.ts';

/** For the host whose hierarchies these are. Reads nothing before something is opened. */
export function cgroupSource(hierarchies: CgroupHierarchies): CgroupSource {
  return hierarchies.version === 2 ? v2Source(hierarchies) : v1Source(hierarchies);
}
