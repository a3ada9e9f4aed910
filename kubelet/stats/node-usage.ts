// What the node and its pods use, read when asked (usage.ts).
import type { Pod } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errnoOf } from '../../core/errors.ts';
import type { ImageService } from '../../cri/runtime-service.ts';
import type { CgroupReader, CgroupSource } from '../../host/cgroup-stats.ts';
import { deviceOf, fileSystemFigures } from '../../host/file-system-use.ts';
import { processCounts } from '../../host/process-facts.ts';
import { aged } from './aged.ts';
import type { StorageMeter } from './storage-meter.ts';
import type { PodTarget } from './targets.ts';
import type { FsUse, ImageFsUse, MemoryUse, PodStorage, UsageSource } from './usage.ts';

export interface NodeUsageOptions {
  readonly rootDir: string;
  readonly memoryBytes: number;
  /** The cgroup of all pods. */
  readonly podsCgroup: string;
}

export interface NodeUsageDeps {
  readonly source: CgroupSource;
  readonly images: Pick<ImageService, 'imageFsInfo'>;
  readonly storage: StorageMeter;
  readonly targets: () => readonly PodTarget[];
  readonly cgroupParentOf: (pod: Pod) => string;
  readonly clock: Clock;
}

export class NodeUsage implements UsageSource {
  readonly #opts: NodeUsageOptions;
  readonly #deps: NodeUsageDeps;
  readonly imageFs: (maxAgeMs: number) => Promise<ImageFsUse>;

  constructor(opts: NodeUsageOptions, deps: NodeUsageDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.imageFs = aged(() => this.#askImageFs(), deps);
  }

  nodeMemory(): MemoryUse {
    const root = this.#deps.source.open('/');
    if (root === undefined) throw new AgentError('the root cgroup cannot be read', { code: 'CGROUP_MISSING' });
    return this.#memoryOf(root, this.#opts.memoryBytes);
  }

  allPodsMemory(): MemoryUse | undefined {
    return this.#groupMemory(this.#opts.podsCgroup);
  }

  podMemory(pod: Pod): MemoryUse | undefined {
    return this.#groupMemory(this.#deps.cgroupParentOf(pod));
  }

  podProcesses(pod: Pod): number | undefined {
    const { source } = this.#deps;
    const target = this.#targetOf(pod);
    if (target === undefined) return undefined;
    let count = 0;
    for (const { cgroups } of target.containers) {
      for (const name of cgroups) count += whileThere(() => source.open(name)?.pids().length) ?? 0;
    }
    return count;
  }

  /** Working sets of the pod's running containers by name, bytes. */
  containerMemory(pod: Pod): ReadonlyMap<string, number> {
    const found = new Map<string, number>();
    for (const { name, cgroups } of this.#targetOf(pod)?.containers ?? []) {
      for (const cgroup of cgroups) {
        const use = this.#groupMemory(cgroup);
        if (use !== undefined) found.set(name, use.workingSetBytes);
      }
    }
    return found;
  }

  nodeProcesses(): { atMs: number; max: number; current: number } {
    return { atMs: this.#deps.clock.now(), ...processCounts() };
  }

  async nodeFs(): Promise<FsUse> {
    return { atMs: this.#deps.clock.now(), ...(await fileSystemFigures(this.#opts.rootDir)) };
  }

  async podStorage(pods: readonly Pod[], maxAgeMs: number): Promise<ReadonlyMap<string, PodStorage>> {
    const { storage, targets } = this.#deps;
    const all = targets();
    storage.forgetAllBut(new Set(all.map((t) => t.uid)));
    const wanted = new Set(pods.map((p) => p.metadata?.uid));
    const asked = all.filter((t) => wanted.has(t.uid));
    return await storage.podStorage(asked, maxAgeMs);
  }

  #targetOf(pod: Pod): PodTarget | undefined {
    return this.#deps.targets().find((t) => t.uid === pod.metadata?.uid);
  }

  async #askImageFs(): Promise<ImageFsUse> {
    const { image, container } = await this.#deps.images.imageFsInfo();
    const imageFs = await this.#fsOf(image[0]);
    if (imageFs === undefined) {
      throw new AgentError('the runtime names no file system of images', { code: 'IMAGE_FS_UNKNOWN', retryable: true });
    }
    const [own, dir] = [await deviceOf(this.#opts.rootDir), image[0]?.fsId?.mountpoint ?? ''];
    const containerFs = (await this.#fsOf(container[0])) ?? imageFs;
    return { imageFs, containerFs, isDedicated: (await deviceOf(dir)) !== own };
  }

  async #fsOf(usage: Awaited<ReturnType<ImageService['imageFsInfo']>>['image'][number] | undefined) {
    const mountpoint = usage?.fsId?.mountpoint;
    if (usage === undefined || mountpoint === undefined || mountpoint === '') return undefined;
    const whole = await fileSystemFigures(mountpoint);
    return {
      atMs: this.#deps.clock.now(),
      ...whole,
      usedBytes: usage.usedBytes?.value ?? whole.usedBytes,
      inodesUsed: usage.inodesUsed?.value ?? whole.inodesUsed,
    };
  }

  #groupMemory(name: string): MemoryUse | undefined {
    if (name === '') return undefined;
    return whileThere(() => {
      const group = this.#deps.source.open(name);
      return group && this.#memoryOf(group, group.spec().memoryLimitBytes);
    });
  }

  #memoryOf(group: CgroupReader, capacityBytes: number | undefined): MemoryUse {
    const { usageBytes, workingSetBytes } = group.use().memory;
    const limits =
      capacityBytes === undefined
        ? {}
        : { capacityBytes, availableBytes: Math.max(0, capacityBytes - workingSetBytes) };
    return { atMs: this.#deps.clock.now(), usageBytes, workingSetBytes, ...limits };
  }
}

/** A group may go between two reads. */
function whileThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ENODEV') return undefined;
    throw err;
  }
}
