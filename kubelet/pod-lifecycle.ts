// The work of a pod worker in each state: what is done for a pod that should run, for one that ends and for one that has
// ended. The order of the steps is the contract; each step is somebody else's. After pkg/kubelet/kubelet.go SyncPod,
// SyncTerminatingPod, SyncTerminatedPod.
import { formatTime } from '../api/meta.ts';
import {
  isTerminalPhase,
  type Pod,
  type PodStatus,
  podDescription,
  type ResourceStatus,
  type Volume,
} from '../api/pod.ts';
import { withClaimStatuses } from '../api/resource-claims.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import { linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError, errorMessage } from '../core/errors.ts';
import type { ProbeManager } from '../probes/probe-manager.ts';
import { type Rejection, rejectedStatus } from './admission.ts';
import type { PodClaims } from './dra/pod-claims.ts';
import { followEnds } from './ending-containers.ts';
import type { MirrorPods } from './mirror-pods.ts';
import type { PodCache, PodIdentity } from './pod-cache.ts';
import { isStaticPod } from './pod-manager.ts';
import { type PodLifecycle, RetrySoon, type SyncOutcome } from './pod-worker.ts';
import { identityOf, type WorkerState } from './pod-worker-state.ts';
import type { ReasonCache } from './reason-cache.ts';
import type { Allocations } from './resize/allocations.ts';
import type { ResizeConditions } from './resize/resize-conditions.ts';
import { isResizeInProgress } from './resize/resize-progress.ts';
import type { PodRuntimeStatus } from './runtime/pod-runtime-status.ts';
import { podReference } from './runtime/runtime-deps.ts';
import type { PodSyncResult, RuntimeManager } from './runtime/runtime-manager.ts';
import { activeDeadlineLeftMs, generateStatus } from './status/generate-status.ts';
import { afterMirror, statusOfMirror } from './status/mirror-status.ts';
import type { StatusWriter } from './status/status-writer.ts';
import type { VolumeManager } from './volumes/volume-manager.ts';

/** The cgroups of pods, where the agent makes them. */
export interface PodCgroups {
  /** Idempotent. While containers are being `resized` the limits of a group that is there are left alone. */
  ensurePodCgroup(pod: Pod, opts?: { readonly resizing: boolean }): Promise<void>;
  /** Ends what is left in it and removes it. Idempotent. */
  removePodCgroup(podUid: string): Promise<void>;
  /** Uids of all pods that have one. */
  listPodUids(): Promise<string[]>;
}

export interface PodLifecycleDeps {
  readonly runtime: Pick<RuntimeManager, 'syncPod' | 'isSettled' | 'killPod'>;
  readonly cache: PodCache;
  readonly volumes: Pick<VolumeManager, 'mountPod' | 'volumesOf' | 'unmountPod' | 'forgetPod'>;
  readonly probes: Pick<ProbeManager, 'addPod' | 'stopLivenessAndStartup' | 'removePod' | 'verdict' | 'hasProbe'>;
  readonly statuses: Pick<StatusWriter, 'get' | 'set' | 'finish'>;
  readonly reasons: ReasonCache;
  readonly allocations: Pick<Allocations, 'apply' | 'container' | 'pod' | 'setPod' | 'save' | 'saveAllocated'>;
  readonly resizeConditions: Pick<ResizeConditions, 'of' | 'observe' | 'failed' | 'forget'>;
  readonly events: EventRecorder;
  readonly cgroups?: PodCgroups;
  /** Of the devices that a container of a pod holds; undefined when it holds none. */
  readonly resourceHealth?: (pod: Pod, container: string) => ResourceStatus[] | undefined;
  readonly claims?: Pick<PodClaims, 'unprepare'>;
  readonly mirrors?: Pick<MirrorPods, 'request' | 'mirrorOf'>;
  readonly ensurePodDirs: (podUid: string) => Promise<void>;
  /** Why pods cannot get a network now, undefined when they can. */
  readonly networkError: () => string | undefined;
  /** The agent's termination of the pod has been requested since its work began. */
  readonly isTerminationRequested: (podUid: string) => boolean;
  readonly hostIps: () => readonly string[];
  readonly runtimeName: string;
  readonly agentStartedAtMs: number;
  readonly clock: Clock;
}

const NETWORK_RETRY_MS = 1000;
const STILL_RUNNING_RETRY_MS = 1000;

export class KubeletPodLifecycle implements PodLifecycle {
  readonly #deps: PodLifecycleDeps;

  constructor(deps: PodLifecycleDeps) {
    this.#deps = deps;
  }

