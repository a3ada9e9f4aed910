// The static memory manager: containers of Guaranteed pods have their memory and huge pages on as few NUMA nodes as
// possible. After pkg/kubelet/cm/memorymanager.
import path from 'node:path';
import type { Container, Pod } from '../../../api/pod.ts';
import type { Logger } from '../../../core/log.ts';
import type { NumaNode } from '../../../host/cpu-topology.ts';
import { exclusiveMemory, hasExclusiveRequests, isPlainInit, podPeak } from '../exclusive-requests.ts';
import type {
  AllocationRefusal,
  ContainerGrant,
  MemoryBlock,
  MemoryReport,
  NumaMask,
  ResourceHints,
  ResourceManager,
  TopologyHint,
} from '../hint-provider.ts';
import type { ManagerMetrics } from '../manager-metrics.ts';
import { maskOf, nodesIn } from '../numa-mask.ts';
import { admittedContainers } from '../pod-resources.ts';
import { readState, StateFile, unusableState } from '../state-file.ts';
import { parseMemoryState, renderMemoryState } from './memory-file.ts';
import { bestHint, covers, mayServeTogether, memoryHints } from './memory-hints.ts';
import {
  type Block,
  emptyMachine,
  type MachineMemory,
  machineFault,
  type ReservedMemory,
  releasing,
  taking,
} from './memory-state.ts';
import { ReusableMemory, withoutReused } from './reusable-memory.ts';

const MEMORY_STATE_FILE = 'memory_manager_state';

export interface MemoryManagerOptions {
  readonly rootDir: string;
  readonly nodes: readonly NumaNode[];
  readonly reserved: ReservedMemory;
}

export interface MemoryManagerDeps {
  readonly metrics: ManagerMetrics;
  readonly log: Logger;
}

type Amounts = ReadonlyMap<string, number>;

export class MemoryManager implements ResourceManager, MemoryReport {
  readonly name = 'memory';
  readonly #deps: MemoryManagerDeps;
  readonly #file: StateFile;
  readonly #reusable = new ReusableMemory();
  #machine: MachineMemory;
  #entries: Map<string, Map<string, readonly Block[]>>;

