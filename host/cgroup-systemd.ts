// Cgroups as slices of systemd: it is asked for each one and told the limits, so that it does not take them back when it
// reads its units again; the files are then written as well, as not every limit has a property. After
// opencontainers/cgroups systemd/v1.go, v2.go, which the kubelet uses.
import path from 'node:path';
import { AgentError, isAgentError } from '../core/errors.ts';
import { type CgroupFs, type CgroupLimits, type CgroupTree, sharesToWeight } from './cgroup.ts';
import { parseCpuList } from './cpu-list.ts';
import type { DBusCall, DBusConnection, DBusSignal } from './dbus.ts';
import { type DBusValue, Variant } from './dbus-wire.ts';

export type Bus = Pick<DBusConnection, 'call' | 'onSignal' | 'isOpen'>;

const MANAGER = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
};
const NO_SUCH_UNIT = 'org.freedesktop.systemd1.NoSuchUnit';
const UNIT_EXISTS = 'org.freedesktop.systemd1.UnitExists';
const MATCH = `type='signal',interface='${MANAGER.interface}',member='JobRemoved'`;
const JOB_MS = 30_000;
const INFINITY = 2n ** 64n - 1n;
/** systemd counts in whole percents of a CPU, µs in a second. */
const QUOTA_STEP_US = 10_000;

type Property = readonly [name: string, value: Variant];

/** Pure: the properties of a slice; what systemd has none for is left to the files. */
export function sliceProperties(version: 1 | 2, limits: CgroupLimits): Property[] {
  const found: Property[] = [];
  const put = (name: string, value: number | bigint) => found.push([name, new Variant('t', value)]);
  const { cpuShares = 0, cpuQuotaUs, cpuPeriodUs = 100_000, memoryBytes, pids } = limits;
  const { memoryMinBytes, memoryLowBytes, cpus } = limits;
  if (cpuShares > 0)
    put(version === 2 ? 'CPUWeight' : 'CPUShares', version === 2 ? sharesToWeight(cpuShares) : cpuShares);
  if (cpuQuotaUs !== undefined) {
    put('CPUQuotaPerSecUSec', cpuQuotaUs < 0 ? INFINITY : quotaPerSecond(cpuQuotaUs, cpuPeriodUs));
    put('CPUQuotaPeriodUSec', cpuPeriodUs);
  }
  if (memoryBytes !== undefined)
    put(version === 2 ? 'MemoryMax' : 'MemoryLimit', memoryBytes < 0 ? INFINITY : memoryBytes);
  if (version === 2 && memoryMinBytes !== undefined) put('MemoryMin', memoryMinBytes);
  if (version === 2 && memoryLowBytes !== undefined) put('MemoryLow', memoryLowBytes);
  if (pids !== undefined) put('TasksMax', pids < 0 ? INFINITY : pids);
  if (version === 2 && cpus !== undefined) found.push(['AllowedCPUs', new Variant('ay', cpuBytes(parseCpuList(cpus)))]);
  return found;
}

/** One bit for each CPU, the lowest first. */
function cpuBytes(cpus: readonly number[]): number[] {
  const bytes = new Array<number>(Math.floor(Math.max(-1, ...cpus) / 8) + 1).fill(0);
  for (const cpu of cpus) bytes[Math.floor(cpu / 8)]! |= 1 << (cpu % 8);
  return bytes;
}

/** Rounded up, so that nobody gets less than the file will say. */
function quotaPerSecond(quotaUs: number, periodUs: number): number {
  return Math.ceil((quotaUs * 1_000_000) / periodUs / QUOTA_STEP_US) * QUOTA_STEP_US;
}

/** Pure: what every slice of ours is. `parent` is '' at the root. */
function commonProperties(version: 1 | 2, unit: string, parent: string): Property[] {
  const on = (name: string): Property => [name, new Variant('b', true)];
  return [
    ['Description', new Variant('s', `libcontainer container ${unit}`)],
    ...(parent === '' ? [] : [['Wants', new Variant('as', [parent])] as const]),
    on('MemoryAccounting'),
    on('CPUAccounting'),
    on(version === 2 ? 'IOAccounting' : 'BlockIOAccounting'),
    on('TasksAccounting'),
    ['DefaultDependencies', new Variant('b', false)],
  ];
}

export class SystemdCgroups implements CgroupTree {
  readonly #fs: CgroupFs;
  readonly #connect: () => Promise<Bus>;
  #bus: Promise<Bus> | undefined;

  /** `connect` is called when there is something to ask, and again when the connection was lost. */
  constructor(fs: CgroupFs, connect: () => Promise<Bus>) {
    this.#fs = fs;
    this.#connect = connect;
  }

