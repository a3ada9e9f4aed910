// The static CPU manager: a container of a Guaranteed pod that asks for whole CPUs gets them for itself, all others share
// the rest. After pkg/kubelet/cm/cpumanager/policy_static.go.
import path from 'node:path';
import type { Container, Pod } from '../../../api/pod.ts';
import { AgentError } from '../../../core/errors.ts';
import type { Logger } from '../../../core/log.ts';
import { type CpuSet, formatCpuSet, sortedCpus } from '../cpu-set.ts';
import { exclusiveCpus, isPlainInit, podPeak } from '../exclusive-requests.ts';
import type {
  AllocationRefusal,
  ContainerGrant,
  CpuReport,
  NumaMask,
  ResourceHints,
  ResourceManager,
  TopologyHint,
} from '../hint-provider.ts';
import type { ManagerMetrics } from '../manager-metrics.ts';
import { nodesIn } from '../numa-mask.ts';
import { admittedContainers } from '../pod-resources.ts';
import { readState, StateFile, unusableState } from '../state-file.ts';
import { cpuHints } from './cpu-hints.ts';
import type { CpuLayout } from './cpu-layout.ts';
import type { CpuPolicyOptions } from './cpu-policy-options.ts';
import { type CpuAssignments, cpuStateFault, parseCpuState, renderCpuState } from './cpu-state.ts';
import { takeDistributed } from './distribute-cpus.ts';
import { takePacked } from './take-cpus.ts';

const CPU_STATE_FILE = 'cpu_manager_state';

export interface CpuManagerOptions {
  /** Where the state file is. */
  readonly rootDir: string;
  readonly layout: CpuLayout;
  /** Never given away. */
  readonly reserved: CpuSet;
  readonly policy: CpuPolicyOptions;
  /** Containers with CPUs of their own are limited in time all the same. */
  readonly keepCpuQuota: boolean;
}

export interface CpuManagerDeps {
  readonly metrics: ManagerMetrics;
  /** Containers that share may run on other CPUs now. Must not throw. */
  readonly onPoolChanged: () => void;
  /** A container is about to be made with `cpuset`. Must not throw. */
  readonly onGranted: (podUid: string, containerName: string, cpuset: string) => void;
  readonly log: Logger;
}

const NOTHING: CpuSet = new Set();

export class CpuManager implements ResourceManager, CpuReport {
  readonly name = 'cpu';
  readonly #opts: CpuManagerOptions;
  readonly #deps: CpuManagerDeps;
  readonly #file: StateFile;
  readonly #entries: Map<string, Map<string, CpuSet>>;
  #pool: CpuSet;
  /** What init containers of the pod that was asked about last leave to its next ones. */
  #reusable: { readonly podUid: string; readonly cpus: CpuSet } = { podUid: '', cpus: NOTHING };