  private constructor(
    opts: MemoryManagerOptions,
    deps: MemoryManagerDeps,
    machine: MachineMemory,
    entries: Map<string, Map<string, readonly Block[]>>,
  ) {
    this.#deps = deps;
    this.#machine = machine;
    this.#entries = entries;
    const render = () => renderMemoryState('Static', { machine: this.#machine, entries: this.#entries });
    this.#file = new StateFile(path.join(opts.rootDir, MEMORY_STATE_FILE), render, deps);
  }

  /** Goes on with what the state file tells. @throws {AgentError} MANAGER_STATE_INVALID when that cannot be. */
  static async open(opts: MemoryManagerOptions, deps: MemoryManagerDeps): Promise<MemoryManager> {
    const file = path.join(opts.rootDir, MEMORY_STATE_FILE);
    const stored = readState(file, 'memory', (text) => parseMemoryState(text, 'Static'));
    const empty = emptyMachine(opts.nodes, opts.reserved);
    const isFresh = stored === undefined || (stored.machine.size === 0 && stored.entries.size === 0);
    const fault = isFresh ? undefined : machineFault(stored.machine, stored.entries, empty);
    if (fault !== undefined) throw unusableState(file, 'memory', fault);
    const entries = new Map([...(stored?.entries ?? [])].map(([uid, containers]) => [uid, new Map(containers)]));
    const manager = new MemoryManager(opts, deps, isFresh ? empty : stored.machine, entries);
    await manager.#file.save();
    return manager;
  }

  concerns(pod: Pod): boolean {
    return hasExclusiveRequests(pod) && admittedContainers(pod).some((c) => exclusiveMemory(pod, c).size > 0);
  }

  containerHints(pod: Pod, container: Container): ResourceHints {
    const amounts = exclusiveMemory(pod, container);
    const own = this.#blocksOf(pod, container.name);
    return own === undefined ? this.#hints(pod, amounts) : hintsOfBlocks(own, amounts);
  }

  podHints(pod: Pod): ResourceHints {
    const types = new Set(admittedContainers(pod).flatMap((c) => [...exclusiveMemory(pod, c).keys()]));
    const peak = (type: string) => podPeak(pod, (c) => exclusiveMemory(pod, c).get(type) ?? 0);
    const amounts = new Map([...types].map((type) => [type, peak(type)]));
    const own = admittedContainers(pod).flatMap((c) => this.#blocksOf(pod, c.name) ?? []);
    if (own.length === 0) return this.#hints(pod, amounts);
    // What it has been given it keeps, wherever that is (the agent was started anew).
    const nodes = maskOf(own.flatMap((block) => block.numaAffinity));
    return new Map([...types].map((type) => [type, [{ nodes, preferred: true }]]));
  }

  async allocate(pod: Pod, container: Container, hint: TopologyHint): Promise<AllocationRefusal | undefined> {
    const amounts = exclusiveMemory(pod, container);
    if (amounts.size === 0) return undefined;
    try {
      await this.#allocate(pod, container, amounts, hint);
      this.#deps.metrics.pinning('memory', true);
      return undefined;
    } catch (err) {
      this.#deps.metrics.pinning('memory', false);
      throw err;
    }
  }

  grant(pod: Pod, containerName: string): ContainerGrant | undefined {
    const blocks = this.#blocksOf(pod, containerName);
    if (blocks === undefined || blocks.length === 0) return undefined;
    return { cpusetMems: nodesIn(maskOf(blocks.flatMap((b) => b.numaAffinity))).join(',') };
  }

  uids(): Iterable<string> {
    return this.#entries.keys();
  }

  forget(podUid: string): void {
    const containers = this.#entries.get(podUid);
    if (containers === undefined) return;
    this.#entries.delete(podUid);
    for (const block of [...containers.values()].flat()) this.#machine = releasing(this.#machine, block);
    this.#deps.log.info({ podUid }, 'memory released');
    this.#file.saveLater();
  }

  memoryOf(podUid: string, containerName: string): readonly MemoryBlock[] {
    return (this.#entries.get(podUid)?.get(containerName) ?? []).map(reported);
  }

  allocatableMemory(): readonly MemoryBlock[] {
    return [...this.#machine].flatMap(([id, { tables }]) =>
      [...tables].flatMap(([type, { allocatable }]) =>
        allocatable === 0 ? [] : [{ type, sizeBytes: allocatable, numaNodes: [id] }],
      ),
    );
  }

  async #allocate(pod: Pod, container: Container, amounts: Amounts, hint: TopologyHint): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    const isInit = isPlainInit(pod, container);
    const before = this.#blocksOf(pod, container.name);
    if (before !== undefined) {
      this.#reusable.used(uid, before, isInit);
      return;
    }
    const mask = this.#chooseNodes(pod, amounts, hint);
    const blocks = [...amounts].map(([type, size]) => ({ numaAffinity: nodesIn(mask), type, size }));
    let machine = this.#machine;
    for (const block of blocks) machine = taking(machine, block, this.#reusable.of(uid, mask, block.type));
    this.#reusable.used(uid, blocks, isInit);
    this.#machine = machine;
    const earlier = withoutReused(pod, container, this.#entries.get(uid) ?? new Map(), blocks);
    this.#entries.set(uid, new Map(earlier).set(container.name, blocks));
    await this.#file.save();
    this.#deps.log.info({ podUid: uid, container: container.name, nodes: nodesIn(mask) }, 'memory given');
  }

  /** @throws {Error} in upstream's words when no nodes will do */
  #chooseNodes(pod: Pod, amounts: Amounts, hint: TopologyHint): NumaMask {
    const possible = this.#possible(pod, amounts);
    let chosen = hint;
    if (hint.nodes === undefined) {
      const best = bestHint(possible);
      if (best === undefined) {
        throw fault('failed to get the default NUMA affinity, no NUMA nodes with enough memory is available');
      }
      if (!best.preferred && hint.preferred) throw fault('failed to find the default preferred hint');
      chosen = best;
    }
    if (!covers(this.#machine, chosen.nodes!, amounts, 'free')) {
      // Merging with other managers' hints may have left too few of the nodes that were offered.
      const wider = possible.filter(({ nodes }) => (nodes! & chosen.nodes!) === chosen.nodes);
      const best = bestHint(wider);
      if (best === undefined) throw fault('failed to find NUMA nodes to extend the current topology hint');
      if (!best.preferred && chosen.preferred) throw fault('failed to find the extended preferred hint');
      chosen = best;
    }
    if (!mayServeTogether(this.#machine, chosen.nodes!)) throw fault('preferred hint violates NUMA node allocation');
    return chosen.nodes!;
  }

  #possible(pod: Pod, amounts: Amounts): TopologyHint[] {
    const uid = pod.metadata?.uid ?? '';
    return memoryHints(this.#machine, { amounts, reusable: (mask, type) => this.#reusable.of(uid, mask, type) });
  }

  /** None at all when no nodes will do: it is the allocation that refuses the pod then, as upstream's does. */
  #hints(pod: Pod, amounts: Amounts): ResourceHints {
    if (amounts.size === 0) return new Map();
    const hints = this.#possible(pod, amounts);
    return new Map(hints.length === 0 ? [] : [...amounts.keys()].map((type) => [type, hints]));
  }

  #blocksOf(pod: Pod, containerName: string): readonly Block[] | undefined {
    return this.#entries.get(pod.metadata?.uid ?? '')?.get(containerName);
  }
}

/** Of a container that has been given its memory: there alone. */
function hintsOfBlocks(blocks: readonly Block[], amounts: Amounts): ResourceHints {
  if (blocks.length !== amounts.size) return new Map();
  return new Map(
    blocks.map(({ type, numaAffinity }) => [type, [{ nodes: maskOf(numaAffinity), preferred: true }]] as const),
  );
}

function reported({ type, size, numaAffinity }: Block): MemoryBlock {
  return { type, sizeBytes: size, numaNodes: numaAffinity };
}

function fault(what: string): Error {
  return new Error(`[memorymanager] ${what}`);
}