  async syncPod(wanted: Pod, signal: AbortSignal): Promise<SyncOutcome> {
    try {
      return await this.#sync(wanted, signal);
    } catch (err) {
      if (!(err instanceof AgentError) || err.code !== 'VOLUME_ATTACHMENT_LIMIT') throw err;
      return this.#reject(wanted, { reason: 'VolumeAttachmentLimitExceeded', message: err.message });
    }
  }

  /** The node cannot have what the pod needs: the pod is over before it has run. */
  #reject(pod: Pod, rejection: Rejection): SyncOutcome {
    const { statuses, clock } = this.#deps;
    this.#event(pod, 'Warning', rejection.reason, rejection.message);
    statuses.set(pod, rejectedStatus(pod, rejection, clock.now()));
    return { podIsOver: true };
  }

  async #sync(wanted: Pod, signal: AbortSignal): Promise<SyncOutcome> {
    const runtime = await this.#freshStatus(wanted);
    const pod = this.#deps.allocations.apply(wanted);
    const resizing = this.#observeResize(pod, runtime);
    await this.#endForgotten(pod, runtime);
    const status = this.#storeStatus(pod, runtime, false);
    if (isTerminalPhase(status.phase)) {
      if (status.reason === 'DeadlineExceeded') this.#event(pod, 'Normal', 'DeadlineExceeded', status.message ?? '');
      return { podIsOver: true };
    }
    if (isStaticPod(pod)) this.#deps.mirrors?.request(pod);
    // Before anything is changed: another agent must know that the room is taken.
    if (resizing) await this.#deps.allocations.save();
    await this.#prepare(pod, resizing);
    let mounting: Promise<void> | undefined;
    const mountVolumes = () => {
      mounting ??= this.#mountVolumes(pod, signal);
      return mounting;
    };
    if (!mayMountLate(pod) && this.#deps.volumes.volumesOf(identityOf(pod).uid) === undefined) await mountVolumes();
    if (signal.aborted) return {};
    const result = await this.#deps.runtime.syncPod({
      ...this.#seen(pod, status, runtime),
      onSandboxReady: (ips) => this.#sandboxReady(pod, ips),
      mountVolumes,
      signal,
    });
    const [mounted] = await Promise.allSettled([signal.aborted ? mounting : mountVolumes()]);
    return this.#afterSync(pod, mounted.status === 'rejected' ? { error: mounted.reason as Error, ...result } : result);
  }

  async syncTerminatingPod(state: WorkerState & { readonly pod: Pod }, signal: AbortSignal): Promise<void> {
    const { probes, runtime, cache } = this.#deps;
    const { pod, graceSeconds } = state;
    const { uid } = state.identity;
    const before = await this.#freshStatus(pod);
    this.#storeStatus(pod, before, false, state.statusOverride);
    probes.stopLivenessAndStartup(uid);
    using killing = linkedSignal(signal);
    const tell = (now: PodRuntimeStatus) => void this.#storeStatus(pod, now, false, state.statusOverride);
    const following = followEnds(pod, before, tell, this.#deps, killing.signal);
    try {
      await runtime.killPod({ pod, status: before, graceOverrideSeconds: graceSeconds, signal });
    } catch (err) {
      cache.markStale(uid);
      if (signal.aborted) throw err;
      this.#event(pod, 'Warning', 'FailedKillPod', `error killing pod: ${errorMessage(err)}`);
      throw err;
    } finally {
      killing.abort();
      await following; // what it tells must not come after the end of the pod
    }
    cache.markStale(uid);
    if (signal.aborted) return;
    probes.removePod(uid);
    const after = await this.#freshStatus(pod);
    refuseRunning(pod, after);
    // Before anybody hears that the pod is over, and may have its devices given to others.
    await this.#deps.claims?.unprepare(pod, signal);
    this.#storeStatus(pod, after, true, state.statusOverride);
  }

  async syncTerminatingOrphan(identity: PodIdentity, graceSeconds: number, signal: AbortSignal): Promise<void> {
    const status = await this.#deps.cache.fresh(identity);
    try {
      await this.#deps.runtime.killPod({ pod: undefined, status, graceOverrideSeconds: graceSeconds, signal });
    } finally {
      this.#deps.cache.markStale(identity.uid);
    }
  }

  async syncTerminatedPod(pod: Pod, signal: AbortSignal): Promise<void> {
    const { volumes, cgroups, probes, statuses, reasons } = this.#deps;
    const { uid } = identityOf(pod);
    probes.removePod(uid); // a pod that was over when it came in has never been through termination
    await this.#deps.claims?.unprepare(pod, signal);
    this.#storeStatus(pod, await this.#freshStatus(pod), true);
    await volumes.unmountPod(uid, signal);
    volumes.forgetPod(uid);
    await cgroups?.removePodCgroup(uid);
    reasons.forgetPod(uid);
    statuses.finish(pod);
  }

  /**
   * A runtime that has lost its records knows nothing of containers that run on. They would share the volumes, ports and
   * limits of those that are about to be made, and nobody could ever stop them: they end before (kubelet leaves them until
   * the pod is over).
   */
  async #endForgotten(pod: Pod, runtime: PodRuntimeStatus): Promise<void> {
    if (runtime.sandboxes.length + runtime.containers.length > 0) return;
    const { containerStatuses = [], initContainerStatuses = [] } = this.#before(pod, runtime).previous;
    const wasRunning = [...containerStatuses, ...initContainerStatuses].some((c) => c.state?.running !== undefined);
    if (wasRunning) await this.#deps.cgroups?.removePodCgroup(identityOf(pod).uid);
  }

  /** What the sandbox needs. */
  async #prepare(pod: Pod, resizing: boolean): Promise<void> {
    const { cgroups, probes, allocations, statuses } = this.#deps;
    const { uid } = identityOf(pod);
    const networkError = pod.spec?.hostNetwork === true ? undefined : this.#deps.networkError();
    if (networkError !== undefined) {
      this.#event(pod, 'Warning', 'NetworkNotReady', `network is not ready: ${networkError}`);
      throw new RetrySoon(`network is not ready: ${networkError}`, NETWORK_RETRY_MS);
    }
    const made = await Promise.allSettled([
      this.#reporting(pod, 'FailedCreatePodContainer', 'unable to ensure pod container exists', async () => {
        await cgroups?.ensurePodCgroup(pod, { resizing });
      }),
      this.#reporting(pod, 'Failed', 'error making pod data directories', () => this.#deps.ensurePodDirs(uid)),
    ]);
    for (const part of made) if (part.status === 'rejected') throw part.reason;
    const ofPod = pod.spec?.resources;
    if (ofPod !== undefined && !resizing) allocations.setPod(uid, ofPod);
    probes.addPod(pod, statuses.get(uid));
  }

  /**
   * What the containers need besides. What the pod was given is on disk before any of them runs: an agent that did not
   * know it would admit the pod with what it asks for by then, or refuse it.
   */
  async #mountVolumes(pod: Pod, signal: AbortSignal): Promise<void> {
    const { volumes, allocations } = this.#deps;
    const saved = allocations.saveAllocated().catch(() => {}); // told and tried again by its own writer
    await volumes.mountPod(pod, signal); // has told of each volume that failed
    await saved;
  }

  async #afterSync(pod: Pod, result: PodSyncResult): Promise<SyncOutcome> {
    const { cache, reasons, clock } = this.#deps;
    const { uid } = identityOf(pod);
    reasons.update(uid, result);
    if (result.resizeError !== undefined) this.#deps.resizeConditions.failed(pod, result.resizeError);
    const failed = result.error !== undefined || result.failures.length > 0 || result.resizeError !== undefined;
    // After an error it is not known what the runtime did; a call may have gone through although its answer was lost.
    if (result.changed || failed) cache.markStale(uid, { onlyAdded: result.onlyAdded && !failed });
    const now = await this.#freshStatus(pod);
    this.#observeResize(pod, now);
    const status = this.#storeStatus(pod, now, false);
    await result.unfinished;
    if (result.error !== undefined) throw result.error;
    const nowMs = clock.now();
    const ends = result.failures.flatMap((f) => (f.retryAtMs === undefined ? [] : [f.retryAtMs - nowMs]));
    const deadlineMs = activeDeadlineLeftMs(pod, status, nowMs);
    const wakeAfterMs = Math.min(...ends, deadlineMs ?? Number.POSITIVE_INFINITY);
    const changed = result.changed && !failed;
    return {
      // If anything follows from what was done (a restart in place, an end within the pass), nobody else will say so.
      again: changed && !(result.onlyAdded && this.#deps.runtime.isSettled(this.#seen(pod, status, now))),
      failed,
      ...(wakeAfterMs === Number.POSITIVE_INFINITY ? {} : { wakeAfterMs: Math.max(0, wakeAfterMs) }),
    };
  }

  /** The sandbox is up: its address and condition need not wait for the containers. */
  #sandboxReady(pod: Pod, ips: readonly string[]): void {
    const { uid } = identityOf(pod);
    const status = this.#deps.statuses.get(uid);
    if (status === undefined || this.#deps.isTerminationRequested(uid)) return;
    const conditions = (status.conditions ?? []).map((c) =>
      c.type === 'PodReadyToStartContainers' && c.status !== 'True'
        ? {
            ...c,
            status: 'True',
            lastTransitionTime: formatTime(this.#deps.clock.now()),
          }
        : c,
    );
    const address = ips[0] === undefined ? {} : { podIP: ips[0], podIPs: ips.slice(0, 2).map((ip) => ({ ip })) };
    this.#deps.statuses.set(pod, { ...status, ...address, conditions });
  }

  async #freshStatus(pod: Pod): Promise<PodRuntimeStatus> {
    try {
      return await this.#deps.cache.fresh(identityOf(pod));
    } catch (err) {
      this.#event(pod, 'Warning', 'FailedSync', `error determining status: ${errorMessage(err)}`);
      throw err;
    }
  }

  /** True while containers use something else than they were given. */
  #observeResize(pod: Pod, runtime: PodRuntimeStatus): boolean {
    const { allocations, resizeConditions } = this.#deps;
    const isInProgress = isResizeInProgress(pod, runtime, allocations);
    resizeConditions.observe(pod, isInProgress);
    return isInProgress;
  }

  #storeStatus(
    wanted: Pod,
    runtime: PodRuntimeStatus,
    isTerminal: boolean,
    override?: (status: PodStatus) => PodStatus,
  ): PodStatus {
    const { statuses, reasons, clock, probes, allocations, resizeConditions, resourceHealth } = this.#deps;
    const { uid } = identityOf(wanted);
    const pod = allocations.apply(wanted); // perhaps more by now than what the step began with
    if (isTerminal) resizeConditions.forget(uid); // nothing of it is resized any more
    const computed = generateStatus({
      ...this.#before(pod, runtime),
      runtime,
      isTerminal,
      hostIps: this.#deps.hostIps(),
      probes,
      startFailure: (container) => reasons.get(uid, container),
      actuated: (container) => allocations.container(uid, container),
      actuatedPod: allocations.pod(uid),
      resizeConditions: resizeConditions.of(uid),
      ...(resourceHealth === undefined ? {} : { resourceHealth: (name: string) => resourceHealth(pod, name) }),
      runtimeName: this.#deps.runtimeName,
      agentStartedAtMs: this.#deps.agentStartedAtMs,
      nowMs: clock.now(),
    });
    const status = override?.(computed) ?? computed;
    statuses.set(pod, status);
    return status;
  }

  /** The pod with what the API says of it, and what is known of it otherwise. */
  #before(pod: Pod, runtime: PodRuntimeStatus): { readonly pod: Pod; readonly previous: PodStatus } {
    const held = this.#deps.statuses.get(identityOf(pod).uid);
    const mirror = isStaticPod(pod) ? statusOfMirror(this.#deps.mirrors?.mirrorOf(pod), runtime) : undefined;
    if (mirror === undefined) return { pod, previous: held ?? pod.status ?? {} };
    const { conditions = [] } = mirror;
    return { pod: { ...pod, status: { ...pod.status, conditions } }, previous: afterMirror(held, mirror) };
  }

  /** What decides what is to be done to the pod. */
  #seen(pod: Pod, status: PodStatus, runtime: PodRuntimeStatus) {
    const { probes } = this.#deps;
    const verdicts = {
      liveness: (id: string) => probes.verdict('liveness', id),
      startup: (id: string) => probes.verdict('startup', id),
    };
    return { pod: { ...pod, status: withClaimStatuses(pod.status, status) }, status: runtime, verdicts };
  }

  async #reporting(pod: Pod, reason: string, what: string, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (err) {
      this.#event(pod, 'Warning', reason, `${what}: ${errorMessage(err)}`);
      throw err;
    }
  }

  #event(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#deps.events.event(podReference(pod), type, reason, message);
  }
}

/**
 * A token is asked for and written in the time that the sandbox takes. Only where nothing of the pod's own making can
 * keep its volumes from being mounted: a pod with, say, a missing configMap gets no sandbox and no address meanwhile.
 * Volumes that were mounted before are only looked at, which need not be waited for either.
 */
function mayMountLate(pod: Pod): boolean {
  const isPlain = (v: Volume) => v.emptyDir !== undefined || v.name.startsWith('kube-api-access-');
  return (pod.spec?.volumes ?? []).every(isPlain);
}

/** A sandbox counts too: one whose creation was interrupted may have come up behind the kill. */
function refuseRunning(pod: Pod, status: PodRuntimeStatus): void {
  const running = [
    ...status.containers.filter((c) => c.state === 'running').map((c) => `${c.name}(${c.id.slice(0, 12)})`),
    ...status.sandboxes.filter((s) => s.state === 'SANDBOX_READY').map((s) => `sandbox(${s.id.slice(0, 12)})`),
  ];
  if (running.length === 0) return;
  const found = `detected running containers after a successful KillPod, CRI violation: [${running.join(' ')}]`;
  throw new RetrySoon(`${podDescription(pod)}: ${found}`, STILL_RUNNING_RETRY_MS);
}
