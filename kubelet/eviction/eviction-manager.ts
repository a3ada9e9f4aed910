// Ends pods before the node runs out of memory, disk or processes: looks at the kernel's figures twice a second, which
// costs some microseconds, and measures pods only when something is short. After
// pkg/kubelet/eviction/eviction_manager.go, which looks every 10 s at samples that may be as old again.
import type { ObjectReference } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { aborted, linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { isCriticalPod } from '../pod-manager.ts';
import type { PodStorage, UsageSource } from '../stats/usage.ts';
import { EVICTED } from './evicted-status.ts';
import type { EvictionMetrics } from './eviction-metrics.ts';
import { type ContainerMemory, evictionText } from './eviction-text.ts';
import { exceededLimit, hasLocalLimit } from './local-limits.ts';
import { type Observations, observe } from './observations.ts';
import { type EndPod, PodEvictions } from './pod-evictions.ts';
import { isRelieved, mostUrgent, NO_PRESSURE, nextPressure, type PressureState } from './pressure-state.ts';
import { type PodUse, type PodUses, rankForEviction } from './ranking.ts';
import { conditionOf, isMemory, type NodeReclaim, nodeReclaims, resourceOf, type Signal } from './signals.ts';
import { type EvictionSettings, type Threshold, type ThresholdSettings, withContainerFs } from './thresholds.ts';

export interface EvictionOptions extends Omit<EvictionSettings, keyof ThresholdSettings> {
  readonly thresholds: readonly Threshold[];
}

export interface EvictionDeps {
  readonly usage: UsageSource;
  /** Before that nobody can say which pods there are. */
  readonly podsKnown: () => boolean;
  /** Pods that hold resources here, with the resources that they were given. */
  readonly activePods: () => readonly Pod[];
  readonly endPod: EndPod;
  readonly reclaim: Readonly<Record<NodeReclaim, (signal: AbortSignal) => Promise<void>>>;
  /** `conditions` has changed. Must not throw. */
  readonly onConditions: () => void;
  readonly events: EventRecorder;
  readonly node: ObjectReference;
  readonly metrics: EvictionMetrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A pod is to go within two seconds; it may take one of them to end. */
const LOOK_MS = 500;
/** Sizes of directories may take minutes, and so may images that are removed: the next look does not wait longer, ms. */
const WAIT_MS = 500;
/** Sizes of directories are costly to find out. Also how long nothing is tried after nothing helped. */
const PATIENCE_MS = 10_000;
/** How old what the runtime says about a file system of its own may be in a mere look, ms. */
const IMAGE_FIGURES_MS = 1_000;
/** When its images lie on the node's own file system, which is looked at anyway: only that may change, ms. */
const SHARED_IMAGE_FIGURES_MS = 60_000;
/** When a pod has to be chosen, ms. */
const STORAGE_FIGURES_MS = 5_000;
const HARD_GRACE_SECONDS = 1;
const LIMIT_GRACE_SECONDS = 1;

export class EvictionManager {
  readonly #opts: EvictionOptions;
  readonly #deps: EvictionDeps;
  readonly #log: Logger;
  readonly #evictions: PodEvictions;
  #thresholds: readonly Threshold[];
  #state: PressureState = NO_PRESSURE;
  /** Images have a file system of their own. Undefined until the runtime has said so. */
  #hasImageFs: boolean | undefined;
  #lookedMs = 0;
  #limitsCheckedMs = Number.NEGATIVE_INFINITY;
  /** By resource: nothing helped; not to be tried again before, monotonic ms. */
  readonly #futileUntilMs = new Map<string, number>();
  readonly #failing = new Set<string>();
  /** What earlier looks began and nobody waits for: memory is watched meanwhile. Never rejects. */
  readonly #unfinished = new Map<'limits' | 'disk', Promise<boolean>>();

  constructor(opts: EvictionOptions, deps: EvictionDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'eviction' });
    this.#thresholds = opts.thresholds;
    this.#evictions = new PodEvictions({ ...deps, log: this.#log });
  }

  /** `MemoryPressure`, `DiskPressure`, `PIDPressure`, sorted: what the Node's status and admission go by. */
  get conditions(): PressureState['conditions'] {
    return this.#state.conditions;
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const isNeeded = this.#thresholds.length > 0 || this.#opts.enforcesLocalLimits;
    const periodMs = this.#thresholds.length > 0 ? LOOK_MS : PATIENCE_MS;
    if (!isNeeded) return await aborted(signal);
    while (!signal.aborted) {
      try {
        await this.look(signal);
      } catch (err) {
        if (!signal.aborted) this.#log.error({ err }, 'eviction failed, will retry');
      }
      // Not at once after an eviction: what the next look sees is the node with the pod still ending.
      await clock.sleep(periodMs, signal);
    }
    await Promise.all(this.#unfinished.values());
    await this.#evictions.settled();
  }

  /** One look at the node and what follows from it. Resolves before an evicted pod has ended. */
  async look(signal: AbortSignal): Promise<void> {
    this.#lookedMs = this.#deps.clock.monotonicMs();
    await this.#findImageFs();
    const observations = await this.#observe(this.#hasImageFs === true ? IMAGE_FIGURES_MS : SHARED_IMAGE_FIGURES_MS);
    this.#update(observations);
    if (!this.#deps.podsKnown()) return;
    if (await this.#enforceLimits(signal)) return;
    const threshold = mostUrgent(this.#state.due.filter((t) => this.#mayActOn(t)));
    if (threshold === undefined || signal.aborted) return;
    if (!isAboutDisk(threshold)) return await this.#relieve(threshold, observations, signal);
    const relieved = this.#relieve(threshold, observations, signal).then(() => false);
    await this.#orLater('disk', relieved, signal);
  }

  /** What `act` gives; false when it takes longer than a look may, and it goes on without us. */
  async #orLater(name: 'limits' | 'disk', act: Promise<boolean>, signal: AbortSignal): Promise<boolean> {
    const acting = act
      .catch((err: unknown) => {
        if (!signal.aborted) this.#log.error({ err }, 'eviction failed, will retry');
        return false;
      })
      .finally(() => this.#unfinished.delete(name));
    this.#unfinished.set(name, acting);
    using waiting = linkedSignal(signal);
    const late = this.#deps.clock.sleep(WAIT_MS, waiting.signal).then(() => false);
    const result = await Promise.race([acting, late]);
    waiting.abort();
    return result;
  }

  async #findImageFs(): Promise<void> {
    if (this.#hasImageFs !== undefined) return;
    if (!this.#thresholds.some(isAboutDisk) && !this.#opts.enforcesLocalLimits) return;
    try {
      this.#hasImageFs = (await this.#deps.usage.imageFs(IMAGE_FIGURES_MS)).isDedicated;
      this.#thresholds = withContainerFs(this.#thresholds, this.#hasImageFs);
      this.#failing.delete('image file system');
    } catch (err) {
      this.#tellFailure('image file system', err);
    }
  }

  async #observe(maxAgeMs: number): Promise<Observations> {
    const failed = new Set<string>();
    const observations = await observe(this.#deps.usage, {
      signals: new Set<Signal>(this.#thresholds.map((t) => t.signal)),
      maxAgeMs,
      onFailure: (what, err) => {
        failed.add(what);
        this.#tellFailure(what, err);
      },
    });
    for (const what of this.#failing) if (what !== 'image file system' && !failed.has(what)) this.#failing.delete(what);
    return observations;
  }

  /** Once, not twice a second. */
  #tellFailure(what: string, err: unknown): void {
    if (this.#failing.has(what)) return;
    this.#failing.add(what);
    this.#log.warn({ err, what }, 'cannot see how much is left, nothing is evicted for it meanwhile');
  }

  #update(observations: Observations): void {
    const before = this.#state;
    this.#state = nextPressure(before, {
      thresholds: this.#thresholds,
      observations,
      nowMs: this.#deps.clock.monotonicMs(),
      transitionMs: this.#opts.transitionMs,
    });
    const { conditions, due } = this.#state;
    for (const resource of this.#futileUntilMs.keys()) {
      if (!due.some((t) => resourceOf(t.signal) === resource)) this.#futileUntilMs.delete(resource);
    }
    if (conditions.join() === before.conditions.join()) return;
    this.#log.info({ conditions, before: before.conditions }, 'pressure of the node changed');
    this.#deps.onConditions();
  }

  /** A hard threshold does not wait for a pod that has been given time to end. */
  #mayActOn(threshold: Threshold): boolean {
    if (isAboutDisk(threshold) && this.#unfinished.has('disk')) return false;
    if (this.#evictions.isBusy(threshold.isHard)) return false;
    const untilMs = this.#futileUntilMs.get(resourceOf(threshold.signal));
    return untilMs === undefined || this.#deps.clock.monotonicMs() >= untilMs;
  }

  /** True when pods were evicted for what they use themselves: the node is looked at again before more is done. */
  async #enforceLimits(signal: AbortSignal): Promise<boolean> {
    const nowMs = this.#deps.clock.monotonicMs();
    if (!this.#opts.enforcesLocalLimits || nowMs - this.#limitsCheckedMs < PATIENCE_MS) return false;
    if (this.#unfinished.has('limits')) return false;
    this.#limitsCheckedMs = nowMs;
    const pods = this.#deps.activePods().filter(hasLocalLimit);
    if (pods.length === 0) return false;
    const enforced = this.#storageOf(pods).then((storage) => {
      const evicted = this.#stillActive(pods).filter((p) => !signal.aborted && this.#enforceLimit(p, storage, signal));
      return evicted.length > 0;
    });
    return await this.#orLater('limits', enforced, signal);
  }

  #stillActive(pods: readonly Pod[]): readonly Pod[] {
    const active = new Set(this.#deps.activePods().map((p) => p.metadata?.uid));
    return pods.filter((p) => active.has(p.metadata?.uid));
  }

  #enforceLimit(pod: Pod, storages: ReadonlyMap<string, PodStorage>, signal: AbortSignal): boolean {
    const storage = storages.get(pod.metadata?.uid ?? '');
    const exceeded = storage === undefined ? undefined : exceededLimit(pod, storage, this.#hasImageFs ?? false);
    if (exceeded === undefined) return false;
    const { message, signal: label } = exceeded;
    return this.#evict(pod, { graceSeconds: LIMIT_GRACE_SECONDS, isHard: true, message, label }, signal);
  }

  /** First what the node can give up itself, then one pod. */
  async #relieve(threshold: Threshold, seen: Observations, signal: AbortSignal): Promise<void> {
    const { events, node, metrics, clock } = this.#deps;
    const resource = resourceOf(threshold.signal);
    const ageSeconds = (clock.monotonicMs() - this.#lookedMs) / 1000;
    this.#log.warn({ signal: threshold.signal, observed: seen.get(threshold.signal) }, 'eviction threshold met');
    events.event(node, 'Warning', 'EvictionThresholdMet', `Attempting to reclaim ${resource}`);
    for (const { signal: met } of this.#state.due) metrics.statsAge.observe({ eviction_signal: met }, ageSeconds);
    const observations = await this.#reclaimFromNode(threshold, seen, signal);
    if (observations === 'relieved' || signal.aborted) return;
    if (await this.#evictOne(threshold, observations, signal)) return;
    this.#futileUntilMs.set(resource, clock.monotonicMs() + PATIENCE_MS);
    this.#log.error({ signal: threshold.signal }, 'no pod can be evicted');
  }

  async #reclaimFromNode(
    { signal: starved }: Threshold,
    seen: Observations,
    signal: AbortSignal,
  ): Promise<Observations | 'relieved'> {
    const ways = nodeReclaims(starved, this.#hasImageFs ?? false);
    if (ways.length === 0) return seen;
    for (const way of ways) {
      try {
        await this.#deps.reclaim[way](signal);
      } catch (err) {
        if (signal.aborted) return 'relieved';
        this.#log.warn({ err, way }, 'the node could not free what it hoped to');
      }
    }
    const observations = await this.#observe(0);
    return isRelieved(this.#thresholds, observations) ? 'relieved' : observations;
  }

  async #evictOne(threshold: Threshold, observations: Observations, signal: AbortSignal): Promise<boolean> {
    const resource = resourceOf(threshold.signal);
    const pods = this.#deps.activePods();
    const uses = await this.#usesOf(pods, threshold.signal);
    const { due } = this.#state;
    // It may have taken a while: there may be enough again, or a pod on its way for something else.
    if (!due.includes(threshold) || this.#evictions.isBusy(threshold.isHard)) return true;
    for (const pod of rankForEviction(this.#stillActive(pods), uses, threshold.signal, this.#hasImageFs ?? false)) {
      if (signal.aborted) return true;
      if (isCriticalPod(pod)) {
        this.#log.info({ pod: nameOf(pod) }, 'a critical pod is not evicted');
        continue;
      }
      const use = uses.get(pod.metadata?.uid ?? '');
      const containers = resource === 'memory' ? this.#containerMemory(pod) : new Map<string, number>();
      const { message, annotations } = evictionText(pod, use, containers, { resource, due, observations });
      const graceSeconds = threshold.isHard ? HARD_GRACE_SECONDS : this.#softGrace(pod);
      const how = { graceSeconds, isHard: threshold.isHard, message, annotations, disruption: message };
      if (this.#evict(pod, { ...how, label: threshold.signal }, signal)) return true;
    }
    return false;
  }

  #softGrace(pod: Pod): number {
    const { maxPodGraceSeconds } = this.#opts;
    return Math.min(maxPodGraceSeconds, pod.spec?.terminationGracePeriodSeconds ?? maxPodGraceSeconds);
  }

  #evict(pod: Pod, how: Parameters<PodEvictions['start']>[1] & { label: string }, signal: AbortSignal): boolean {
    if (isCriticalPod(pod) || !this.#evictions.start(pod, how, signal)) return false;
    this.#deps.metrics.evictions.inc({ eviction_signal: how.label });
    this.#log.warn(
      { pod: nameOf(pod), podUid: pod.metadata?.uid, reason: EVICTED, message: how.message },
      'pod evicted',
    );
    return true;
  }

  async #usesOf(pods: readonly Pod[], signal: Signal): Promise<PodUses> {
    const { usage } = this.#deps;
    if (isAboutDisk({ signal })) {
      return new Map([...(await this.#storageOf(pods))].map(([uid, storage]) => [uid, { storage }]));
    }
    const use = (pod: Pod): PodUse => {
      if (!isMemory(signal)) return definedOnly('processes', usage.podProcesses(pod));
      return definedOnly('workingSetBytes', usage.podMemory(pod)?.workingSetBytes);
    };
    return new Map(pods.map((pod) => [pod.metadata?.uid ?? '', use(pod)]));
  }

  async #storageOf(pods: readonly Pod[]): Promise<ReadonlyMap<string, PodStorage>> {
    return await this.#deps.usage.podStorage(pods, STORAGE_FIGURES_MS);
  }

  /** Only told: a pod goes all the same. */
  #containerMemory(pod: Pod): ContainerMemory {
    try {
      return this.#deps.usage.containerMemory(pod);
    } catch (err) {
      this.#log.debug({ err, pod: nameOf(pod) }, 'what its containers use is not known');
      return new Map();
    }
  }
}

function isAboutDisk({ signal }: Pick<Threshold, 'signal'>): boolean {
  return conditionOf(signal) === 'DiskPressure';
}

function definedOnly(name: keyof PodUse, value: number | undefined): PodUse {
  return value === undefined ? {} : { [name]: value };
}

function nameOf(pod: Pod): string {
  return `${pod.metadata?.namespace}/${pod.metadata?.name}`;
}
