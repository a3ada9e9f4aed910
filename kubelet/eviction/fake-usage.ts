// A node whose use of memory, disk and processes a test sets; pods by uid.
import type { Pod } from '../../api/pod.ts';
import type { FsUse, MemoryUse, PodStorage, StorageUse, UsageSource } from '../stats/usage.ts';

const GIB = 2 ** 30;

export function fsOf(availableBytes: number, more: Partial<FsUse> = {}): FsUse {
  const [inodes, inodesFree] = [more.inodes ?? 1000, more.inodesFree ?? 900];
  return {
    atMs: 0,
    capacityBytes: 10 * GIB,
    availableBytes,
    usedBytes: 10 * GIB - availableBytes,
    inodes,
    inodesFree,
    inodesUsed: inodes - inodesFree,
    ...more,
  };
}

export function storageOf(
  parts: {
    readonly [part in 'rootfs' | 'logs' | 'volumes']?: Readonly<Record<string, number>>;
  },
  inMemory: readonly string[] = [],
): PodStorage {
  const uses = (of: Readonly<Record<string, number>> = {}) =>
    new Map(
      Object.entries(of).map(([name, usedBytes]): [string, StorageUse] => [name, { usedBytes, inodesUsed: usedBytes }]),
    );
  const [rootfs, logs, volumes] = [uses(parts.rootfs), uses(parts.logs), uses(parts.volumes)];
  const onDisk = [...rootfs, ...logs, ...[...volumes].filter(([name]) => !inMemory.includes(name))];
  const usedBytes = onDisk.reduce((sum, [, use]) => sum + use.usedBytes, 0);
  return { atMs: 0, rootfs, logs, volumes, inMemory: new Set(inMemory), total: { usedBytes, inodesUsed: usedBytes } };
}

export class FakeUsage implements UsageSource {
  availableBytes = 4 * GIB;
  allPods: MemoryUse | undefined;
  processes = { max: 1000, current: 100 };
  node = fsOf(8 * GIB);
  images = { fs: fsOf(8 * GIB), isDedicated: false };
  /** What a read throws, by method. */
  readonly failing = new Map<keyof UsageSource, Error>();
  readonly memory = new Map<string, number>();
  readonly containers = new Map<string, ReadonlyMap<string, number>>();
  readonly processesOf = new Map<string, number>();
  readonly storage = new Map<string, PodStorage>();

  nodeMemory(): MemoryUse {
    this.#mayFail('nodeMemory');
    return memoryOf(8 * GIB - this.availableBytes, 8 * GIB);
  }

  allPodsMemory(): MemoryUse | undefined {
    return this.allPods;
  }

  podMemory(pod: Pod): MemoryUse | undefined {
    const used = this.memory.get(pod.metadata?.uid ?? '');
    return used === undefined ? undefined : memoryOf(used);
  }

  containerMemory(pod: Pod): ReadonlyMap<string, number> {
    return this.containers.get(pod.metadata?.uid ?? '') ?? new Map();
  }

  podProcesses(pod: Pod): number | undefined {
    return this.processesOf.get(pod.metadata?.uid ?? '');
  }

  nodeProcesses() {
    return { atMs: 0, ...this.processes };
  }

  async nodeFs(): Promise<FsUse> {
    this.#mayFail('nodeFs');
    return this.node;
  }

  async imageFs() {
    this.#mayFail('imageFs');
    const { fs, isDedicated } = this.images;
    return { imageFs: fs, containerFs: fs, isDedicated };
  }

  async podStorage(pods: readonly Pod[]): Promise<ReadonlyMap<string, PodStorage>> {
    const wanted = new Set(pods.map((p) => p.metadata?.uid));
    return new Map([...this.storage].filter(([uid]) => wanted.has(uid)));
  }

  #mayFail(method: keyof UsageSource): void {
    const err = this.failing.get(method);
    if (err !== undefined) throw err;
  }
}

export function memoryOf(workingSetBytes: number, capacityBytes?: number): MemoryUse {
  const limit = capacityBytes === undefined ? {} : { capacityBytes, availableBytes: capacityBytes - workingSetBytes };
  return { atMs: 0, usageBytes: workingSetBytes, workingSetBytes, ...limit };
}
