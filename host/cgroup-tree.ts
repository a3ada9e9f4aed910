// Removing a whole subtree of cgroups after its processes have ended, in every hierarchy of cgroup v1 or in v2.
import { readdir, readFile, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../core/errors.ts';

/** Mount points of cgroup and cgroup2 file systems that this process sees. */
export async function cgroupMounts(): Promise<string[]> {
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  return mounts
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, target]) => target!);
}

/** Removes `name` (absolute, relative to each hierarchy's root) and all below it. Groups that still hold processes stay. */
export async function removeCgroupTree(name: string): Promise<void> {
  for (const mount of await cgroupMounts()) await removeBottomUp(path.join(mount, name));
}

async function removeBottomUp(dir: string): Promise<void> {
  let entries: { name: string; isDirectory(): boolean }[];
  try {
    entries = await readdir(dir, { withFileTypes: true });
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return;
    throw err;
  }
  for (const entry of entries) if (entry.isDirectory()) await removeBottomUp(path.join(dir, entry.name));
  try {
    await rmdir(dir);
  } catch (err) {
    if (errnoOf(err) !== 'EBUSY' && errnoOf(err) !== 'ENOENT') throw err;
  }
}
