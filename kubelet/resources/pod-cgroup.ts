// The QoS tree (kubepods, burstable, besteffort) and one cgroup per pod, which the runtime is told as cgroup parent.
// After pkg/kubelet/cm: qos_container_manager_linux.go, pod_container_manager_linux.go.
import type { Pod } from '../../api/pod.ts';
import { isPodLimited, podLimits, podRequests } from '../../api/pod-resources.ts';
import { podQosClass, type QosClass } from '../../api/qos.ts';
import { quantityMilliValue, quantityValue } from '../../api/quantity.ts';
import { isAgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { type CgroupLimits, type CgroupTree, sharesToWeight } from '../../host/cgroup.ts';
import { cpuQuotaUs, cpuShares, MIN_SHARES } from './cpu-shares.ts';
import { memoryProtection } from './memory-qos.ts';
import { type PodShare, QosLevels, type QosReserved } from './qos-levels.ts';

export type CgroupDriver = 'cgroupfs' | 'systemd';

export interface PodCgroupOptions {
  /** False: pods run in `root` itself and no cgroup is made. */
  readonly cgroupsPerQos: boolean;
  readonly driver: CgroupDriver;
  /** cgroupRoot, `/` by default. */
  readonly root: string;
  readonly cpuCfsQuota: boolean;
  /** cpuCFSQuotaPeriod, µs; default 100,000. */
  readonly cpuPeriodUs: number;
  /** podPidsLimit; 0 or less: none. */
  readonly podPidsLimit: number;
  /** Huge pages of the host as the kernel names them (`2MB`): of each size a pod may use what it asked for. */
  readonly hugepageSizes?: readonly string[];
  /** Gate MemoryQoS on cgroup v2: whether memory is kept for pods. */
  readonly memoryQos?: { readonly reserves: boolean };
  /** Gate QOSReserved with qosReserved. */
  readonly qosReserved?: QosReserved;
  /** Pods whose CPU time is not limited: containers have CPUs of their own. */
  readonly hasUnlimitedCpus?: (pod: Pod) => boolean;
}

/** What groups of pods may have of huge pages: their pods are limited. */
const NO_HUGETLB_LIMIT = 2n ** 62n;

/** Components of the cgroup of a pod below the root: `['kubepods', 'burstable', 'pod<uid>']`. */
export function podCgroupParts(qos: QosClass, podUid: string): string[] {
  const level = qos === 'Guaranteed' ? [] : [qos.toLowerCase()];
  return ['kubepods', ...level, `pod${podUid}`];
}

/** The name in the words of the driver, e.g. `/kubepods.slice/kubepods-pod1_2.slice` for systemd. */
export function cgroupName(driver: CgroupDriver, root: string, parts: readonly string[]): string {
  const base = root === '/' ? '' : root.replace(/\/+$/, '');
  if (driver === 'cgroupfs') return `${base}/${parts.join('/')}`;
  // systemd spells the way through the hierarchy out in each slice's name, with `-` between the levels.
  const escaped = parts.map((part) => part.replaceAll('-', '_'));
  const slices = escaped.map((_, i) => `${escaped.slice(0, i + 1).join('-')}.slice`);
  return `${base}/${slices.join('/')}`;
}

/** The uid in the name of a pod's group, in the words of either driver; undefined for other groups. */
export function podUidOf(group: string): string | undefined {
  const last = group.endsWith('.slice') ? group.slice(0, -'.slice'.length).split('-').at(-1)! : group;
  return last.startsWith('pod') ? last.slice('pod'.length).replaceAll('_', '-') : undefined;
}

/** The whole way to a slice, which its name spells: `a-b.slice` → `/a.slice/a-b.slice`. */
export function expandSlice(slice: string): string {
  const parts = slice
    .replace(/^.*\//, '')
    .replace(/\.slice$/, '')
    .split('-');
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join('-')}.slice`).join('');
}

/** Pure: what the pod's own cgroup is limited to. */
export function podCgroupLimits(pod: Pod, opts: PodCgroupOptions): CgroupLimits {
  const qos = podQosClass(pod);
  const { memoryQos } = opts;
  const others = {
    ...(memoryQos === undefined ? {} : memoryProtection(qos, memoryRequestOf(pod), memoryQos.reserves)),
    ...(opts.podPidsLimit > 0 ? { pids: opts.podPidsLimit } : {}),
    ...hugetlbOf(opts, (size) => hugepageRequest(pod, size)),
  };
  if (qos === 'BestEffort') return { cpuShares: MIN_SHARES, ...others };
  const limits = podLimits(pod);
  const cpuLimit = isPodLimited(pod, 'cpu') ? limits.get('cpu') : undefined;
  const memoryLimit = isPodLimited(pod, 'memory') ? limits.get('memory') : undefined;
  const quotaUs = cpuLimit === undefined ? 0 : cpuQuotaUs(quantityMilliValue(cpuLimit), opts.cpuPeriodUs);
  return {
    cpuShares: cpuShares(cpuMillisOf(pod)),
    ...(quotaUs > 0 ? { cpuQuotaUs: enforcesQuota(pod, opts) ? quotaUs : -1, cpuPeriodUs: opts.cpuPeriodUs } : {}),
    ...(memoryLimit === undefined ? {} : { memoryBytes: quantityValue(memoryLimit) }),
    ...others,
  };
}

function enforcesQuota(pod: Pod, { cpuCfsQuota, hasUnlimitedCpus }: PodCgroupOptions): boolean {
  return cpuCfsQuota && hasUnlimitedCpus?.(pod) !== true;
}

/** Written for every size of the host: what is not given is not to be had. */
function hugetlbOf(
  { hugepageSizes = [] }: PodCgroupOptions,
  bytesOf: (size: string) => number | bigint,
): Pick<CgroupLimits, 'hugetlbBytes'> {
  if (hugepageSizes.length === 0) return {};
  return { hugetlbBytes: Object.fromEntries(hugepageSizes.map((size) => [size, bytesOf(size)])) };
}

/** `hugepages-2Mi` is what the kernel calls `2MB`. */
function hugepageRequest(pod: Pod, size: string): number {
  const asked = podRequests(pod).get(`hugepages-${size.replace(/B$/, 'i')}`);
  return asked === undefined ? 0 : quantityValue(asked);
}

function cpuMillisOf(pod: Pod): number {
  const cpu = podRequests(pod).get('cpu');
  return cpu === undefined ? 0 : quantityMilliValue(cpu);
}

function memoryRequestOf(pod: Pod): number {
  const memory = podRequests(pod).get('memory');
  return memory === undefined ? 0 : quantityValue(memory);
}

export class PodCgroups {
  readonly #opts: PodCgroupOptions;
  readonly #fs: CgroupTree | undefined;
  readonly #log: Logger;
  #isWritable = true;
  /** By uid: what this process has given a pod's cgroup, so that a pod that did not change costs no write. */
  readonly #written = new Map<string, string>();
  readonly #levels: QosLevels;

  /** Without `fs` (no cgroup file system) no cgroups are made and pods run below the runtime's default parent. */
  constructor(opts: PodCgroupOptions, deps: { fs: CgroupTree | undefined; log: Logger }) {
    this.#opts = opts;
    this.#fs = deps.fs;
    this.#log = deps.log.child({ component: 'pod-cgroups' });
    this.#levels = new QosLevels({
      reservesMemory: opts.memoryQos?.reserves === true,
      ...(opts.qosReserved === undefined ? {} : { reserved: opts.qosReserved }),
      write: async (level, limits) => await this.#managed()?.setLimits(this.#name(level), limits),
      usage: async (level) => (await this.#managed()?.readMemory(this.#name(level)))?.usageBytes ?? 0,
    });
  }

  /**
   * Makes the QoS tree; what all pods together may use is set by another (node-cgroups.ts). Where the tree may not be
   * written (an unprivileged container) this is said once, and pods run without cgroups of their own.
   * @throws {AgentError} CGROUP_WRITE_FAILED
   */
  async ensureTree(): Promise<void> {
    const fs = this.#managed();
    if (fs === undefined) return;
    const hugetlb = hugetlbOf(this.#opts, () => NO_HUGETLB_LIMIT);
    // An agent that kept memory for pods may have been here; what is kept above counts for all below.
    const unprotected = this.#opts.memoryQos?.reserves ? {} : { memoryMinBytes: 0, memoryLowBytes: 0 };
    try {
      await fs.ensure(this.#name(['kubepods']), unprotected);
      // One with pods of a former agent keeps its weight until they have been seen.
      const burstable = this.#name(['kubepods', 'burstable']);
      const isNew = await fs.make(burstable);
      await fs.setLimits(burstable, { ...(isNew ? { cpuShares: MIN_SHARES } : {}), ...hugetlb, ...unprotected });
      await fs.ensure(this.#name(['kubepods', 'besteffort']), { cpuShares: MIN_SHARES, ...hugetlb });
    } catch (err) {
      if (!isAgentError(err, 'CGROUP_READ_ONLY')) throw err;
      this.#isWritable = false;
      this.#log.warn(
        { err, hint: err.hint },
        'cgroups cannot be written: pods run without limits per pod and QoS class',
      );
    }
  }

  /**
   * Makes the pod's cgroup and gives it its limits. While containers of the pod are `resizing` the limits of a group
   * that is there are left to whoever resizes them, in an order of his own. Idempotent, no process is started.
   */
  async ensurePodCgroup(pod: Pod, opts: { readonly resizing: boolean } = { resizing: false }): Promise<void> {
    const fs = this.#managed();
    if (fs === undefined) return;
    const name = this.cgroupParentOf(pod);
    const limits = podCgroupLimits(pod, this.#opts);
    const isNew = await fs.make(name);
    const uid = pod.metadata?.uid ?? '';
    const qos = podQosClass(pod);
    if (qos !== 'BestEffort') {
      await this.#share(uid, { qos, cpuMillis: cpuMillisOf(pod), memoryBytes: memoryRequestOf(pod) });
    }
    const text = JSON.stringify(limits);
    if (!isNew && (opts.resizing || this.#written.get(uid) === text)) return;
    await fs.setLimits(name, isNew ? limits : await this.#aboveUsage(fs, name, limits));
    this.#written.set(uid, text);
  }

  /** Undefined where the agent does not look after the cgroups of pods. */
  async readPodMemory(pod: Pod): Promise<{ readonly usageBytes: number; readonly limitBytes: number } | undefined> {
    return await this.#managed()?.readMemory(this.cgroupParentOf(pod));
  }

  /** Undefined where the agent does not look after the cgroups of pods. */
  async readPodCpu(pod: Pod): Promise<{ readonly quotaUs: number; readonly share: number } | undefined> {
    return await this.#managed()?.readCpu(this.cgroupParentOf(pod));
  }

  /** What the pod's cgroup is to be limited to; `share` as `readPodCpu` would tell it. */
  podLimits(pod: Pod): CgroupLimits & { readonly share: number } {
    const limits = podCgroupLimits(pod, this.#opts);
    const shares = limits.cpuShares ?? MIN_SHARES;
    return { ...limits, share: this.#fs?.hierarchies.version === 2 ? sharesToWeight(shares) : shares };
  }

  /** Writes some of the limits of a pod's cgroup that is there. @throws {AgentError} CGROUP_WRITE_FAILED */
  async setPodLimits(pod: Pod, limits: CgroupLimits): Promise<void> {
    this.#written.delete(pod.metadata?.uid ?? '');
    await this.#managed()?.setLimits(this.cgroupParentOf(pod), limits);
  }

  /** A limit below what is used would be refused (v1), or kill (v2); a container that ended may have left files. */
  async #aboveUsage(fs: CgroupTree, name: string, limits: CgroupLimits): Promise<CgroupLimits> {
    const { memoryBytes, ...others } = limits;
    if (memoryBytes === undefined || (await fs.readMemory(name)).usageBytes < memoryBytes) return limits;
    return others;
  }

  /**
   * Removes the pod's cgroup from every level and hierarchy, after killing what its containers left running there.
   * @throws {AgentError} CGROUP_BUSY
   */
  async removePodCgroup(podUid: string): Promise<void> {
    const fs = this.#managed();
    if (fs === undefined) return;
    this.#written.delete(podUid);
    const levels = ['Guaranteed', 'Burstable', 'BestEffort'] as const;
    await Promise.all(levels.map((qos) => fs.remove(this.#name(podCgroupParts(qos, podUid)))));
    if (this.#levels.has(podUid)) await this.#share(podUid);
  }

  /** Writes again what the classes have. @throws {AgentError} CGROUP_WRITE_FAILED */
  async refreshLevels(): Promise<void> {
    await this.#levels.refresh();
  }

  /** What the classes are given must not keep a pod from running: it is tried again with the next refresh. */
  async #share(uid: string, share?: PodShare): Promise<void> {
    try {
      await this.#levels.set(uid, share);
    } catch (err) {
      this.#log.warn({ err, podUid: uid }, 'the groups of the QoS classes could not be given what their pods ask for');
    }
  }

  /** What CRI gets as cgroup_parent; '' leaves it to the runtime. */
  cgroupParentOf(pod: Pod): string {
    if (!this.#opts.cgroupsPerQos) return this.#opts.root === '/' ? '' : this.#opts.root;
    if (this.#fs === undefined || !this.#isWritable) return '';
    return this.#name(podCgroupParts(podQosClass(pod), pod.metadata?.uid ?? ''));
  }

  /** Uids of pods that have a cgroup, to find orphans after a restart. */
  async listPodUids(): Promise<string[]> {
    const fs = this.#managed();
    if (fs === undefined) return [];
    const levels = [['kubepods'], ['kubepods', 'burstable'], ['kubepods', 'besteffort']];
    const names = await Promise.all(levels.map((parts) => fs.children(this.#name(parts))));
    return names.flat().flatMap((name) => podUidOf(name) ?? []);
  }

  /** Undefined where no cgroups are to be made, or none can be. */
  #managed(): CgroupTree | undefined {
    return this.#opts.cgroupsPerQos && this.#isWritable ? this.#fs : undefined;
  }

  /** Bytes of memory.min of all pods' group and of memory.low of the Burstable one's. */
  keptMemory(): { readonly minBytes: number; readonly lowBytes: number } {
    const { allBytes, burstableBytes } = this.#levels.keptMemory;
    const isKept = this.#opts.memoryQos?.reserves === true;
    return isKept ? { minBytes: allBytes, lowBytes: burstableBytes } : { minBytes: 0, lowBytes: 0 };
  }

  /** The agent makes the cgroups of pods: it is to, and it can. */
  get isManaging(): boolean {
    return this.#managed() !== undefined;
  }

  /** Of a group below the root, in the words of the driver: `['kubepods', 'burstable']`. */
  nameOf(parts: readonly string[]): string {
    return this.#name(parts);
  }

  #name(parts: readonly string[]): string {
    return cgroupName(this.#opts.driver, this.#opts.root, parts);
  }
}
