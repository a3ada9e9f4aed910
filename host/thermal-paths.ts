// Where the kernel tells of throttled CPUs: counters that leak what other tenants of the machine do, so they are hidden
// from containers (pkg/securitycontext/util_linux.go).
import { access, readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseCpuList } from './cpu-list.ts';

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
