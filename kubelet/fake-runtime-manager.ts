// A container runtime in memory behind the RuntimeManager seam, for tests of the pod pipeline. It decides with the real
// computeActions and behaves: sandboxes have addresses, containers run until a test ends them, and every change is told
// as an event, the way containerd's own stream does (no pod uid).
import type { Pod } from '../api/pod.ts';
import type { Clock } from '../core/clock.ts';
import type { PodSandboxStatus } from '../cri/gen/messages.ts';
import type { RuntimeEvent } from '../cri/runtime-service.ts';
import type { ActuatedResources } from './resize/allocations.ts';
import { computeActions } from './runtime/compute-actions.ts';
import { fakeContainer, fakeSandbox } from './runtime/fake-pod-status.ts';
import { type ComputeActionsInput, isNothing, type PodActions } from './runtime/pod-actions.ts';
import type { PodRuntimeStatus, RuntimeContainer, RuntimePod } from './runtime/pod-runtime-status.ts';
import type {
  KillPodInput,
  PodSyncResult,
  ReadStatusOptions,
  RuntimeManager,
  SyncPodInput,
} from './runtime/runtime-manager.ts';

interface FakePod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  sandboxes: PodSandboxStatus[];
  containers: RuntimeContainer[];
}

type Call = 'listPods' | 'getPodStatus' | 'syncPod' | 'killPod' | 'collectGarbage' | 'removePod';

