// What the agent and its node hold at one moment.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { RestClient } from '../../client/rest.ts';
import { cgroupMounts } from '../../host/cgroup-tree.ts';
import { type BenchLab, NODE } from '../pod-start/bench-lab.ts';
import { memoryOf } from '../process-facts.ts';

export interface Held {
  readonly rssMB: number;
  /** Open file descriptors of the agent. */
  readonly files: number;
  /** In the node's mount namespace. */
  readonly mounts: number;
  /** Below the node's root, in all hierarchies. */
  readonly cgroups: number;
  /** Armed timers of the agent's event loop. */
  readonly timers: number;
  /** How late timers were since the look before, 99th percentile, ms. */
  readonly loopP99Ms: number;
}

export async function readHeld(lab: BenchLab, client: RestClient): Promise<Held> {
  const pid = await lab.agentPid();
  const { body } = await client.raw('GET', `/api/v1/nodes/${NODE}/proxy/metrics`);
  const metric = (pattern: RegExp): number => Number(pattern.exec(body.toString('utf8'))?.[1] ?? 0);
  const [memory, files, mounts, cgroups] = await Promise.all([
    memoryOf(pid),
    readdir(`/proc/${pid}/fd`),
    readFile(`/proc/${pid}/mountinfo`, 'utf8'),
    countCgroups(lab.cgroupRoot()),
  ]);
  return {
    rssMB: memory.rssMB,
    files: files.length,
    mounts: mounts.split('\n').length - 1,
    cgroups,
    timers: metric(/^nodejs_active_resources\{type="Timeout"\} (\S+)/m),
    loopP99Ms: metric(/^nodejs_eventloop_lag_p99_seconds (\S+)/m) * 1000,
  };
}

async function countCgroups(root: string): Promise<number> {
  const counts = (await cgroupMounts()).map((mount) => countBelow(path.join(mount, root)));
  return (await Promise.all(counts)).reduce((sum, n) => sum + n, 0);
}

/** Cgroups go while they are counted. */
async function countBelow(dir: string): Promise<number> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  const below = entries.filter((e) => e.isDirectory()).map((e) => countBelow(path.join(dir, e.name)));
  return 1 + (await Promise.all(below)).reduce((sum, n) => sum + n, 0);
}
