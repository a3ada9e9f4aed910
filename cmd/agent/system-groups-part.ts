// Where the agent and other processes of the host are among cgroups, wired.
import type { Task } from '../../core/tasks.ts';
import type { CgroupFs } from '../../host/cgroup.ts';
import { isKernelThread, SystemCgroupMembers, seesHostProcesses } from '../../host/cgroup-members.ts';
import { setOomScore } from '../../host/process-limits.ts';
import { SystemGroups } from '../../kubelet/resources/system-groups.ts';
import type { AgentContext } from './shared.ts';

/** kubeletCgroups, systemCgroups and oomScoreAdj, kept as they are configured. */
export function createSystemGroups({ config, clock, log }: AgentContext, fs: CgroupFs): Task {
  const { kubelet, system } = config.node.systemGroups;
  const groups = new SystemGroups(
    { kubeletCgroup: kubelet, systemCgroup: system, pid: process.pid },
    {
      members: new SystemCgroupMembers(fs),
      seesHostProcesses,
      isKernelThread,
      setOomScore: () => setOomScore(config.process.oomScoreAdj),
      clock,
      log,
    },
  );
  return (signal) => groups.run(signal);
}