  private constructor(opts: CpuManagerOptions, deps: CpuManagerDeps, { pool, entries }: CpuAssignments) {
    this.#opts = opts;
    this.#deps = deps;
    this.#pool = pool;
    this.#entries = new Map([...entries].map(([uid, containers]) => [uid, new Map(containers)]));
    const render = () => renderCpuState('static', { pool: this.#pool, entries: this.#entries });
    this.#file = new StateFile(path.join(opts.rootDir, CPU_STATE_FILE), render, deps);
    deps.metrics.showCpuAlignment();
    this.#count();
  }

  /** Goes on with what the state file tells. @throws {AgentError} MANAGER_STATE_INVALID when that cannot be. */
  static async open(opts: CpuManagerOptions, deps: CpuManagerDeps): Promise<CpuManager> {
    const { layout, reserved, policy } = opts;
    const file = path.join(opts.rootDir, CPU_STATE_FILE);
    const stored = readState(file, 'CPU', (text) => parseCpuState(text, 'static'));
    const rules = { all: layout.cpus, reserved, strict: policy.strictReservation };
    const isFresh = stored === undefined || (stored.pool.size === 0 && stored.entries.size === 0);
    const fault = isFresh ? undefined : cpuStateFault(stored, rules);
    if (fault !== undefined) throw unusableState(file, 'CPU', fault);
    const fresh = { pool: rules.strict ? rules.all.difference(reserved) : rules.all, entries: new Map() };
    const manager = new CpuManager(opts, deps, isFresh ? fresh : stored);
    await manager.#file.save();
    return manager;
  }

  concerns(pod: Pod): boolean {
    return admittedContainers(pod).some((container) => exclusiveCpus(pod, container) > 0);
  }

  containerHints(pod: Pod, container: Container): ResourceHints {
    const count = exclusiveCpus(pod, container);
    if (count === 0) return new Map();
    const own = this.#ownOf(pod, container.name);
    if (own === undefined) return this.#hints(count, this.#free(), this.#reusableBy(pod));
    return own.size === count ? this.#hints(count, own, NOTHING) : IMPOSSIBLE;
  }

  podHints(pod: Pod): ResourceHints {
    const count = podPeak(pod, (container) => exclusiveCpus(pod, container));
    if (count === 0) return new Map();
    let own: CpuSet = NOTHING;
    for (const container of admittedContainers(pod)) {
      const cpus = this.#ownOf(pod, container.name);
      if (cpus !== undefined && cpus.size !== exclusiveCpus(pod, container)) return IMPOSSIBLE;
      own = own.union(cpus ?? NOTHING);
    }
    if (own.size === count) return this.#hints(count, own, NOTHING);
    return this.#hints(count, this.#free(), this.#reusableBy(pod).union(own));
  }

  async allocate(pod: Pod, container: Container, hint: TopologyHint): Promise<AllocationRefusal | undefined> {
    const count = exclusiveCpus(pod, container);
    if (count === 0) return undefined;
    try {
      const refusal = await this.#allocate(pod, container, count, hint);
      this.#countAllocation(refusal === undefined);
      return refusal;
    } catch (err) {
      this.#countAllocation(false);
      throw err;
    }
  }

  grant(pod: Pod, containerName: string): ContainerGrant | undefined {
    const cpus = this.#ownOf(pod, containerName) ?? this.#pool;
    if (cpus.size === 0) return undefined;
    const cpusetCpus = formatCpuSet(cpus);
    this.#deps.onGranted(pod.metadata?.uid ?? '', containerName, cpusetCpus);
    return { cpusetCpus };
  }

  uids(): Iterable<string> {
    return this.#entries.keys();
  }

  forget(podUid: string): void {
    const containers = this.#entries.get(podUid);
    if (containers === undefined) return;
    this.#entries.delete(podUid);
    for (const cpus of containers.values()) this.#pool = this.#pool.union(cpus);
    this.#deps.log.info({ podUid, pool: formatCpuSet(this.#pool) }, 'exclusive CPUs released');
    this.#file.saveLater();
    this.#changed();
  }

  /** CPUs that the container is to run on, '' for all: its own, or the shared ones. */
  cpusetOf(podUid: string, containerName: string): string {
    return formatCpuSet(this.#entries.get(podUid)?.get(containerName) ?? this.#pool);
  }

  /** Whether the container, or any of the pod, has CPUs that are not limited in time. */
  hasUnlimitedCpus(pod: Pod, containerName?: string): boolean {
    if (this.#opts.keepCpuQuota) return false;
    if (containerName !== undefined) return this.#ownOf(pod, containerName) !== undefined;
    return this.#entries.has(pod.metadata?.uid ?? '');
  }

  exclusiveCpus(podUid: string, containerName: string): readonly number[] {
    return sortedCpus(this.#entries.get(podUid)?.get(containerName) ?? NOTHING);
  }

  allocatableCpus(): readonly number[] {
    return sortedCpus(this.#opts.layout.cpus.difference(this.#opts.reserved));
  }

  async #allocate(
    pod: Pod,
    container: Container,
    count: number,
    hint: TopologyHint,
  ): Promise<AllocationRefusal | undefined> {
    const uid = pod.metadata?.uid ?? '';
    const before = this.#ownOf(pod, container.name);
    if (before !== undefined) {
      this.#leaveToNext(pod, container, before);
      return undefined;
    }
    const misaligned = this.#misalignment(pod, count);
    if (misaligned !== undefined) return misaligned;
    const cpus = this.#choose(pod, count, hint.nodes);
    this.#entries.set(uid, new Map(this.#entries.get(uid)).set(container.name, cpus));
    this.#pool = this.#pool.difference(cpus);
    this.#leaveToNext(pod, container, cpus);
    this.#changed();
    if (this.#opts.layout.sharesUncoreCache(cpus)) this.#deps.metrics.aligned('container', 'uncore_cache', true);
    await this.#file.save();
    this.#deps.log.info({ podUid: uid, container: container.name, cpus: formatCpuSet(cpus) }, 'exclusive CPUs given');
    return undefined;
  }

  /** Those that the hint names first, and others where these are too few. */
  #choose(pod: Pod, count: number, mask: NumaMask | undefined): CpuSet {
    const free = this.#free().union(this.#reusableBy(pod));
    const aligned = mask === undefined ? NOTHING : free.intersection(this.#alignedCpus(mask));
    const first = this.#take(aligned, Math.min(count, aligned.size));
    return first.union(this.#take(free.difference(first), count - first.size));
  }

  #alignedCpus(mask: NumaMask): CpuSet {
    const { layout, policy } = this.#opts;
    const cpus = layout.cpusOfAll('numaNode', nodesIn(mask));
    return policy.alignBySocket ? layout.cpusOfAll('socket', layout.idsOf('socket', cpus)) : cpus;
  }

  #take(free: CpuSet, count: number): CpuSet {
    const { layout, policy } = this.#opts;
    const opts = { spreadOverCores: policy.distributeAcrossCores, byUncoreCache: policy.alignByUncoreCache };
    if (!policy.distributeAcrossNuma) return takePacked(layout, free, count, opts);
    return takeDistributed(layout, free, count, policy.fullPcpusOnly ? layout.cpusPerCore : 1, opts);
  }

  /** Whole cores were asked for, and there cannot be any. */
  #misalignment(pod: Pod, count: number): AllocationRefusal | undefined {
    const { layout, policy, reserved } = this.#opts;
    if (!policy.fullPcpusOnly) return undefined;
    const perCore = layout.cpusPerCore;
    if (count % perCore !== 0) {
      return misaligned(`requested ${count} cpus not multiple cpus per core = ${perCore}`);
    }
    // The other threads of reserved cores are of no use either.
    const ofReserved = layout.cpusOfAll('core', layout.idsOf('core', reserved));
    const free = this.#pool.union(this.#reusableBy(pod)).difference(ofReserved).size;
    if (count <= free) return undefined;
    return misaligned(
      `not enough free physical CPUs: available physical CPUs = ${free}, requested CPUs = ${count}, CPUs per core = ${perCore}`,
    );
  }

  #hints(count: number, free: CpuSet, reusable: CpuSet): ResourceHints {
    const { layout, policy } = this.#opts;
    return new Map([['cpu', cpuHints(layout, { count, free, reusable, alignBySocket: policy.alignBySocket })]]);
  }

  #free(): CpuSet {
    return this.#pool.difference(this.#opts.reserved);
  }

  #ownOf(pod: Pod, containerName: string): CpuSet | undefined {
    return this.#entries.get(pod.metadata?.uid ?? '')?.get(containerName);
  }

  #reusableBy(pod: Pod): CpuSet {
    return this.#reusable.podUid === pod.metadata?.uid ? this.#reusable.cpus : NOTHING;
  }

