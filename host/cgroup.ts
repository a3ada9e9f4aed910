// Cgroups by plain file calls, in the hierarchies of v1 or the unified tree of v2. Names are absolute and relative to
// the hierarchy's root (`/kubepods/burstable/pod…`). After opencontainers/cgroups fs and fs2.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';
import { destroyCgroupTree } from './cgroup-tree.ts';
import { parseMountInfo } from './mounts.ts';

/** What is written; an absent field leaves its file alone. */
export interface CgroupLimits {
  /** v1 shares, 2..262144; on v2 they become a weight. */
  readonly cpuShares?: number;
  /** Microseconds per period; −1 lifts the limit. */
  readonly cpuQuotaUs?: number;
  readonly cpuPeriodUs?: number;
  /** −1 lifts the limit. */
  readonly memoryBytes?: number;
  /** What the kernel never takes from the group, and what it takes only when there is nothing else; v2 alone. */
  readonly memoryMinBytes?: number;
  readonly memoryLowBytes?: number;
  /** −1 lifts the limit. */
  readonly pids?: number;
  /** `0-3,7`: on these alone; v2 alone, v1's are left to the runtime. */
  readonly cpus?: string;
  /** Bytes by page size as the kernel names it (`2MB`, `1GB`). Sizes the kernel does not have are skipped. */
  readonly hugetlbBytes?: Readonly<Record<string, number | bigint>>;
}

/** Who makes and limits cgroups: we ourselves, or systemd when asked. All throw {AgentError} CGROUP_… */
export interface CgroupTree {
  readonly hierarchies: CgroupHierarchies;
  /** Makes the group with its ancestors where missing and writes its limits. Idempotent. */
  ensure(name: string, limits: CgroupLimits): Promise<void>;
  /** False when it was there in every hierarchy. */
  make(name: string): Promise<boolean>;
  /** Of a group that is there. */
  setLimits(name: string, limits: CgroupLimits): Promise<void>;
  /** With all below it, after ending what runs there. Not there is success. */
  remove(name: string): Promise<void>;
  /** Bytes; −1: no limit. */
  readMemory(name: string): Promise<{ readonly usageBytes: number; readonly limitBytes: number }>;
  /** µs per period (−1: no limit), and v1 shares or v2 weight: to be compared, not to be written. */
  readCpu(name: string): Promise<{ readonly quotaUs: number; readonly share: number }>;
  /** Names of the groups directly below. */
  children(name: string): Promise<string[]>;
}

export interface CgroupHierarchies {
  readonly version: 1 | 2;
  /** v1: controller → mount point. v2: the one mount point under the key `unified`. */
  readonly mounts: ReadonlyMap<string, string>;
}

/** Controllers the agent sets limits in; the others are the runtime's business. */
const V1_CONTROLLERS = ['cpu', 'memory', 'pids', 'hugetlb'] as const;
const V2_CONTROLLERS = ['cpu', 'cpuset', 'memory', 'hugetlb', 'pids'] as const;

/**
 * Finds the hierarchies in a mountinfo text. Unified only when /sys/fs/cgroup itself is cgroup2: a hybrid host, with an
 * extra v2 tree beside v1, counts as v1, as for the kubelet.
 * @throws {AgentError} CGROUP_MISSING when there is neither.
 */
export function findCgroups(mountInfo: string): CgroupHierarchies {
  const mounts = parseMountInfo(mountInfo);
  if (mounts.some((m) => m.mountPoint === '/sys/fs/cgroup' && m.fsType === 'cgroup2')) {
    return { version: 2, mounts: new Map([['unified', '/sys/fs/cgroup']]) };
  }
  const v1 = new Map<string, string>();
  for (const mount of mounts.filter((m) => m.fsType === 'cgroup')) {
    const options = mount.superOptions.split(',');
    for (const name of [...V1_CONTROLLERS, 'cpuset', 'cpuacct', 'blkio']) {
      if (options.includes(name) && !v1.has(name)) v1.set(name, mount.mountPoint);
    }
  }
  if (v1.size > 0) return { version: 1, mounts: v1 };
  const unified = mounts.find((m) => m.fsType === 'cgroup2');
  if (unified !== undefined) return { version: 2, mounts: new Map([['unified', unified.mountPoint]]) };
  throw new AgentError('no cgroup file system is mounted', {
    code: 'CGROUP_MISSING',
    hint: 'mount cgroup2 on /sys/fs/cgroup',
  });
}

