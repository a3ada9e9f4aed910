// Finds what nobody asks for any more and has it ended and removed: workers that are done, pods that only the runtime
// knows, pod directories and statuses left behind. Runs when something vanished and otherwise once a minute, not every
// two seconds: a quiet node is quiet. After pkg/kubelet/kubelet_pods.go HandlePodCleanups.

import type { Pod } from '../api/pod.ts';
import { aborted, linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { SyncRunner } from '../core/sync-runner.ts';
import { runTasks } from '../core/tasks.ts';
import type { ProbeManager } from '../probes/probe-manager.ts';
import type { PodClaims } from './dra/pod-claims.ts';
import type { KubeletObserver } from './metrics/observer.ts';
import type { MirrorPods } from './mirror-pods.ts';
import type { Pleg } from './pleg.ts';
import type { PodCache } from './pod-cache.ts';
import type { PodCgroups } from './pod-lifecycle.ts';
import { isStaticPod, type PodManager } from './pod-manager.ts';
import type { PodSources } from './pod-source.ts';
import type { PodWorkers } from './pod-worker.ts';
import type { WorkerState } from './pod-worker-state.ts';
import type { Allocations } from './resize/allocations.ts';
import { nothingRuns, type RuntimePod } from './runtime/pod-runtime-status.ts';
import type { RuntimeManager } from './runtime/runtime-manager.ts';
import type { StatusWriter } from './status/status-writer.ts';
import type { VolumeManager } from './volumes/volume-manager.ts';

export interface HousekeepingDeps {
  readonly pods: Pick<PodManager, 'get'>;
  readonly sources: Pick<PodSources, 'allReady'>;
  readonly workers: Pick<PodWorkers, 'uids' | 'state' | 'update' | 'forget'>;
  readonly pleg: Pick<Pleg, 'pods' | 'current' | 'listed'>;
  readonly cache: Pick<PodCache, 'markStale' | 'remove'>;
  readonly runtime: Pick<RuntimeManager, 'collectGarbage' | 'removePod' | 'listPods'>;
  readonly volumes: Pick<VolumeManager, 'listPodDirs' | 'removePodDir' | 'forgetPod'>;
  readonly probes: Pick<ProbeManager, 'removePod'>;
  readonly statuses: Pick<StatusWriter, 'uids' | 'forget'>;
  readonly allocations?: Pick<Allocations, 'uids' | 'forget'>;
  /** The pod was asked for again, under its uid, while it ended: it is admitted as any other. */
  readonly startAnew: (pod: Pod) => void;
  /** Told when dead containers could not be collected. */
  readonly onGarbageFailure?: (err: unknown) => void;
  readonly cgroups?: Pick<PodCgroups, 'removePodCgroup' | 'listPodUids'>;
  readonly mirrors?: Pick<MirrorPods, 'deleteOrphans'>;
  readonly claims?: Pick<PodClaims, 'uids' | 'forget'>;
  /** The pod was refused: it has no worker, although its object is there. */
  readonly isRejected?: (podUid: string) => boolean;
  readonly observer?: Pick<KubeletObserver, 'counted' | 'podRestarted' | 'orphansCleaned'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What only the runtime knows gets this long to stop, s. */
const ORPHAN_GRACE_SECONDS = 1;
/** What a pod leaves goes soon after it, so that the next one starts on a quiet node. */
const MIN_INTERVAL_MS = 100;
const RETRY_MS = 2000;
const MAX_INTERVAL_MS = 60_000;
const CONTAINER_GC_MS = 60_000;
/** What ended while no agent was there need not wait a minute more, but the node's start goes first. */
const FIRST_CONTAINER_GC_MS = 5_000;

export class Housekeeping {
  readonly #deps: HousekeepingDeps;
  readonly #log: Logger;
  readonly #runner: SyncRunner;
  /** Pods of which nothing runs any more, whatever the last relist shows: their directories may go. */
  readonly #leftovers = new Set<string>();

  constructor(deps: HousekeepingDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'housekeeping' });
    this.#runner = new SyncRunner(
      (signal) => this.clean(signal),
      {
        name: 'housekeeping',
        minIntervalMs: MIN_INTERVAL_MS,
        retryIntervalMs: RETRY_MS,
        maxIntervalMs: MAX_INTERVAL_MS,
      },
      deps,
    );
  }

  /** Something ended or vanished. */
  request(): void {
    this.#runner.request();
  }

  async run(signal: AbortSignal): Promise<void> {
    await runTasks(signal, { pods: (s) => this.#runner.run(s), containers: (s) => this.#collectContainers(s) });
  }

  /** One pass. Does nothing before every source has said what its pods are. */
  async clean(signal: AbortSignal): Promise<void> {
    if (!this.#deps.sources.allReady) return;
    await this.#untilListed(signal);
    if (signal.aborted) return;
    this.#endUndesired();
    await this.#endOrphans(signal);
    for (const uid of this.#deps.workers.uids()) await this.#forgetFinished(uid, signal);
    this.#forgetStatuses();
    this.#forgetClaims();
    await this.#deps.mirrors?.deleteOrphans((name) => this.#isEnding(name), signal);
    await this.#removeOrphanDirs(signal);
  }

  /** Returns when `signal` aborts, too. */
  async #untilListed(signal: AbortSignal): Promise<void> {
    using waiting = linkedSignal(signal); // one pass after the other: none may leave a listener
    await Promise.race([this.#deps.pleg.listed, aborted(waiting.signal)]);
  }

  /** A pod of that name has a worker that is not done. */
  #isEnding(fullName: string): boolean {
    const { workers } = this.#deps;
    return workers.uids().some((uid) => {
      const state = workers.state(uid);
      return state !== undefined && state.phase !== 'finished' && fullName === fullNameOf(state.identity);
    });
  }

  /** Pods that nobody wants any more end with their own grace. */
  #endUndesired(): void {
    const { workers, pods } = this.#deps;
    for (const uid of workers.uids()) {
      const state = workers.state(uid);
      if (state?.phase !== 'sync' || state.pod === undefined || pods.get(uid) !== undefined) continue;
      workers.update({ type: 'kill', pod: state.pod });
    }
  }

  /** Pods that vanished from the API while the agent was down. */
  async #endOrphans(signal: AbortSignal): Promise<void> {
    const { pleg, workers, pods, runtime } = this.#deps;
    const isOrphan = (pod: RuntimePod) =>
      workers.state(pod.uid) === undefined && pods.get(pod.uid) === undefined && !nothingRuns(pod);
    // The last relist may be a minute old, and a pod in it finished since: ask again before anything is killed.
    if (!pleg.pods.some(isOrphan)) return;
    for (const pod of (await runtime.listPods(signal)).filter(isOrphan)) {
      this.#log.info({ pod: `${pod.namespace}/${pod.name}`, podUid: pod.uid }, 'ending a pod that nobody asks for');
      this.#deps.observer?.counted('kubelet_orphaned_runtime_pods_total');
      workers.update({
        type: 'orphan',
        identity: { uid: pod.uid, name: pod.name, namespace: pod.namespace },
        kill: { graceOverrideSeconds: ORPHAN_GRACE_SECONDS },
      });
    }
  }

  /** A finished worker is remembered while its pod is desired: its late updates must not start it anew. */
  async #forgetFinished(uid: string, signal: AbortSignal): Promise<void> {
    const { workers, pods, cache } = this.#deps;
    const state = workers.state(uid);
    if (state?.phase !== 'finished') return;
    if (pods.get(uid) !== undefined && !state.restartRequested) return;
    if (pods.get(uid) === undefined && !(await this.#removeAll(uid, signal))) return;
    cache.markStale(uid);
    if (!workers.forget(uid)) return;
    const desired = pods.get(uid); // asked for anew: a static pod may have been put back while its remains were removed
    if (desired === undefined) return cache.remove(uid);
    this.#deps.startAnew(desired);
    this.#deps.observer?.podRestarted(isStaticPod(desired));
  }

  /** What a pod that has ended left behind. False when `signal` aborted meanwhile. */
  async #removeAll(uid: string, signal: AbortSignal): Promise<boolean> {
    const { runtime, probes, volumes, cgroups } = this.#deps;
    probes.removePod(uid);
    volumes.forgetPod(uid);
    try {
      this.#leftovers.add(uid);
      await runtime.removePod(uid, signal); // with their logs: nobody can ask for them any more
      await cgroups?.removePodCgroup(uid); // an orphan's: nobody has been through its clean-up
      await volumes.removePodDir(uid, signal);
      this.#leftovers.delete(uid);
    } catch (err) {
      // What is left is found again: containers by garbage collection, directories as orphans.
      if (signal.aborted) return false;
      this.#log.warn({ err, podUid: uid }, 'cannot remove all of a finished pod, will retry');
    }
    return true;
  }

  #forgetStatuses(): void {
    const { statuses, allocations, pods, workers } = this.#deps;
    for (const kept of [statuses, allocations]) {
      for (const uid of kept?.uids() ?? []) {
        if (pods.get(uid) === undefined && workers.state(uid) === undefined) kept?.forget(uid);
      }
    }
  }

  /** Claims of pods that nothing of is left here; drivers may take their time, which is not waited for. */
  #forgetClaims(): void {
    const { claims, pods, workers, isRejected } = this.#deps;
    for (const uid of claims?.uids() ?? []) {
      const isWanted = pods.get(uid) !== undefined && isRejected?.(uid) !== true;
      if (!isWanted && workers.state(uid) === undefined) claims?.forget(uid);
    }
  }

  /**
   * Directories and cgroups of pods that are gone; a call to the runtime that was given up when its pod ended may make
   * the cgroup once more. One that cannot be removed must not keep the others from it.
   */
  async #removeOrphanDirs(signal: AbortSignal): Promise<void> {
    const { volumes, pods, workers, pleg, cgroups } = this.#deps;
    const running = new Set(pleg.pods.filter((p) => !nothingRuns(p)).map((p) => p.uid));
    const found = await Promise.all([volumes.listPodDirs(), cgroups?.listPodUids() ?? []]);
    let [orphans, failures] = [0, 0];
    const uids = new Set(found.flat());
    for (const uid of this.#leftovers) if (!uids.has(uid)) this.#leftovers.delete(uid);
    for (const uid of uids) {
      if (pods.get(uid) !== undefined || workers.state(uid) !== undefined) continue;
      if (running.has(uid) && !this.#leftovers.has(uid)) continue;
      orphans++;
      try {
        await cgroups?.removePodCgroup(uid); // before the directory, by which an interrupted clean-up is found again
        await volumes.removePodDir(uid, signal);
        this.#log.info({ podUid: uid }, 'removed what was left of a pod that is gone');
      } catch (err) {
        if (signal.aborted) return;
        failures++;
        this.#log.warn({ err, podUid: uid }, 'cannot remove what is left of a pod that is gone, will retry');
      }
    }
    this.#deps.observer?.orphansCleaned(orphans, failures);
  }

  async #collectContainers(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    for (let pauseMs = FIRST_CONTAINER_GC_MS; ; pauseMs = CONTAINER_GC_MS) {
      await clock.sleep(pauseMs, signal);
      if (signal.aborted) return;
      try {
        await this.#collectGarbage((state) => state.deleted, signal);
      } catch (err) {
        if (signal.aborted) return;
        this.#log.warn({ err }, 'container garbage collection failed');
        this.#deps.onGarbageFailure?.(err);
      }
    }
  }

  /** Containers of all pods that are over, of those as well whose logs could be asked for still: the disk is full. */
  async removeDeadContainers(signal: AbortSignal): Promise<void> {
    await this.#collectGarbage(() => true, signal);
  }

  /** `isDone`: whether nothing of a pod that has ended need be kept. */
  async #collectGarbage(isDone: (state: WorkerState) => boolean, signal: AbortSignal): Promise<void> {
    const { runtime, workers, pods, sources } = this.#deps;
    const allSourcesReady = sources.allReady;
    const mayRemoveAll = (uid: string): boolean => {
      const state = workers.state(uid);
      if (state === undefined) return allSourcesReady && pods.get(uid) === undefined;
      return state.evicted || (isDone(state) && (state.phase === 'terminated' || state.phase === 'finished'));
    };
    await runtime.collectGarbage({ mayRemoveAll, allSourcesReady }, this.#deps.pleg.current, signal);
  }
}

function fullNameOf({ name, namespace }: { readonly name: string; readonly namespace: string }): string {
  return `${name}_${namespace}`;
}
