// Whether the kernel can limit how much swap a cgroup uses: memory.swap.max of v2, which kernels without
// CONFIG_MEMCG_SWAP, or with swapaccount=0, do not have. On v1 it is left to the memory limit.
import { access, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { CgroupHierarchies } from './cgroup.ts';

/** The root has no limits of its own: our own group is looked at, and those directly below the root. */
export async function canLimitSwap(hierarchies: CgroupHierarchies, proc = '/proc/self'): Promise<boolean> {
  const mount = hierarchies.mounts.get('unified');
  if (hierarchies.version === 1 || mount === undefined) return false;
  const own = /^0::(.*)$/m.exec(await readFile(`${proc}/cgroup`, 'utf8').catch(() => ''))?.[1] ?? '/';
  const entries = await readdir(mount, { withFileTypes: true }).catch(() => []);
  const groups = [own, ...entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)];
  for (const group of groups) if (await exists(path.join(mount, group, 'memory.swap.max'))) return true;
  return false;
}

async function exists(file: string): Promise<boolean> {
  return await access(file).then(
    () => true,
    () => false,
  );
}
