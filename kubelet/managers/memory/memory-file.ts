// The file in which the memory manager keeps what it gave away. Pure. After pkg/kubelet/cm/memorymanager/state.
import { goChecksum, goMap, refuseOtherPolicy, sortedRecord } from '../state-file.ts';
import type { Block, MachineMemory, MemoryEntries, MemoryTable, NodeMemory } from './memory-state.ts';

export interface StoredMemory {
  readonly machine: MachineMemory;
  readonly entries: MemoryEntries;
}

/** The whole file. */
export function renderMemoryState(policy: string, { machine, entries }: StoredMemory): string {
  const machineState = Object.fromEntries(
    [...machine].map(([id, { numberOfAssignments, tables, cells }]) => [
      String(id),
      { numberOfAssignments, memoryMap: sortedRecord(tables, (table) => table), cells },
    ]),
  );
  return JSON.stringify({
    policyName: policy,
    machineState,
    ...(entries.size === 0 ? {} : { entries: sortedRecord(entries, (c) => sortedRecord(c, (blocks) => blocks)) }),
    checksum: checksumOf('MemoryManagerCheckpoint', policy, { machine, entries }),
  });
}

/** @throws {Error} saying what is wrong with the file */
export function parseMemoryState(text: string, policy: string): StoredMemory {
  const { policyName, machineState, entries, podEntries, checksum } = record(JSON.parse(text));
  if (typeof policyName !== 'string') throw new Error('checkpoint is corrupted');
  const stored: StoredMemory = { machine: parseMachine(machineState), entries: parseEntries(entries ?? {}) };
  if (Object.keys(record(podEntries ?? {})).length > 0) throw new Error('it holds memory of whole pods');
  const known = ['MemoryManagerCheckpoint', 'MemoryManagerCheckpointV1'].map((type) =>
    checksumOf(type, policyName, stored),
  );
  known.push(
    checksumOf('MemoryManagerCheckpoint', policyName, stored, ' PodEntries:(state.PodMemoryAssignments)map[]'),
  );
  if (checksum !== 0 && !known.includes(Number(checksum))) throw new Error('checkpoint is corrupted');
  refuseOtherPolicy(policy, policyName);
  return stored;
}

function parseMachine(value: unknown): MachineMemory {
  return new Map(
    Object.entries(record(value)).map(([id, node]): [number, NodeMemory] => {
      const { numberOfAssignments, memoryMap, cells } = record(node);
      const tables = Object.entries(record(memoryMap)).map(([type, table]) => [type, parseTable(table)] as const);
      return [
        integer(id),
        { numberOfAssignments: integer(numberOfAssignments), tables: new Map(tables), cells: list(cells).map(integer) },
      ];
    }),
  );
}

function parseTable(value: unknown): MemoryTable {
  const { total, systemReserved, allocatable, reserved, free } = record(value);
  return {
    total: integer(total),
    systemReserved: integer(systemReserved),
    allocatable: integer(allocatable),
    reserved: integer(reserved),
    free: integer(free),
  };
}

function parseEntries(value: unknown): MemoryEntries {
  return new Map(
    Object.entries(record(value)).map(([uid, containers]) => [
      uid,
      new Map(Object.entries(record(containers)).map(([name, blocks]) => [name, list(blocks).map(parseBlock)])),
    ]),
  );
}

function parseBlock(value: unknown): Block {
  const { numaAffinity, type, size } = record(value);
  if (typeof type !== 'string') throw new Error('checkpoint is corrupted');
  return { numaAffinity: list(numaAffinity).map(integer), type, size: integer(size) };
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('checkpoint is corrupted');
  return value as Readonly<Record<string, unknown>>;
}

/** An absent list is an empty one. */
function list(value: unknown): unknown[] {
  if (value !== undefined && value !== null && !Array.isArray(value)) throw new Error('checkpoint is corrupted');
  return value ?? [];
}

function integer(value: unknown): number {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value;
  if (!Number.isSafeInteger(number) || (number as number) < 0) throw new Error('checkpoint is corrupted');
  return number as number;
}

function checksumOf(type: string, policy: string, { machine, entries }: StoredMemory, more = ''): number {
  const nodes = [...machine].sort(([a], [b]) => a - b).map(([id, node]) => `${id}:${printNode(node)}`);
  const pods = [...entries].map(([uid, containers]): [string, string] => [
    uid,
    goMap([...containers].map(([name, blocks]) => [name, `[${blocks.map(printBlock).join(' ')}]`])),
  ]);
  return goChecksum(
    `(*state.${type}){PolicyName:(string)${policy} MachineState:(state.NUMANodeMap)map[${nodes.join(' ')}] ` +
      `Entries:(state.ContainerMemoryAssignments)${goMap(pods)}${more} Checksum:(checksum.Checksum)0}`,
  );
}

function printNode({ numberOfAssignments, tables, cells }: NodeMemory): string {
  const map = goMap([...tables].map(([type, table]) => [type, printTable(table)]));
  return (
    `<*>{NumberOfAssignments:(int)${numberOfAssignments} MemoryMap:(map[v1.ResourceName]*state.MemoryTable)${map} ` +
    `Cells:([]int)[${cells.join(' ')}]}`
  );
}

function printTable({ total, systemReserved, allocatable, reserved, free }: MemoryTable): string {
  const parts = { TotalMemSize: total, SystemReserved: systemReserved, Allocatable: allocatable, Reserved: reserved };
  const fields = Object.entries({ ...parts, Free: free }).map(([name, bytes]) => `${name}:(uint64)${bytes}`);
  return `<*>{${fields.join(' ')}}`;
}

function printBlock({ numaAffinity, type, size }: Block): string {
  return `{NUMAAffinity:([]int)[${numaAffinity.join(' ')}] Type:(v1.ResourceName)${type} Size:(uint64)${size}}`;
}