/** Controllers of v1 without which no pod can be run; v2 has them where it has anything. */
const V1_NEEDED = ['cpu', 'cpuacct', 'cpuset', 'memory'];

/** @throws {AgentError} CGROUP_MISSING in the words of the kubelet. */
export function refuseMissingControllers({ version, mounts }: CgroupHierarchies): void {
  const missing = version === 2 ? [] : V1_NEEDED.filter((name) => !mounts.has(name));
  if (missing.length === 0) return;
  throw new AgentError(`system validation failed - Following Cgroup subsystem not mounted: [${missing.join(' ')}]`, {
    code: 'CGROUP_MISSING',
    hint: 'mount them below /sys/fs/cgroup, or boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)',
  });
}

/** Reads the hierarchies of this host. @throws {AgentError} CGROUP_MISSING */
export async function detectCgroups(procRoot = '/proc'): Promise<CgroupHierarchies> {
  return findCgroups(await readFile(path.join(procRoot, 'self/mountinfo'), 'utf8'));
}

/** The linear formula of the kubelet for its own cgroups: 2 → 1, 262144 → 10000. */
export function sharesToWeight(shares: number): number {
  if (shares >= 262_144) return 10_000;
  return 1 + Math.floor(((Math.max(shares, 2) - 2) * 9999) / 262_142);
}

export interface FileWrite {
  readonly file: string;
  readonly value: string;
  /** A file the kernel may lack (controller not built in or not enabled). */
  readonly optional: boolean;
}

/** Pure: the files to write for `limits` of group `name`, in an order the kernel accepts. */
export function renderLimits(hierarchies: CgroupHierarchies, name: string, limits: CgroupLimits): FileWrite[] {
  const writes: FileWrite[] = [];
  const v2 = hierarchies.version === 2;
  const put = (controller: string, file: string, value: string | number | bigint, optional = false) => {
    const mount = hierarchies.mounts.get(v2 ? 'unified' : controller);
    if (mount !== undefined) writes.push({ file: path.join(mount, name, file), value: String(value), optional });
  };
  const orMax = (n: number) => (n < 0 ? 'max' : n);
  if (limits.cpuShares !== undefined && limits.cpuShares > 0) {
    if (v2) put('cpu', 'cpu.weight', sharesToWeight(limits.cpuShares));
    else put('cpu', 'cpu.shares', limits.cpuShares);
  }
  if (limits.cpuQuotaUs !== undefined) {
    const periodUs = limits.cpuPeriodUs ?? 100_000;
    if (v2) put('cpu', 'cpu.max', `${orMax(limits.cpuQuotaUs)} ${periodUs}`);
    else {
      put('cpu', 'cpu.cfs_period_us', periodUs, true); // absent without CFS bandwidth control in the kernel
      put('cpu', 'cpu.cfs_quota_us', limits.cpuQuotaUs, true);
    }
  }
  if (limits.memoryBytes !== undefined) {
    if (v2) put('memory', 'memory.max', orMax(limits.memoryBytes));
    else put('memory', 'memory.limit_in_bytes', limits.memoryBytes);
  }
  if (v2 && limits.memoryMinBytes !== undefined) put('memory', 'memory.min', limits.memoryMinBytes);
  if (v2 && limits.memoryLowBytes !== undefined) put('memory', 'memory.low', limits.memoryLowBytes);
  if (limits.pids !== undefined) put('pids', 'pids.max', orMax(limits.pids), true);
  if (v2 && limits.cpus !== undefined) put('cpuset', 'cpuset.cpus', limits.cpus, true);
  for (const [size, bytes] of Object.entries(limits.hugetlbBytes ?? {})) {
    put('hugetlb', v2 ? `hugetlb.${size}.max` : `hugetlb.${size}.limit_in_bytes`, bytes, true);
  }
  return writes;
}

