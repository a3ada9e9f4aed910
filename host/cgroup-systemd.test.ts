import { beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../core/errors.ts';
import type { CgroupFs, CgroupLimits } from './cgroup.ts';
import { type Bus, SystemdCgroups, sliceProperties } from './cgroup-systemd.ts';
import type { DBusCall, DBusSignal } from './dbus.ts';
import { type DBusValue, marshal, type Variant } from './dbus-wire.ts';

const POD = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice';
const UNIT = 'kubepods-burstable-pod1.slice';

/** systemd as the bus shows it: units, jobs, properties. */
class FakeSystemd implements Bus {
  readonly calls: string[] = [];
  readonly units = new Map<string, Map<string, DBusValue>>();
  isOpen = true;
  result = 'done';
  /** The job is over before the call is answered. */
  isQuick = false;
  readonly #listeners = new Set<(signal: DBusSignal) => void>();
  #jobs = 0;

  async call({ member, signature = '', body = [] }: DBusCall): Promise<readonly DBusValue[]> {
    marshal(signature, body); // as the real one would
    this.calls.push([member, ...body.filter((v) => typeof v === 'string')].join(' '));
    const [unit] = body as [string];
    if (member === 'StartTransientUnit') {
      if (this.units.has(unit)) throw refused('UnitExists');
      this.#set(unit, body[2] as [string, Variant][]);
      return this.#job(unit);
    }
    if (member === 'SetUnitProperties') {
      if (!this.units.has(unit)) throw refused('NoSuchUnit');
      this.#set(unit, body[2] as [string, Variant][]);
    }
    if (member === 'StopUnit') {
      if (!this.units.delete(unit)) throw refused('NoSuchUnit');
      return this.#job(unit);
    }
    return [];
  }

  onSignal(listener: (signal: DBusSignal) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  #set(unit: string, properties: [string, Variant][]): void {
    const all = this.units.get(unit) ?? new Map<string, DBusValue>();
    for (const [name, { value }] of properties) all.set(name, value);
    this.units.set(unit, all);
  }

  #job(unit: string): DBusValue[] {
    const job = `/job/${++this.#jobs}`;
    const tell = () => {
      for (const [path, of] of [
        ['/job/other', unit],
        [job, 'other.slice'],
        [job, unit],
      ] as const) {
        // biome-ignore format: a table
        const body = [1, path, of, this.result];
        for (const listener of this.#listeners) listener({ path: '/', interface: 'm', member: 'JobRemoved', body });
      }
    };
    if (this.isQuick) tell();
    else setImmediate(tell);
    return [job];
  }
}

function refused(name: string): AgentError {
  return new AgentError(name, { code: 'DBUS_CALL_FAILED', details: { name: `org.freedesktop.systemd1.${name}` } });
}

describe('cgroups made by systemd', () => {
  let systemd: FakeSystemd;
  let dirs: Map<string, CgroupLimits>;
  let cgroups: SystemdCgroups;
  let connects: number;
  beforeEach(() => {
    systemd = new FakeSystemd();
    dirs = new Map();
    connects = 0;
    const fs = {
      hierarchies: { version: 2, mounts: new Map() },
      exists: async (name: string) => dirs.has(name),
      make: async (name: string) => void dirs.set(name, dirs.get(name) ?? {}),
      setLimits: async (name: string, limits: CgroupLimits) => void dirs.set(name, { ...dirs.get(name), ...limits }),
      remove: async (name: string) => void dirs.delete(name),
    };
    cgroups = new SystemdCgroups(fs as unknown as CgroupFs, async () => {
      connects++;
      return systemd;
    });
  });

  test.each([false, true])('a slice is asked for, limited and stopped (quick jobs: %s)', async (isQuick) => {
    systemd.isQuick = isQuick;
    expect(await cgroups.make(POD)).toBe(true);
    expect(Object.fromEntries(systemd.units.get(UNIT)!)).toMatchObject({
      Wants: ['kubepods-burstable.slice'],
      MemoryAccounting: true,
      DefaultDependencies: false,
    });
    expect(await cgroups.make(POD)).toBe(false);
    const limits = { cpuShares: 1024, memoryBytes: 1 << 20, hugetlbBytes: { '2MB': 0 } };
    await cgroups.setLimits(POD, limits);
    expect(Object.fromEntries(systemd.units.get(UNIT)!)).toMatchObject({ CPUWeight: 39, MemoryMax: 1 << 20 });
    expect(dirs.get(POD)).toEqual(limits);
    await cgroups.remove(POD);
    await cgroups.remove(POD); // nothing there is success
    expect([systemd.units.size, dirs.size, systemd.listeners, connects]).toEqual([0, 0, 0, 1]);
  });

  test('a unit that is there already is used; a directory that systemd does not know is made known', async () => {
    systemd.units.set(UNIT, new Map());
    expect(await cgroups.make(POD)).toBe(true);
    systemd.units.clear();
    await cgroups.setLimits(POD, { pids: 5 });
    expect(systemd.units.get(UNIT)?.get('TasksMax')).toBe(5);
  });

  test('a slice at the root wants nobody', async () => {
    await cgroups.make('/kubepods.slice');
    expect(systemd.units.get('kubepods.slice')?.has('Wants')).toBe(false);
  });

  test('a job that fails is an error', async () => {
    systemd.result = 'failed';
    await expect(cgroups.make(POD)).rejects.toMatchObject({ code: 'CGROUP_WRITE_FAILED' });
    expect(systemd.listeners).toBe(0);
  });

  test('a lost connection is made anew', async () => {
    await cgroups.make(POD);
    systemd.isOpen = false;
    await cgroups.setLimits(POD, { pids: 5 });
    expect(connects).toBe(2);
    expect(systemd.calls.filter((c) => c === 'Subscribe')).toHaveLength(2);
  });
});

test.each<[1 | 2, CgroupLimits, Record<string, DBusValue>]>([
  [2, { cpuQuotaUs: 25_000 }, { CPUQuotaPerSecUSec: 250_000, CPUQuotaPeriodUSec: 100_000 }],
  [2, { cpuQuotaUs: 12_345, cpuPeriodUs: 50_000 }, { CPUQuotaPerSecUSec: 250_000, CPUQuotaPeriodUSec: 50_000 }],
  [2, { cpuQuotaUs: -1, memoryBytes: -1, pids: -1 }, { CPUQuotaPerSecUSec: 2n ** 64n - 1n, MemoryMax: 2n ** 64n - 1n }],
  [1, { cpuShares: 512, memoryBytes: 5 }, { CPUShares: 512, MemoryLimit: 5 }],
  [2, { memoryMinBytes: 5, memoryLowBytes: 0 }, { MemoryMin: 5, MemoryLow: 0 }],
  [2, { hugetlbBytes: { '2MB': 5 } }, {}],
  [2, { cpus: '0-1,9' }, { AllowedCPUs: [3, 2] }],
])('properties of v%i %j', (version, limits, wanted) => {
  const found = Object.fromEntries(sliceProperties(version, limits).map(([name, { value }]) => [name, value]));
  expect(found).toMatchObject(wanted);
});
