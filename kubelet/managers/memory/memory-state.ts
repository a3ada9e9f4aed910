// How much memory of each NUMA node is given away, to whom, and which nodes serve containers together. Pure. After
// pkg/kubelet/cm/memorymanager/state and policy_static.go.
import { errorMessage } from '../../../core/errors.ts';
import type { NumaNode } from '../../../host/cpu-topology.ts';

/** Bytes. */
export interface MemoryTable {
  readonly total: number;
  readonly systemReserved: number;
  readonly allocatable: number;
  readonly reserved: number;
  readonly free: number;
}

export interface NodeMemory {
  readonly numberOfAssignments: number;
  /** By type: `memory`, `hugepages-2Mi`. */
  readonly tables: ReadonlyMap<string, MemoryTable>;
  /** Nodes that serve containers together with this one, itself included; ascending. */
  readonly cells: readonly number[];
}

/** By node id. */
export type MachineMemory = ReadonlyMap<number, NodeMemory>;

/** As the state file has it. */
export interface Block {
  readonly numaAffinity: readonly number[];
  readonly type: string;
  readonly size: number;
}

/** By pod uid and container name. */
export type MemoryEntries = ReadonlyMap<string, ReadonlyMap<string, readonly Block[]>>;

/** Kept for the system, bytes, by node and type. */
export type ReservedMemory = ReadonlyMap<number, ReadonlyMap<string, number>>;

/** Nothing is given away. What huge pages take is no memory. */
export function emptyMachine(nodes: readonly NumaNode[], reserved: ReservedMemory): MachineMemory {
  return new Map(
    nodes.map((node) => {
      const kept = (type: string) => reserved.get(node.id)?.get(type) ?? 0;
      const huge = node.hugePages.map(({ pageBytes, count }) => [hugePageType(pageBytes), pageBytes * count] as const);
      const inPages = huge.reduce((sum, [, bytes]) => sum + bytes, 0);
      const tables = new Map(huge.map(([type, bytes]) => [type, unused(bytes, kept(type), bytes)]));
      tables.set('memory', unused(node.memoryBytes, kept('memory'), node.memoryBytes - inPages));
      return [node.id, { numberOfAssignments: 0, tables, cells: [node.id] }];
    }),
  );
}

function unused(total: number, systemReserved: number, usable: number): MemoryTable {
  const allocatable = Math.max(0, usable - systemReserved);
  return { total, systemReserved, allocatable, reserved: 0, free: allocatable };
}

/** 2097152 → `hugepages-2Mi`. */
export function hugePageType(bytes: number): string {
  const units = ['', 'Ki', 'Mi', 'Gi', 'Ti'];
  let [amount, unit] = [bytes, 0];
  while (amount >= 1024 && amount % 1024 === 0) [amount, unit] = [amount / 1024, unit + 1];
  return `hugepages-${amount}${units[unit]}`;
}

/** `block` is given away, but for `reused` bytes of it that the pod has already. */
export function taking(machine: MachineMemory, block: Block, reused = 0): MachineMemory {
  let missing = Math.max(0, block.size - reused);
  return changed(machine, block, (node, table) => {
    const part = Math.min(missing, table.free);
    missing -= part;
    return {
      numberOfAssignments: node.numberOfAssignments + 1,
      cells: block.numaAffinity,
      table: { ...table, reserved: table.reserved + part, free: table.free - part },
    };
  });
}

/** `block` is free again. */
export function releasing(machine: MachineMemory, block: Block): MachineMemory {
  let left = block.size;
  return changed(machine, block, (node, table, id) => {
    const part = Math.min(left, table.reserved);
    left -= part;
    const numberOfAssignments = node.numberOfAssignments - 1;
    return {
      numberOfAssignments,
      cells: numberOfAssignments === 0 ? [id] : node.cells,
      table: { ...table, reserved: table.reserved - part, free: table.free + part },
    };
  });
}

type Change = (
  node: NodeMemory,
  table: MemoryTable,
  id: number,
) => Pick<NodeMemory, 'numberOfAssignments' | 'cells'> & { readonly table: MemoryTable };

/** @throws {Error} for a block of what the machine does not have. */
function changed(machine: MachineMemory, block: Block, change: Change): MachineMemory {
  const next = new Map(machine);
  for (const id of block.numaAffinity) {
    const node = next.get(id);
    const table = node?.tables.get(block.type);
    if (node === undefined) throw new Error('the memory assignment uses the NUMA that does not exist');
    if (table === undefined) throw new Error('the memory assignment uses memory resource that does not exist');
    const { table: after, ...rest } = change(node, table, id);
    next.set(id, { ...rest, tables: new Map(node.tables).set(block.type, after) });
  }
  return next;
}

/**
 * Why what was read does not describe this machine, with what is kept of it now; undefined when it does.
 * Nodes that serve containers together are compared together: which of them gave how much depends on the order.
 */
export function machineFault(stored: MachineMemory, entries: MemoryEntries, empty: MachineMemory): string | undefined {
  let expected = empty;
  for (const [uid, containers] of entries) {
    for (const [name, blocks] of containers) {
      try {
        for (const block of blocks) expected = taking(expected, block);
      } catch (err) {
        return `(pod: ${uid}, container: ${name}) ${errorMessage(err)}`;
      }
    }
  }
  return describe(stored) === describe(expected)
    ? undefined
    : '[memorymanager] the expected machine state is different from the real one';
}

/** What has to be equal, as a text. */
function describe(machine: MachineMemory): string {
  const sumOf = (cells: readonly number[], type: string, what: 'free' | 'reserved') =>
    cells.reduce((sum, id) => sum + (machine.get(id)?.tables.get(type)?.[what] ?? 0), 0);
  const nodes = [...machine].map(([id, { numberOfAssignments, tables, cells }]) => {
    const lines = [...tables].map(([type, { total, systemReserved, allocatable }]) =>
      [type, total, systemReserved, allocatable, sumOf(cells, type, 'free'), sumOf(cells, type, 'reserved')].join(' '),
    );
    return [id, numberOfAssignments, [...cells].sort((a, b) => a - b), ...lines.sort()].join('\n');
  });
  return nodes.sort().join('\n\n');
}