  #leaveToNext(pod: Pod, container: Container, cpus: CpuSet): void {
    const before = this.#reusableBy(pod);
    const after = isPlainInit(pod, container) ? before.union(cpus) : before.difference(cpus);
    this.#reusable = { podUid: pod.metadata?.uid ?? '', cpus: after };
  }

  #changed(): void {
    this.#count();
    this.#deps.onPoolChanged();
  }

  #count(): void {
    const { layout } = this.#opts;
    const byNode = new Map(layout.idsOf('numaNode').map((node) => [node, 0]));
    const given = new Set([...this.#entries.values()].flatMap((c) => [...c.values()].flatMap((cpus) => [...cpus])));
    for (const cpu of given) byNode.set(layout.numaNodeOf(cpu), (byNode.get(layout.numaNodeOf(cpu)) ?? 0) + 1);
    this.#deps.metrics.cpus(this.#free().size, byNode);
  }

  #countAllocation(ok: boolean): void {
    this.#deps.metrics.pinning('cpu', ok);
    if (this.#opts.policy.fullPcpusOnly) this.#deps.metrics.aligned('container', 'physical_cpu', ok);
  }
}

/** Given other CPUs than are asked for now: no nodes can serve that. */
const IMPOSSIBLE: ResourceHints = new Map([['cpu', []]]);

function misaligned(what: string): AllocationRefusal {
  return { reason: 'SMTAlignmentError', message: `SMT Alignment Error: ${what}` };
}

/**
 * The CPUs that are never given away: those that are named, else the first so many, whole cores before threads.
 * @throws {AgentError} CONFIG_INVALID when there are none, or not so many.
 */
export function reservedCpus(layout: CpuLayout, named: CpuSet, reservedMillis: number): CpuSet {
  const invalid = (message: string) =>
    new AgentError(message, {
      code: 'CONFIG_INVALID',
      hint: 'see cpuManagerPolicy, reservedSystemCPUs, systemReserved and kubeReserved in the KubeletConfiguration',
    });
  if (reservedMillis <= 0) {
    throw invalid('the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero');
  }
  const count = Math.ceil(reservedMillis / 1000);
  if (named.size > 0 && !named.isSubsetOf(layout.cpus)) {
    throw invalid(`reservedSystemCPUs: ${formatCpuSet(named)} are not all online (${formatCpuSet(layout.cpus)})`);
  }
  if (named.size > 0) return named;
  if (count > layout.cpus.size) throw invalid(`unable to reserve ${count} CPUs of ${layout.cpus.size}`);
  return takePacked(layout, layout.cpus, count);
}