interface VersionFiles {
  readonly v1: readonly [string, string];
  readonly v2: readonly [string, string];
}

const MEMORY_FILES: VersionFiles = {
  v1: ['memory.usage_in_bytes', 'memory.limit_in_bytes'],
  v2: ['memory.current', 'memory.max'],
};
const CPU_FILES: VersionFiles = { v1: ['cpu.cfs_quota_us', 'cpu.shares'], v2: ['cpu.max', 'cpu.weight'] };

/** No limit is `max` in v2, −1 or the largest number of pages in v1. */
function limitOf(text: string): number {
  const limit = text === 'max' ? -1 : Number(text);
  return limit > Number.MAX_SAFE_INTEGER ? -1 : limit;
}

export class CgroupFs implements CgroupTree {
  readonly hierarchies: CgroupHierarchies;
  /** v2: parents whose subtree_control has been written by this process. */
  readonly #delegated = new Set<string>();

  constructor(hierarchies: CgroupHierarchies) {
    this.hierarchies = hierarchies;
  }

  /**
   * Makes the group with its ancestors where missing and writes its limits. Idempotent; plain file calls only.
   * @throws {AgentError} CGROUP_READ_ONLY when the tree may not be written, CGROUP_WRITE_FAILED otherwise.
   */
  async ensure(name: string, limits: CgroupLimits): Promise<void> {
    await this.make(name);
    await this.setLimits(name, limits);
  }

  /** Makes the group with its ancestors. False when it was there in every hierarchy. @throws {AgentError} as `ensure`. */
  async make(name: string): Promise<boolean> {
    try {
      const made = await Promise.all(
        this.#mountsToCreate().map((mount) => mkdir(path.join(mount, name), { recursive: true })),
      );
      if (this.hierarchies.version === 2) await this.#delegate(name);
      return made.some((dir) => dir !== undefined);
    } catch (err) {
      throw cgroupError(name, err);
    }
  }

