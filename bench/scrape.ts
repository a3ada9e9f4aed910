// What one scrape of all endpoints costs the event loop: real cgroups of v1 or v2, made for this and removed afterwards,
// with a process in each container and sandbox; pods, runtime and HTTP left out.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Pod } from '../api/pod.ts';
import { systemClock } from '../core/clock.ts';
import { createLogger } from '../core/log.ts';
import { Registry } from '../core/metrics.ts';
import { detectCgroups } from '../host/cgroup.ts';
import { cgroupSource } from '../host/cgroup-source.ts';
import { destroyCgroupTree } from '../host/cgroup-tree.ts';
import { systemExec } from '../host/exec.ts';
import { readMachineInfo } from '../host/machine.ts';
import { renderCadvisorMetrics } from '../kubelet/metrics/cadvisor.ts';
import { KubeletMetrics } from '../kubelet/metrics/kubelet-metrics.ts';
import { renderResourceMetrics } from '../kubelet/metrics/resource-metrics.ts';
import { NodeStats } from '../kubelet/stats/node-stats.ts';
import { NodeUsage } from '../kubelet/stats/node-usage.ts';
import { CgroupSampler } from '../kubelet/stats/sampler.ts';
import { StorageMeter } from '../kubelet/stats/storage-meter.ts';
import type { PodTarget } from '../kubelet/stats/targets.ts';
import { VolumeMeter } from '../kubelet/stats/volume-meter.ts';

export interface ScrapeOptions {
  readonly pods: number;
  readonly rounds: number;
}

/** Between scrapes, ms: longer than figures are kept. */
const PAUSE_MS = 6_000;

export async function scrape({ pods, rounds }: ScrapeOptions, signal: AbortSignal): Promise<void> {
  const root = `/nodelet-bench-${process.pid}`;
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-scrape-'));
  // All of them in one network namespace with the one interface that counts in a pod.
  const link = 'ip link add eth0 type veth peer name lo-peer';
  const script = `${link}; for i in $(seq ${pods * 2}); do sleep 600 & echo $!; done; wait`;
  const sleeper = spawn('unshare', ['--net', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const pids = await linesOf(sleeper.stdout, pods * 2);
    const targets = await makePods(root, pids, pods);
    await measure(await statsOf(targets, root, dir), rounds, signal);
  } finally {
    await destroyCgroupTree(root);
    sleeper.kill('SIGKILL'); // its children were in the cgroups
    await rm(dir, { recursive: true, force: true });
  }
}

interface Scraped {
  readonly stats: NodeStats;
  readonly dir: string;
}

async function measure({ stats, dir }: Scraped, rounds: number, signal: AbortSignal): Promise<void> {
  const registry = new Registry();
  new KubeletMetrics(registry, systemClock);
  const machine = await readMachineInfo();
  const facts = {
    machine: async () => ({ machine, physicalCores: machine.cores, sockets: 1, version: '' }),
    pauseImage: async () => 'pause',
    directories: async () => [dir],
  };
  const endpoints: readonly (readonly [string, () => Promise<string>])[] = [
    ['/metrics/cadvisor', async () => renderCadvisorMetrics(await stats.sample('details'), facts)],
    ['/metrics/resource', async () => renderResourceMetrics(await stats.sample('use'))],
    ['/stats/summary', async () => JSON.stringify(await stats.summary(), null, 1)],
    ['/metrics', () => registry.metrics()],
  ];
  await stats.summary(); // the first look waits for a second one, and measures volumes
  for (let round = 1; round <= rounds && !signal.aborted; round++) {
    await systemClock.sleep(PAUSE_MS, signal);
    let total = 0;
    const parts: string[] = [];
    for (const [name, ask] of endpoints) {
      const before = process.threadCpuUsage();
      const bytes = Buffer.from(await ask()).length;
      const { user, system } = process.threadCpuUsage(before);
      const active = (user + system) / 1000;
      total += active;
      parts.push(`${name} ${active.toFixed(1)} ms (${(bytes / 1024).toFixed(0)} KiB)`);
    }
    console.log(`round ${round}: ${total.toFixed(1)} ms of the event loop's thread: ${parts.join(', ')}`);
  }
}

async function statsOf(targets: readonly PodTarget[], root: string, dir: string): Promise<Scraped> {
  const log = createLogger({ level: 'warn' });
  const clock = systemClock;
  const hierarchies = await detectCgroups();
  const source = cgroupSource(hierarchies);
  const stats = targets.flatMap((t) =>
    t.containers.map((c) => ({
      attributes: { id: c.id, labels: {}, annotations: {} },
      writableLayer: { timestamp: 0n, usedBytes: { value: 4096 }, inodesUsed: { value: 1 } },
    })),
  );
  const runtime = { listContainerStats: async () => stats };
  const volumes = new VolumeMeter({
    exec: systemExec,
    volumesOf: () => undefined,
    claimFigures: async () => undefined,
    clock,
    log,
  });
  const storage = new StorageMeter({ runtime, volumes, rootDir: dir, podLogsDir: dir, clock });
  const image = [{ timestamp: 0n, fsId: { mountpoint: dir } }];
  const images = { imageFsInfo: async () => ({ image, container: [] }) };
  const memoryBytes = 2 ** 34;
  const deps = { source, images, storage, targets: () => targets, cgroupParentOf: () => '', clock };
  const usage = new NodeUsage({ rootDir: dir, memoryBytes, podsCgroup: root }, deps);
  const sampler = new CgroupSampler({ source, targets: () => targets, groups: [], clock });
  const options = { nodeName: 'bench', memoryBytes, volumeAgeMs: 60_000 };
  return { stats: new NodeStats(options, { sampler, usage, storage, volumes, clock, log }), dir };
}

/** A cgroup for each pod, its sandbox and its one container, in every hierarchy. */
async function makePods(root: string, pids: readonly number[], count: number): Promise<PodTarget[]> {
  const { mounts } = await detectCgroups();
  const targets: PodTarget[] = [];
  for (let i = 0; i < count; i++) {
    const uid = randomUUID();
    const cgroup = `${root}/kubepods/pod${uid}`;
    const container = (name: string, pid: number) => {
      const id = `${randomUUID()}${randomUUID()}`.replaceAll('-', '');
      return { pid, target: { id, name, image: 'busybox', createdAtMs: Date.now(), cgroups: [`${cgroup}/${id}`] } };
    };
    const [sandbox, main] = [container('', pids[2 * i]!), container('main', pids[2 * i + 1]!)];
    for (const { pid, target } of [sandbox, main]) {
      for (const mount of mounts.values()) {
        if (mount.endsWith('/cpuset')) continue; // it takes no process before it was given CPUs
        const group = path.join(mount, target.cgroups[0]!);
        await mkdir(group, { recursive: true });
        await writeFile(path.join(group, 'cgroup.procs'), String(pid));
      }
    }
    const name = `pod-with-a-name-of-usual-length-${i}`;
    const pod: Pod = { metadata: { name, namespace: 'default', uid } };
    targets.push({
      pod,
      uid,
      name,
      namespace: 'default',
      hostNetwork: false,
      cgroup,
      sandbox: sandbox.target,
      containers: [main.target],
    });
  }
  return targets;
}

async function linesOf(stream: AsyncIterable<Buffer>, count: number): Promise<number[]> {
  let text = '';
  for await (const chunk of stream) {
    text += chunk.toString();
    if (text.split('\n').length > count) break;
  }
  return text.trim().split('\n').map(Number);
}
