// Where the kernel tells of throttled CPUs: counters that leak what other tenants of the machine do, so they are hidden
// from containers (pkg/securitycontext/util_linux.go).
import { access, readFile } from 'node:fs/promises';
import path from 'node:path';

/** `0-3,8` as numbers; what cannot be read is left out. Pure. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .flatMap((part) => {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part);
      if (match === null) return [];
      const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
      return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
    });
}

/** `/sys/devices/system/cpu/cpu<N>/thermal_throttle` of each possible CPU that has it. `sysRoot` is `/sys` but in tests. */
export async function thermalThrottlePaths(sysRoot = '/sys'): Promise<string[]> {
  const dir = path.join(sysRoot, 'devices/system/cpu');
  const possible = await readFile(path.join(dir, 'possible'), 'utf8').catch(() => ''); // a host without it hides nothing
  const candidates = parseCpuList(possible).map((n) => path.join(dir, `cpu${n}`, 'thermal_throttle'));
  const there = await Promise.all(
    candidates.map((file) =>
      access(file).then(
        () => true,
        () => false,
      ),
    ),
  );
  return candidates.filter((_, i) => there[i]);
}
