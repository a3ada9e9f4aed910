// What can run short on a node, and what the shortage is called: the resource in messages, the condition of the Node,
// the node's own ways out. After pkg/kubelet/eviction/helpers.go and defaults_linux.go.

const SIGNALS = [
  'memory.available',
  'allocatableMemory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'containerfs.available',
  'containerfs.inodesFree',
  'pid.available',
] as const;

export type Signal = (typeof SIGNALS)[number];
export type PressureCondition = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';
export type StarvedResource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids';

export function isSignal(name: string): name is Signal {
  return (SIGNALS as readonly string[]).includes(name);
}

export function resourceOf(signal: Signal): StarvedResource {
  if (signal === 'pid.available') return 'pids';
  if (isMemory(signal)) return 'memory';
  return signal.endsWith('.inodesFree') ? 'inodes' : 'ephemeral-storage';
}

export function conditionOf(signal: Signal): PressureCondition {
  if (signal === 'pid.available') return 'PIDPressure';
  return isMemory(signal) ? 'MemoryPressure' : 'DiskPressure';
}

export function isMemory(signal: Signal): boolean {
  return signal === 'memory.available' || signal === 'allocatableMemory.available';
}

/** What of a pod lies on a file system. */
export type StoragePart = 'rootfs' | 'logs' | 'volumes';

/** What the node can give up before a pod has to go. */
export type NodeReclaim = 'dead-containers' | 'unused-images';

const BOTH: readonly NodeReclaim[] = ['dead-containers', 'unused-images'];

/** In the order in which they are tried. With images on a disk of their own nothing but pods can free the other one. */
export function nodeReclaims(signal: Signal, hasImageFs: boolean): readonly NodeReclaim[] {
  if (conditionOf(signal) !== 'DiskPressure') return [];
  return hasImageFs && signal.startsWith('nodefs.') ? [] : BOTH;
}

/** What counts when pods are ranked for a signal about a file system. */
export function storageParts(signal: Signal, hasImageFs: boolean): readonly StoragePart[] {
  if (!hasImageFs) return ['rootfs', 'logs', 'volumes'];
  return signal.startsWith('nodefs.') ? ['logs', 'volumes'] : ['rootfs'];
}
