// Removing a whole subtree of cgroups in every hierarchy of cgroup v1 or in v2, and ending what still runs in it.
import { readdir, readFile, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../core/errors.ts';

/** pkg/kubelet/cm pod_container_manager_linux.go tryKillingCgroupProcesses. */
const KILL_TRIES = 5;
const FIRST_WAIT_MS = 10;

/** Mount points of cgroup and cgroup2 file systems that this process sees. */
export async function cgroupMounts(): Promise<string[]> {
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  return mounts
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, target]) => target!);
}

/**
 * Removes `name` (absolute, relative to each hierarchy's root) and all below it. Groups that still hold processes stay:
 * their directories are returned.
 */
export async function removeCgroupTree(name: string): Promise<string[]> {
  const busy: string[] = [];
  for (const mount of await cgroupMounts()) await removeBottomUp(path.join(mount, name), busy);
  return busy;
}

/** Kills what runs in `name` and below, then removes it all. Returns what stays nevertheless: processes that cannot end. */
export async function destroyCgroupTree(name: string): Promise<string[]> {
  let busy = await removeCgroupTree(name);
  for (let i = 0; i < KILL_TRIES && busy.length > 0; i++) {
    await Promise.all(busy.map(killMembers));
    await sleep(FIRST_WAIT_MS * 2 ** i); // a killed process leaves its group a moment later, which nothing tells in v1
    busy = await removeCgroupTree(name);
  }
  return busy;
}

async function removeBottomUp(dir: string, busy: string[]): Promise<void> {
  let entries: { name: string; isDirectory(): boolean }[];
  try {
    entries = await readdir(dir, { withFileTypes: true });
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return;
    throw err;
  }
  for (const entry of entries) if (entry.isDirectory()) await removeBottomUp(path.join(dir, entry.name), busy);
  try {
    await rmdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return;
    if (errnoOf(err) !== 'EBUSY') throw err;
    busy.push(dir);
  }
}

/** A process that this one cannot see, in another PID namespace, reads as 0. */
async function killMembers(dir: string): Promise<void> {
  const text = await readFile(path.join(dir, 'cgroup.procs'), 'utf8').catch(() => ''); // removed meanwhile, or threaded
  const pids = text
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (err) {
      if (errnoOf(err) !== 'ESRCH') throw err;
    }
  }
}
