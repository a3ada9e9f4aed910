// What each pod was given of the node (allocated), and what its containers were made to use (actuated). Between the two
// lies a resize that is under way. Both are kept on disk; writing follows a change within a moment. Only the first start
// of containers, and resizing, wait for it. After pkg/kubelet/allocation/allocation_manager.go and the actuated state of pkg/kubelet/kuberuntime.
import path from 'node:path';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { aborted } from '../../core/abort.ts';
import { type Clock, MAX_TIMER_MS } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { SyncRunner } from '../../core/sync-runner.ts';
import { allocationOf, allocationShown, differs, type PodAllocation, withAllocation } from './pod-allocation.ts';
import { ResourceCheckpoint } from './resource-checkpoint.ts';

/** What containers were made to use, as those see it who make them. */
export interface ActuatedResources {
  /** Undefined for a container that nothing is known of. */
  container(podUid: string, name: string): ResourceRequirements | undefined;
  pod(podUid: string): ResourceRequirements | undefined;
  setContainer(podUid: string, name: string, resources: ResourceRequirements): void;
  setPod(podUid: string, resources: ResourceRequirements): void;
  /** Resolves when all that was set is on disk. */
  save(): Promise<void>;
}

/** Many changes make one write, which comes when a pod that starts is ready: it is in nobody's way. */
const FOLD_MS = 1_000;
const RETRY_MS = 5_000;

export class Allocations implements ActuatedResources {
  readonly #allocated: ResourceCheckpoint;
  readonly #actuated: ResourceCheckpoint;
  readonly #writer: SyncRunner;

  /** `rootDir`: where the checkpoints are; in memory alone without. */
  constructor(rootDir: string | undefined, deps: { readonly clock: Clock; readonly log: Logger }) {
    const log = deps.log.child({ component: 'allocations' });
    const file = (name: string) => (rootDir === undefined ? undefined : path.join(rootDir, name));
    this.#allocated = new ResourceCheckpoint(file('allocated_pods_state'), { log });
    this.#actuated = new ResourceCheckpoint(file('actuated_pods_state'), { log });
    this.#writer = new SyncRunner(
      async (signal) => {
        await deps.clock.sleep(FOLD_MS, signal);
        await this.save();
      },
      { name: 'allocations', minIntervalMs: 0, retryIntervalMs: RETRY_MS, maxIntervalMs: MAX_TIMER_MS },
      { clock: deps.clock, log },
    );
  }

  /** The pod as it was given its resources; as it is when it has been given none. */
  apply(pod: Pod): Pod {
    const allocation = this.#allocated.get(pod.metadata?.uid ?? '');
    return allocation === undefined ? pod : withAllocation(pod, allocation);
  }

  isAllocated(podUid: string): boolean {
    return this.#allocated.get(podUid) !== undefined;
  }

  /** The pod asks for something else than it was given. */
  isResizeWanted(pod: Pod): boolean {
    const allocation = this.#allocated.get(pod.metadata?.uid ?? '');
    return allocation !== undefined && differs(pod, allocation);
  }

  /** Gives the pod what its spec says. */
  allocate(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const before = this.#allocated.get(uid);
    if (before !== undefined && !differs(pod, before)) return;
    this.#allocated.set(uid, allocationOf(pod));
    this.#writer.request();
  }

  /** Of a pod that nothing is known of here, by what its status says, e.g. after the loss of the files. */
  restore(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const shown = this.isAllocated(uid) ? undefined : allocationShown(pod);
    if (shown === undefined) return;
    this.#allocated.set(uid, shown);
    this.#writer.request();
  }

  /** Resolves when what pods were given is on disk. @throws what writing throws; it will be tried again. */
  async saveAllocated(): Promise<void> {
    await this.#allocated.save();
  }

  container(podUid: string, name: string): ResourceRequirements | undefined {
    return this.#actuated.get(podUid)?.containers.get(name);
  }

  pod(podUid: string): ResourceRequirements | undefined {
    return this.#actuated.get(podUid)?.pod;
  }

  setContainer(podUid: string, name: string, resources: ResourceRequirements): void {
    const before = this.#actuated.get(podUid);
    if (before?.containers.get(name) === resources) return;
    this.#setActuated(podUid, { ...before, containers: new Map(before?.containers).set(name, resources) });
  }

  setPod(podUid: string, resources: ResourceRequirements): void {
    const before = this.#actuated.get(podUid);
    if (before?.pod !== resources) this.#setActuated(podUid, { containers: new Map(), ...before, pod: resources });
  }

  forget(podUid: string): void {
    this.#allocated.delete(podUid);
    this.#actuated.delete(podUid);
  }

  /** Pods of which anything is known. */
  uids(): string[] {
    return [...new Set([...this.#allocated.uids(), ...this.#actuated.uids()])];
  }

  async save(): Promise<void> {
    await Promise.all([this.#allocated.save(), this.#actuated.save()]);
  }

  /** Writes until `signal` aborts, and what is left then. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#writer.run(signal), aborted(signal)]);
    await this.save();
  }

  #setActuated(podUid: string, allocation: PodAllocation): void {
    this.#actuated.set(podUid, allocation);
    this.#writer.request();
  }
}