export class FakeRuntimeManager implements RuntimeManager {
  /** Every call as `killPod u1`, oldest first. */
  readonly calls: string[] = [];
  readonly kills: { readonly uid: string; readonly graceSeconds: number | undefined }[] = [];
  /** Containers that could not be started, by name. */
  readonly startFailures = new Map<string, { reason: string; message: string; retryAtMs?: number }>();
  /** Containers, by name, whose next process has ended with this code before anybody can look. */
  readonly endsAtOnce = new Map<string, number>();
  /** While set, killPod waits for it or for its signal. */
  killGate: Promise<void> | undefined;
  /** While set, syncPod waits for it before doing anything. */
  syncGate: Promise<void> | undefined;
  /** While set, getPodStatus waits for it after it has looked. */
  statusGate: Promise<void> | undefined;
  /** What killed containers exit with. */
  stopExitCode = 0;
  /** Where it is noted what containers use; without it none is resized. */
  actuated: ActuatedResources | undefined;
  /** As garbage collection was told last. */
  mayRemoveAll: ((podUid: string) => boolean) | undefined;
  /** Why running containers cannot be resized. */
  resizeError: string | undefined;
  readonly #pods = new Map<string, FakePod>();
  readonly #clock: Clock;
  #faults: { readonly call: Call; readonly error: Error }[] = [];
  #ids = 0;
  #onEvent: ((event: RuntimeEvent) => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  failNext(call: Call, error: Error): void {
    this.#faults.push({ call, error });
  }

  countCalls(call: Call): number {
    return this.calls.filter((c) => c === call || c.startsWith(`${call} `)).length;
  }

  /** A pod as an earlier agent left it: one ready sandbox and `containers` running since `startedAtMs`. */
  adopt(pod: Pod, startedAtMs: number): void {
    const fake = this.#podOf(pod);
    const sandbox = this.#newSandbox(fake, 0);
    for (const c of pod.spec?.containers ?? [])
      this.#startContainer(fake, sandbox.id, c.name, c.image ?? '', startedAtMs);
  }

  /** A container's process ends by itself. */
  exit(uid: string, container: string, exitCode: number): void {
    const fake = this.#pods.get(uid)!;
    const running = fake.containers.find((c) => c.name === container && c.state === 'running');
    if (running !== undefined) this.#end(fake, running, exitCode);
  }

  containersOf(uid: string): readonly RuntimeContainer[] {
    return this.#pods.get(uid)?.containers ?? [];
  }

  isKnown(uid: string): boolean {
    return this.#pods.has(uid);
  }

  /** The event stream; `breakStream` ends it with an error. */
  async *events(signal: AbortSignal, onConnected: () => void): AsyncGenerator<RuntimeEvent> {
    const queue: RuntimeEvent[] = [];
    let wake = Promise.withResolvers<void>();
    let broken: Error | undefined;
    this.#onEvent = (event) => {
      queue.push(event);
      wake.resolve();
    };
    this.breakStream = (error) => {
      broken = error;
      wake.resolve();
    };
    signal.addEventListener('abort', () => wake.resolve(), { once: true });
    onConnected();
    try {
      while (!signal.aborted) {
        while (queue.length > 0) yield queue.shift()!;
        if (broken !== undefined) throw broken;
        if (signal.aborted) return;
        await wake.promise;
        wake = Promise.withResolvers();
      }
    } finally {
      this.#onEvent = undefined;
    }
  }

  breakStream: (error: Error) => void = () => {};

  /** Sends an event as it stands, e.g. a late or doubled one. */
  emit(event: RuntimeEvent): void {
    this.#onEvent?.(event);
  }

  async listPods(): Promise<RuntimePod[]> {
    this.#begin('listPods');
    return [...this.#pods.values()].map((p) => ({
      uid: p.uid,
      name: p.name,
      namespace: p.namespace,
      sandboxes: p.sandboxes.map((s) => ({ id: s.id, ready: s.state === 'SANDBOX_READY', createdAtMs: 0 })),
      containers: p.containers.map(({ id, name, sandboxId, state, createdAtMs }) => ({
        id,
        name,
        sandboxId,
        state,
        createdAtMs,
      })),
    }));
  }

  async getPodStatus(
    uid: string,
    name: string,
    namespace: string,
    { onlyAdded = false }: ReadStatusOptions = {},
  ): Promise<PodRuntimeStatus> {
    this.#begin('getPodStatus', onlyAdded ? `${uid} onlyAdded` : uid);
    const fake = this.#pods.get(uid);
    const ready = fake?.sandboxes.find((s) => s.state === 'SANDBOX_READY');
    const status = {
      uid,
      name,
      namespace,
      ips: ready?.network === undefined ? [] : [ready.network.ip],
      sandboxes: [...(fake?.sandboxes ?? [])],
      containers: [...(fake?.containers ?? [])],
      observedAtMs: this.#clock.monotonicMs(),
    };
    await this.statusGate;
    return status;
  }

  memoryRanOut(containerId: string): void {
    this.calls.push(`memoryRanOut ${containerId}`);
  }

  async syncPod(input: SyncPodInput): Promise<PodSyncResult> {
    const uid = input.pod.metadata?.uid ?? '';
    const started: string[] = [];
    const failures: PodSyncResult['failures'][number][] = [];
    let changed = false;
    let onlyAdded = false;
    try {
      this.#begin('syncPod', uid);
      await this.syncGate;
      const actions = this.#actions(input);
      const fake = this.#podOf(input.pod);
      if (actions.killPod) changed = this.#stopAll(fake) || changed;
      for (const { container } of actions.containersToKill) changed = this.#end(fake, container, 137) || changed;
      onlyAdded = !changed && actions.containersToResize.length === 0;
      let sandboxId = actions.sandboxId;
      if (actions.createSandbox) {
        const sandbox = this.#newSandbox(fake, actions.attempt);
        sandboxId = sandbox.id;
        changed = true;
        input.onSandboxReady([sandbox.network!.ip]);
      }
      for (const { container } of this.resizeError === undefined ? actions.containersToResize : []) {
        this.actuated?.setContainer(uid, container.name, container.resources ?? {});
        changed = true;
      }
      await input.mountVolumes?.();
      for (const c of [...actions.initContainersToStart, ...actions.containersToStart]) {
        const failure = this.startFailures.get(c.name);
        if (failure !== undefined) {
          failures.push({ container: c.name, ...failure });
          continue;
        }
        this.#startContainer(fake, sandboxId, c.name, c.image ?? '', this.#clock.now());
        this.actuated?.setContainer(uid, c.name, c.resources ?? {});
        started.push(c.name);
        changed = true;
      }
    } catch (err) {
      return { changed, onlyAdded, started, failures, error: err as Error };
    }
    const { resizeError } = this;
    return { changed, onlyAdded, started, failures, ...(resizeError === undefined ? {} : { resizeError }) };
  }

  isSettled(input: ComputeActionsInput): boolean {
    return isNothing(this.#actions(input));
  }

  #actions(input: ComputeActionsInput): PodActions {
    return computeActions(this.actuated === undefined ? input : { ...input, resources: this.actuated });
  }

  async killPod({ pod, status, graceOverrideSeconds, signal }: KillPodInput): Promise<void> {
    this.#begin('killPod', status.uid);
    this.kills.push({ uid: pod?.metadata?.uid ?? status.uid, graceSeconds: graceOverrideSeconds });
    if (this.killGate !== undefined) {
      const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await Promise.race([this.killGate, stopped]);
      signal.throwIfAborted();
    }
    const fake = this.#pods.get(status.uid);
    if (fake !== undefined) this.#stopAll(fake);
  }

  async collectGarbage(opts: { mayRemoveAll(podUid: string): boolean }): Promise<void> {
    this.#begin('collectGarbage');
    this.mayRemoveAll = opts.mayRemoveAll;
  }

  async removePod(uid: string): Promise<void> {
    this.#begin('removePod', uid);
    this.#pods.delete(uid);
  }

  #begin(call: Call, uid?: string): void {
    this.calls.push(uid === undefined ? call : `${call} ${uid}`);
    const fault = this.#faults.find((f) => f.call === call);
    if (fault === undefined) return;
    this.#faults = this.#faults.filter((f) => f !== fault);
    throw fault.error;
  }

  #podOf(pod: Pod): FakePod {
    const { uid = '', name = '', namespace = '' } = pod.metadata ?? {};
    let fake = this.#pods.get(uid);
    if (fake === undefined) {
      fake = { uid, name, namespace, sandboxes: [], containers: [] };
      this.#pods.set(uid, fake);
    }
    return fake;
  }

  #newSandbox(fake: FakePod, attempt: number): PodSandboxStatus {
    const id = `sandbox-${++this.#ids}`;
    const sandbox = fakeSandbox({ id, attempt, network: { ip: `10.244.1.${this.#ids}`, additionalIps: [] } });
    fake.sandboxes.unshift(sandbox);
    this.emit({ type: 'created', containerId: id });
    this.emit({ type: 'started', containerId: id });
    return sandbox;
  }

  #startContainer(fake: FakePod, sandboxId: string, name: string, image: string, startedAtMs: number): void {
    const id = `container-${++this.#ids}`;
    const restartCount = fake.containers.filter((c) => c.name === name).length;
    fake.containers.unshift(
      fakeContainer({ id, name, image, sandboxId, restartCount, createdAtMs: startedAtMs, startedAtMs }),
    );
    this.emit({ type: 'created', containerId: id });
    this.emit({ type: 'started', containerId: id });
    const exitCode = this.endsAtOnce.get(name);
    if (!this.endsAtOnce.delete(name)) return;
    this.#end(fake, fake.containers[0]!, exitCode!);
  }

  /** True when it ran. */
  #end(fake: FakePod, container: RuntimeContainer, exitCode: number): boolean {
    const at = fake.containers.findIndex((c) => c.id === container.id);
    if (at < 0 || fake.containers[at]!.state === 'exited') return false;
    const reason = exitCode === 0 ? 'Completed' : 'Error';
    const finishedAtMs = this.#clock.now();
    fake.containers[at] = { ...fake.containers[at]!, state: 'exited', exitCode, reason, finishedAtMs };
    this.emit({ type: 'stopped', containerId: container.id, exitCode });
    return true;
  }

  #stopAll(fake: FakePod): boolean {
    let changed = false;
    for (const c of fake.containers) changed = this.#end(fake, c, this.stopExitCode) || changed;
    fake.sandboxes = fake.sandboxes.map((s) => {
      if (s.state !== 'SANDBOX_READY') return s;
      changed = true;
      this.emit({ type: 'stopped', containerId: s.id });
      return { ...s, state: 'SANDBOX_NOTREADY' };
    });
    return changed;
  }
}
