// Huge pages of the machine or of one NUMA node, as sysfs lists them: a directory for each size.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

export interface HugePages {
  readonly pageBytes: number;
  readonly count: number;
}

/** `dir`: `…/hugepages`. Empty where the kernel has none. */
export async function readHugePages(dir: string): Promise<HugePages[]> {
  const names = await readdir(dir).catch(() => []); // built without them
  const sizes: HugePages[] = [];
  for (const name of names.sort()) {
    const kib = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    if (kib === undefined) continue;
    const count = Number(await readFile(path.join(dir, name, 'nr_hugepages'), 'utf8').catch(() => ''));
    sizes.push({ pageBytes: Number(kib) * 1024, count: Number.isFinite(count) ? count : 0 });
  }
  return sizes;
}