  get hierarchies() {
    return this.#fs.hierarchies;
  }

  async ensure(name: string, limits: CgroupLimits): Promise<void> {
    await this.make(name);
    await this.setLimits(name, limits);
  }

  async make(name: string): Promise<boolean> {
    if (await this.#fs.exists(name)) {
      await this.#fs.make(name); // controllers may be missing for what comes below
      return false;
    }
    await this.#start(name, []);
    await this.#fs.make(name);
    return true;
  }

  async setLimits(name: string, limits: CgroupLimits): Promise<void> {
    const properties = sliceProperties(this.hierarchies.version, limits);
    if (properties.length > 0) await this.#setProperties(name, properties);
    await this.#fs.setLimits(name, limits);
  }

  /** The processes are ended first: systemd would wait for them. */
  async remove(name: string): Promise<void> {
    await this.#fs.remove(name);
    try {
      await this.#job(path.basename(name), {
        ...MANAGER,
        member: 'StopUnit',
        signature: 'ss',
        body: [path.basename(name), 'replace'],
      });
    } catch (err) {
      if (!isNamed(err, NO_SUCH_UNIT)) throw err;
    }
  }

  readMemory(name: string) {
    return this.#fs.readMemory(name);
  }

  readCpu(name: string) {
    return this.#fs.readCpu(name);
  }

  children(name: string) {
    return this.#fs.children(name);
  }

  async #setProperties(name: string, properties: readonly Property[]): Promise<void> {
    const unit = path.basename(name);
    const bus = await this.#connected();
    try {
      // true: for as long as the machine runs, not for good.
      await bus.call({
        ...MANAGER,
        member: 'SetUnitProperties',
        signature: 'sba(sv)',
        body: [unit, true, properties as readonly DBusValue[]],
      });
    } catch (err) {
      if (!isNamed(err, NO_SUCH_UNIT)) throw err;
      await this.#start(name, properties); // a directory that systemd does not know of
    }
  }

  async #start(name: string, properties: readonly Property[]): Promise<void> {
    const unit = path.basename(name);
    const parent = path.basename(path.dirname(name));
    const all = [...commonProperties(this.hierarchies.version, unit, parent), ...properties];
    try {
      await this.#job(unit, {
        ...MANAGER,
        member: 'StartTransientUnit',
        signature: 'ssa(sv)a(sa(sv))',
        body: [unit, 'replace', all as readonly DBusValue[], []],
      });
    } catch (err) {
      if (!isNamed(err, UNIT_EXISTS)) throw err;
      if (properties.length > 0) await this.#setProperties(name, properties);
    }
  }

  /** Makes the call and waits until the job that it began has ended. */
  async #job(unit: string, call: DBusCall): Promise<void> {
    const bus = await this.#connected();
    const ended = new Map<string, string>();
    const wake = Promise.withResolvers<void>();
    let wanted: string | undefined;
    // Listened for before the call: the job may be over before its answer is read.
    using _signals = bus.onSignal(({ member, body }: DBusSignal) => {
      const [, job, of, result] = body;
      if (member !== 'JobRemoved' || of !== unit) return;
      ended.set(String(job), String(result));
      if (job === wanted) wake.resolve();
    });
    const [job] = await bus.call(call);
    wanted = String(job);
    if (!ended.has(wanted)) await withDeadline(wake.promise, unit);
    const result = ended.get(wanted);
    if (result === 'done' || result === 'skipped') return;
    throw new AgentError(`systemd: ${call.member} of ${unit}: ${result}`, {
      code: 'CGROUP_WRITE_FAILED',
      retryable: true,
    });
  }

  #connected(): Promise<Bus> {
    const before = this.#bus;
    const connected = (async () => {
      const bus = await before?.catch(() => undefined);
      return bus?.isOpen === true ? bus : await this.#subscribed();
    })();
    this.#bus = connected;
    return connected;
  }

  async #subscribed(): Promise<Bus> {
    const bus = await this.#connect();
    const daemon = {
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
    };
    await bus.call({ ...daemon, member: 'AddMatch', signature: 's', body: [MATCH] });
    await bus.call({ ...MANAGER, member: 'Subscribe' });
    return bus;
  }
}

async function withDeadline(done: Promise<void>, unit: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const err = new AgentError(`systemd did not end its job for ${unit}`, {
      code: 'CGROUP_WRITE_FAILED',
      retryable: true,
    });
    timer = setTimeout(() => reject(err), JOB_MS);
  });
  try {
    await Promise.race([done, late]);
  } finally {
    clearTimeout(timer);
  }
}

function isNamed(err: unknown, name: string): boolean {
  return isAgentError(err, 'DBUS_CALL_FAILED') && err.details?.name === name;
}