  /** In every hierarchy that is ours to write in; in v2 with its controllers. */
  async exists(name: string): Promise<boolean> {
    const found = await Promise.all(
      this.#mountsToCreate().map(async (mount) => {
        const entries = await readdir(path.join(mount, name)).catch((): string[] => []);
        return this.hierarchies.version === 1 ? entries.length > 0 : entries.includes('memory.max');
      }),
    );
    return found.every(Boolean);
  }

  /** Writes limits of a group that is there. @throws {AgentError} as `ensure`. */
  async setLimits(name: string, limits: CgroupLimits): Promise<void> {
    try {
      for (const write of renderLimits(this.hierarchies, name, limits)) await writeLimit(write);
    } catch (err) {
      throw cgroupError(name, err);
    }
  }

  /** Bytes that processes of the group and below use, and may use (−1: no limit). @throws {AgentError} as `ensure`. */
  async readMemory(name: string): Promise<{ readonly usageBytes: number; readonly limitBytes: number }> {
    const [usage, limit] = await this.#read(name, 'memory', MEMORY_FILES);
    return { usageBytes: Number(usage), limitBytes: limitOf(limit) };
  }

  /** µs per period (−1: no limit), and v1 shares or v2 weight: to be compared, not to be written. @throws as `ensure`. */
  async readCpu(name: string): Promise<{ readonly quotaUs: number; readonly share: number }> {
    const [quota, share] = await this.#read(name, 'cpu', CPU_FILES);
    return { quotaUs: limitOf(quota.split(' ')[0]!), share: Number(share) };
  }

  async #read(name: string, controller: string, files: VersionFiles): Promise<[string, string]> {
    const { version, mounts } = this.hierarchies;
    const dir = path.join(mounts.get(version === 2 ? 'unified' : controller) ?? '', name);
    const read = async (file: string) => {
      try {
        return (await readFile(path.join(dir, file), 'utf8')).trim();
      } catch (err) {
        if (errnoOf(err) === 'ENOENT') return '-1'; // a kernel without the control, which then limits nothing
        throw err;
      }
    };
    const [first, second] = version === 2 ? files.v2 : files.v1;
    try {
      return await Promise.all([read(first), read(second)]);
    } catch (err) {
      throw cgroupError(name, err);
    }
  }

  /**
   * Removes the group and all below it from every hierarchy, the runtime's own included, after killing what runs there.
   * Not there is success. @throws {AgentError} CGROUP_BUSY when processes do not end.
   */
  async remove(name: string): Promise<void> {
    const [busy] = await destroyCgroupTree(name);
    if (busy === undefined) return;
    throw new AgentError(`processes in cgroup ${busy} do not end`, { code: 'CGROUP_BUSY', retryable: true });
  }

  /** Names of the groups directly below `name`. */
  async children(name: string): Promise<string[]> {
    const [mount] = this.#mountsToCreate();
    if (mount === undefined) return [];
    try {
      const entries = await readdir(path.join(mount, name), { withFileTypes: true });
      return entries.filter((e) => e.isDirectory()).map((e) => e.name);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return [];
      throw err;
    }
  }

  #mountsToCreate(): string[] {
    const { version, mounts } = this.hierarchies;
    if (version === 2) return [...mounts.values()];
    // cpuset is left to the runtime: a v1 cpuset made here would be empty and take no process until it is filled in.
    return [...new Set(V1_CONTROLLERS.flatMap((c) => mounts.get(c) ?? []))];
  }

  /** v2: a controller's files appear in a group only when its parent lists it in cgroup.subtree_control. */
  async #delegate(name: string): Promise<void> {
    let dir = this.hierarchies.mounts.get('unified')!;
    const parents = [dir];
    for (const part of name.split('/').filter((p) => p !== '')) {
      dir = path.join(dir, part);
      parents.push(dir);
    }
    for (const parent of parents.slice(0, -1)) {
      if (this.#delegated.has(parent)) continue;
      const available = (await readFile(path.join(parent, 'cgroup.controllers'), 'utf8')).trim().split(/\s+/);
      const wanted = V2_CONTROLLERS.filter((c) => available.includes(c)).map((c) => `+${c}`);
      const file = path.join(parent, 'cgroup.subtree_control');
      try {
        await writeFile(file, wanted.join(' '));
      } catch {
        // One controller that cannot be delegated must not cost the others; what is missing shows at the limits.
        for (const one of wanted) await writeFile(file, one).catch(() => {});
      }
      this.#delegated.add(parent);
    }
  }
}

async function writeLimit(write: FileWrite): Promise<void> {
  try {
    // r+ semantics: never create a file, so that on a plain directory (not cgroupfs) the fault shows.
    await writeFile(write.file, write.value, { flag: 'r+' });
  } catch (err) {
    if (write.optional && errnoOf(err) === 'ENOENT') return;
    throw err;
  }
}

function cgroupError(name: string, cause: unknown): AgentError {
  const errno = errnoOf(cause);
  if (errno === 'EROFS' || errno === 'EACCES' || errno === 'EPERM') {
    return new AgentError(`cannot write cgroup ${name}: ${errorMessage(cause)}`, {
      code: 'CGROUP_READ_ONLY',
      cause,
      hint: 'run the agent privileged with /sys/fs/cgroup mounted read-write, or set cgroupsPerQOS: false',
    });
  }
  return new AgentError(`cannot set up cgroup ${name}: ${errorMessage(cause)}`, {
    code: 'CGROUP_WRITE_FAILED',
    cause,
    retryable: true,
  });
}
