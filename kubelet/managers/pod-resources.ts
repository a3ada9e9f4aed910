// The managers of a node's exclusive resources, as the admission of pods and the making of containers see them: as one.
// Pods that ask for nothing exclusive cost nothing here. After pkg/kubelet/cm/container_manager_linux.go
// (resourceAllocator, GetResources) and internal_container_lifecycle_linux.go.
import type { Container, Pod } from '../../api/pod.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { mergeGrants } from './grants.ts';
import type { AllocationRefusal, ContainerGrant, ResourceManager, TopologyHint } from './hint-provider.ts';

/** What the dispatch of pods needs of it. */
export interface PodResourceAdmission {
  /** Whether anything has to be allocated for the pod. */
  concerns(pod: Pod): boolean;
  /** Resolves when it makes sense to admit the pod; undefined: now. Never rejects. */
  awaited?(pod: Pod): Promise<void> | undefined;
  /** Allocates everything for the pod, or nothing. Never rejects. One pod at a time. */
  admit(pod: Pod): Promise<AllocationRefusal | undefined>;
  /** Pods that are not among `uids` hold nothing any more. */
  retain(uids: ReadonlySet<string>): void;
  forget(podUid: string): void;
  /** Of resources that the node tells as allocatable: what pods hold. */
  heldAmounts(): ReadonlyMap<string, number>;
}

/** Decides where on the node a pod's resources are taken from. */
export interface TopologyAligner {
  /** Every pod is asked about, also one that asks for nothing: it is counted. */
  readonly asksAll?: boolean;
  admit(
    pod: Pod,
    managers: readonly ResourceManager[],
    allocate: (container: Container, hint: TopologyHint) => Promise<AllocationRefusal | undefined>,
  ): Promise<AllocationRefusal | undefined>;
}

/** No manager prefers any place. */
const ANYWHERE: TopologyHint = Object.freeze({ nodes: undefined, preferred: false });

/** Without a topology manager: everything is taken from where it is free. */
const UNALIGNED: TopologyAligner = {
  async admit(pod, _managers, allocate) {
    for (const container of admittedContainers(pod)) {
      const refusal = await allocate(container, ANYWHERE);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  },
};

export class PodResources implements PodResourceAdmission {
  readonly #managers: readonly ResourceManager[];
  readonly #aligner: TopologyAligner;
  readonly #log: Logger;

  /** `managers`: in the order in which they are asked. */
  constructor(
    managers: readonly ResourceManager[],
    deps: { readonly aligner?: TopologyAligner | undefined; readonly log: Logger },
  ) {
    this.#managers = managers;
    this.#aligner = deps.aligner ?? UNALIGNED;
    this.#log = deps.log.child({ component: 'resources' });
  }

  concerns(pod: Pod): boolean {
    return this.#aligner.asksAll === true || this.#managers.some((manager) => manager.concerns(pod));
  }

  awaited(pod: Pod): Promise<void> | undefined {
    const waits = this.#managers.map((manager) => manager.awaited?.(pod)).filter((wait) => wait !== undefined);
    return waits.length === 0 ? undefined : Promise.all(waits).then(() => {});
  }

  async admit(pod: Pod): Promise<AllocationRefusal | undefined> {
    const allocate = (container: Container, hint: TopologyHint) => this.#allocate(pod, container, hint);
    let refusal: AllocationRefusal | undefined;
    try {
      refusal = await this.#aligner.admit(pod, this.#managers, allocate);
    } catch (err) {
      refusal = unexpected(err);
    }
    if (refusal !== undefined) {
      this.#log.warn({ podUid: pod.metadata?.uid, ...refusal }, 'resources not allocated');
      this.forget(pod.metadata?.uid ?? '');
    }
    return refusal;
  }

  /** What the container is made with, by all managers. @throws what a manager throws */
  async grant(pod: Pod, containerName: string): Promise<ContainerGrant | undefined> {
    const grants: ContainerGrant[] = [];
    for (const manager of this.#managers) {
      const grant = await manager.grant(pod, containerName);
      if (grant !== undefined) grants.push(grant);
    }
    return mergeGrants(grants);
  }

  retain(uids: ReadonlySet<string>): void {
    for (const manager of this.#managers) {
      for (const uid of [...manager.uids()]) if (!uids.has(uid)) manager.forget(uid);
    }
  }

  forget(podUid: string): void {
    for (const manager of this.#managers) manager.forget(podUid);
  }

  heldAmounts(): ReadonlyMap<string, number> {
    return new Map(this.#managers.flatMap((manager) => [...(manager.heldAmounts?.() ?? [])]));
  }

  async #allocate(pod: Pod, container: Container, hint: TopologyHint): Promise<AllocationRefusal | undefined> {
    for (const manager of this.#managers) {
      const refusal = await manager.allocate(pod, container, hint);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }
}

/** Init containers, then regular ones: those that resources are allocated for. */
export function admittedContainers(pod: Pod): Container[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
}

/** In upstream's words. */
function unexpected(err: unknown): AllocationRefusal {
  const message = `Allocate failed due to ${errorMessage(err)}, which is unexpected`;
  return { reason: 'UnexpectedAdmissionError', message };
}
