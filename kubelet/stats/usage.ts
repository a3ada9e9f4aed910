// What the node and its pods use now, for whoever decides by it (eviction). Nothing here is measured in advance: every
// call reads, but what is costly (sizes of directories, the runtime's figures) may be as old as the caller says.
import type { Pod } from '../../api/pod.ts';

export interface MemoryUse {
  /** Wall clock at which it was read, ms. */
  readonly atMs: number;
  readonly usageBytes: number;
  /** Usage without file pages that nobody has used for a while. */
  readonly workingSetBytes: number;
  /** What is left of the limit; of the node, of its memory. Undefined without a limit. */
  readonly availableBytes?: number;
  /** The limit, or the node's memory. */
  readonly capacityBytes?: number;
}

/** A whole file system. */
export interface FsUse {
  readonly atMs: number;
  readonly capacityBytes: number;
  /** For programs that are not root's. */
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
  readonly inodesUsed: number;
}

/** A part of a file system. */
export interface StorageUse {
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

export interface ImageFsUse {
  /** Where the runtime keeps images; `usedBytes` and `inodesUsed` are what the images take. */
  readonly imageFs: FsUse;
  /** Where it keeps writable layers: the same as `imageFs` unless the runtime tells them apart. */
  readonly containerFs: FsUse;
  /** `imageFs` is another file system than the node's root directory is on. */
  readonly isDedicated: boolean;
}

/** A pod's local ephemeral storage. Names are those of the pod's spec. */
export interface PodStorage {
  /** Wall clock of the oldest figure in it, ms. */
  readonly atMs: number;
  /** Writable layers of running containers. */
  readonly rootfs: ReadonlyMap<string, StorageUse>;
  readonly logs: ReadonlyMap<string, StorageUse>;
  /** Local volumes on disk and in memory alike; `inMemory` says which do not count as storage. */
  readonly volumes: ReadonlyMap<string, StorageUse>;
  readonly inMemory: ReadonlySet<string>;
  /** Layers, logs, volumes on disk, the hosts file. */
  readonly total: StorageUse;
}

export interface UsageSource {
  /** The whole node: limit and available are of its memory. */
  nodeMemory(): MemoryUse;
  /** All pods together, against what they may use. Undefined where the agent makes no cgroup for them. */
  allPodsMemory(): MemoryUse | undefined;
  /** The pod's cgroup: containers, sandbox and files in memory. Undefined when it is not there (any more). */
  podMemory(pod: Pod): MemoryUse | undefined;
  /** Working sets of the pod's running containers, bytes by name; those that are gone are left out. */
  containerMemory(pod: Pod): ReadonlyMap<string, number>;
  /** Processes of the pod's containers; undefined when its cgroup is not there. */
  podProcesses(pod: Pod): number | undefined;
  /** Processes of the node, and how many there can be. */
  nodeProcesses(): { readonly atMs: number; readonly max: number; readonly current: number };
  /** The file system of the agent's root directory. @throws when it cannot be asked. */
  nodeFs(): Promise<FsUse>;
  /** Figures of the runtime are at most `maxAgeMs` old. @throws when the runtime does not say. */
  imageFs(maxAgeMs: number): Promise<ImageFsUse>;
  /**
   * By pod uid, each at most `maxAgeMs` old; what is older is measured anew, together. A pod whose directories cannot
   * be read is left out.
   */
  podStorage(pods: readonly Pod[], maxAgeMs: number): Promise<ReadonlyMap<string, PodStorage>>;
}
