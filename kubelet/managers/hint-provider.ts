// What a manager of a node's exclusive resources (CPUs, memory, devices) is to the admission of pods and to the making of
// containers. Managers say on which NUMA nodes they could serve a container; the topology manager merges what all of them
// say; then each allocates with the merged hint in mind. Types alone. After pkg/kubelet/cm/topologymanager HintProvider.
import type { Container, Pod } from '../../api/pod.ts';
import type { Device, Mount } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';

/** NUMA nodes: bit i stands for node i. */
export type NumaMask = bigint;

export interface TopologyHint {
  /** Undefined: any. */
  readonly nodes: NumaMask | undefined;
  /** The fewest nodes that could ever serve the request. */
  readonly preferred: boolean;
}

/**
 * By resource name (`cpu`, `memory`, `example.com/gpu`); a resource that is not asked for is left out. `any`: it does not
 * matter where; an empty list: it cannot be had on any nodes now.
 */
export type ResourceHints = ReadonlyMap<string, readonly TopologyHint[] | 'any'>;

/** Why a pod may not run here. */
export interface AllocationRefusal {
  /** `UnexpectedAdmissionError`, `TopologyAffinityError`, `SMTAlignmentError`, … */
  readonly reason: string;
  /** As told to users, complete. */
  readonly message: string;
}

/** What goes into a container's CRI configuration; later managers add to what earlier ones said. */
export interface ContainerGrant {
  /** E.g. `0-1,4`. */
  readonly cpusetCpus?: string;
  /** NUMA nodes of its memory, e.g. `0`. */
  readonly cpusetMems?: string;
  /** What the pod itself sets under the same name wins. */
  readonly envs?: readonly { readonly name: string; readonly value: string }[];
  readonly mounts?: readonly Init<Mount>[];
  readonly devices?: readonly Init<Device>[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** Qualified names such as `vendor.com/class=name`. */
  readonly cdiDevices?: readonly string[];
}

/**
 * A manager of one kind of resource. Calls about one pod never overlap, and no two pods are admitted at a time. Pods are as
 * allocated, not as wished for. What has been allocated must survive the process, also one killed right after `allocate`.
 */
export interface ResourceManager {
  /** For logs: `cpu`, `memory`, `devices`. */
  readonly name: string;

  /**
   * Whether the pod asks for anything that has to be allocated. One that no manager is concerned with is admitted at once.
   * Must be cheap, must not throw and must not change its mind while the pod lives.
   */
  concerns(pod: Pod): boolean;

  /**
   * Resolves when the pod can be asked about, where something that is about to come has to be awaited first: a plugin, which
   * may be a pod itself. Must not reject.
   */
  awaited?(pod: Pod): Promise<void> | undefined;

  /** Where `container` could be served now. Of what it was given before (the agent was started anew): there alone. */
  containerHints(pod: Pod, container: Container): ResourceHints;

  /** The same for all containers of the pod together (scope `pod`). */
  podHints(pod: Pod): ResourceHints;

  /**
   * Gives `container` what it asks for; resolves when that would survive the process. Called for init containers, then for
   * regular ones, in their order. Idempotent: what it was given before stays. Whatever is thrown refuses the pod with
   * `UnexpectedAdmissionError`: `Allocate failed due to <message>, which is unexpected`.
   */
  allocate(pod: Pod, container: Container, hint: TopologyHint): Promise<AllocationRefusal | undefined>;

  /**
   * Asked each time that a container is made, by its name and for every kind of container; undefined when there is
   * nothing to say. A failure is the container's `CreateContainerConfigError`.
   */
  grant(pod: Pod, containerName: string): ContainerGrant | undefined | Promise<ContainerGrant | undefined>;

  /** Of resources that the node tells as allocatable: what pods hold. The node is taken to have at least that. */
  heldAmounts?(): ReadonlyMap<string, number>;

  /** Pods that hold something. */
  uids(): Iterable<string>;

  /** The pod is over, gone, or was refused: what it held is free. Called twice it does nothing. Must not throw. */
  forget(podUid: string): void;
}

/** A part of memory, or huge pages, that a container was given. */
export interface MemoryBlock {
  /** `memory`, `hugepages-2Mi`. */
  readonly type: string;
  readonly sizeBytes: number;
  readonly numaNodes: readonly number[];
}

/** What the podresources API tells of the CPU manager. */
export interface CpuReport {
  /** Of the container alone; empty when it shares. Ascending. */
  exclusiveCpus(podUid: string, containerName: string): readonly number[];
  /** CPUs that containers may be given for themselves, free or not. Ascending. */
  allocatableCpus(): readonly number[];
}

/** What the podresources API tells of the memory manager. */
export interface MemoryReport {
  memoryOf(podUid: string, containerName: string): readonly MemoryBlock[];
  allocatableMemory(): readonly MemoryBlock[];
}
