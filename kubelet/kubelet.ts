// Wires the managers of the pod side together and runs them; decides nothing itself. Node registration, status and the
// HTTPS server are separate and run beside it.
import type { Node } from '../api/kinds.ts';
import type { Pod, PodStatus } from '../api/pod.ts';
import { nodes as nodeResource, pods as podResource } from '../api/resources.ts';
import { Reflector } from '../client/reflector.ts';
import { Store } from '../client/store.ts';
import { aborted } from '../core/abort.ts';
import { errorMessage } from '../core/errors.ts';
import { runTasks, type Task } from '../core/tasks.ts';
import { withoutUndefined } from '../core/without-undefined.ts';
import type { ProbeChange } from '../probes/probe-manager.ts';
import type { KubeletConfig } from './config.ts';
import type { EndPod } from './eviction/pod-evictions.ts';
import { Housekeeping } from './housekeeping.ts';
import type { KubeletDeps } from './kubelet-deps.ts';
import type { RunningLog } from './logs/log-rotation.ts';
import type { KubeletObserver } from './metrics/observer.ts';
import type { ResizeObserver } from './metrics/resize-metrics.ts';
import { MirrorPods } from './mirror-pods.ts';
import { internalIps } from './node/node-address.ts';
import { Pleg } from './pleg.ts';
import { PodCache } from './pod-cache.ts';
import { ensurePodDirs } from './pod-dirs.ts';
import { PodDispatch } from './pod-dispatch.ts';
import { KubeletPodLifecycle } from './pod-lifecycle.ts';
import { isStaticPod, PodManager } from './pod-manager.ts';
import { PodSources, runApiSource, sourceNames } from './pod-source.ts';
import { PodWorkers } from './pod-worker.ts';
import type { WorkerState } from './pod-worker-state.ts';
import { ReasonCache } from './reason-cache.ts';
import { Allocations } from './resize/allocations.ts';
import { ResizeConditions } from './resize/resize-conditions.ts';
import { nothingRuns, type PodRuntimeStatus } from './runtime/pod-runtime-status.ts';
import { nodeReference } from './runtime/runtime-deps.ts';
import { isPod } from './sources/api-pods.ts';
import type { RunningPod } from './stats/targets.ts';
import { StatusWriter } from './status/status-writer.ts';

/** A pod that was refused for the node's labels waits so long for the node to be read again. */
const READ_NODE_MS = 10_000;

export class Kubelet {
  readonly #deps: KubeletDeps;
  readonly #config: KubeletConfig;
  readonly #pods = new PodManager();
  readonly #apiPods = new Store<Pod>();
  readonly #cache: PodCache;
  readonly #statuses: StatusWriter;
  readonly #workers: PodWorkers;
  readonly #dispatch: PodDispatch;
  readonly #sources: PodSources;
  readonly #pleg: Pleg;
  readonly #housekeeping: Housekeeping;
  readonly #mirrors: MirrorPods;
  readonly #allocations: Allocations;
  readonly #resizeConditions: ResizeConditions;
  readonly #observed: { readonly observer?: KubeletObserver };
  readonly #resizing: { readonly resizes?: ResizeObserver };
  #localNode: Node | undefined;

  constructor(config: KubeletConfig, deps: KubeletDeps) {
    const { client, runtime, events, clock, log } = deps;
    this.#config = config;
    this.#deps = deps;
    this.#observed = withoutUndefined({ observer: deps.observer });
    this.#resizing = withoutUndefined({ resizes: deps.resizes });
    this.#cache = new PodCache({ runtime, ...this.#observed, clock });
    this.#allocations = deps.allocations ?? new Allocations(undefined, { clock, log });
    this.#resizeConditions = new ResizeConditions({ events, ...this.#resizing, clock });
    this.#mirrors = new MirrorPods({ client, pods: this.#pods, getNode: () => this.node(), clock, log });
    this.#statuses = this.#createStatusWriter();
    this.#workers = this.#createWorkers();
    this.#dispatch = this.#createDispatch();
    this.#sources = new PodSources(sourceNames(config.staticPods, deps.standalone === true), this.#dispatch, { clock });
    void this.#sources.whenReady.then(() => {
      this.#housekeeping.request();
      this.#dispatch.retryResizes();
    }); // cannot fail
    this.#pleg = this.#createPleg();
    this.#housekeeping = this.#createHousekeeping();
  }

  #createStatusWriter(): StatusWriter {
    const { client, claims, startRush, observer, probes, clock, log } = this.#deps;
    const statuses = new StatusWriter({
      client,
      getPod: (uid) => this.#pods.apiObject(uid),
      mayBeRunning: (uid) => this.#workers.mayBeRunning(uid) || claims?.holds(uid) === true,
      isTerminationRequested: (uid) => this.#workers.isTerminationRequested(uid),
      ...withoutUndefined({ rush: startRush }),
      ...this.#observed,
      clock,
      log,
    });
    statuses.onStored((uid, status) => {
      probes.updatePodStatus(uid, status);
      observer?.podStatus(uid, status);
    });
    return statuses;
  }

  #createWorkers(): PodWorkers {
    const { observer, clock, log } = this.#deps;
    return new PodWorkers(this.#config, {
      lifecycle: this.#createLifecycle(),
      nothingRuns: (uid) => this.#nothingRuns(uid),
      ...this.#observed,
      onFinished: (uid) => {
        observer?.podGone(uid);
        this.#dispatch.podEnded();
        this.#housekeeping.request();
      },
      clock,
      log,
    });
  }

  #createLifecycle(): KubeletPodLifecycle {
    const { runtime, volumes, probes, events, cgroups, claims, resourceHealth, clock } = this.#deps;
    const { networkError, runtimeName } = this.#deps;
    return new KubeletPodLifecycle({
      ...this.#mirroring(),
      runtime,
      cache: this.#cache,
      volumes,
      probes,
      statuses: this.#statuses,
      reasons: new ReasonCache(),
      allocations: this.#allocations,
      resizeConditions: this.#resizeConditions,
      events,
      ...withoutUndefined({ cgroups, claims, resourceHealth }),
      ensurePodDirs: this.#deps.ensurePodDirs ?? ((uid) => ensurePodDirs(this.#config.rootDir, uid)),
      networkError,
      isTerminationRequested: (uid) => this.#workers.isTerminationRequested(uid),
      hostIps: () => internalIps(this.node()),
      runtimeName,
      agentStartedAtMs: clock.now(),
      clock,
    });
  }

  #createDispatch(): PodDispatch {
    const { client, events, clock, log } = this.#deps;
    const { resources, resizeRefusal, appArmorEnabled, pressure, swap, shuttingDown } = this.#deps;
    const { nodeName, allowedUnsafeSysctls, declaredFeatures } = this.#config;
    return new PodDispatch({
      ...this.#observed,
      ...this.#resizing,
      pods: this.#pods,
      workers: this.#workers,
      statuses: this.#statuses,
      getNode: () => this.node(),
      readNode: () => client.get(nodeResource, { name: nodeName }, { timeoutMs: READ_NODE_MS }),
      allowedUnsafeSysctls,
      ...withoutUndefined({
        declaredFeatures,
        resources,
        resizeRefusal,
        appArmorEnabled,
        pressure,
        swap,
        shuttingDown,
      }),
      allocations: this.#allocations,
      resizeConditions: this.#resizeConditions,
      allPodsKnown: () => this.#sources.allReady,
      nothingRuns: (uid) => this.#nothingRuns(uid),
      events,
      requestHousekeeping: () => this.#housekeeping.request(),
      clock,
      log,
    });
  }

  #createPleg(): Pleg {
    const { runtime, runtimeEvents, clock, log } = this.#deps;
    return new Pleg({
      ...this.#observed,
      runtime,
      events: runtimeEvents,
      cache: this.#cache,
      onPodChanged: (uid) => this.#workers.poke(uid),
      onRuntimeBack: () => this.#workers.retryFailed(),
      onListed: (listed) => {
        if (listed.some((p) => this.#workers.state(p.uid) === undefined)) this.#housekeeping.request();
      },
      clock,
      log,
    });
  }

  #createHousekeeping(): Housekeeping {
    const { runtime, volumes, probes, events, cgroups, claims, clock, log } = this.#deps;
    const node = nodeReference(this.#config.nodeName);
    return new Housekeeping({
      ...this.#observed,
      ...this.#mirroring(),
      ...withoutUndefined({ claims, cgroups }),
      isRejected: (uid) => this.#dispatch.isRejected(uid),
      startAnew: (pod) => this.#dispatch.start(pod),
      pods: this.#pods,
      sources: this.#sources,
      workers: this.#workers,
      pleg: this.#pleg,
      cache: this.#cache,
      runtime,
      volumes,
      probes,
      statuses: this.#statuses,
      allocations: this.#allocations,
      onGarbageFailure: (err) => events.event(node, 'Warning', 'ContainerGCFailed', errorMessage(err)),
      clock,
      log,
    });
  }

  /** Without an API server there is nowhere to put mirrors. */
  #mirroring(): { readonly mirrors?: MirrorPods } {
    return this.#deps.standalone === true ? {} : { mirrors: this.#mirrors };
  }

  /** Runs pods until `signal` aborts. Containers go on running afterwards. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, standalone, probes, volumes, clock, log } = this.#deps;
    const fieldSelector = `spec.nodeName=${this.#config.nodeName}`;
    const opts = { fieldSelector, isUsable: isPod };
    const reflector = new Reflector(client, podResource, this.#apiPods, opts, { clock, log });
    using _probeChanges = probes.onChange((change) => this.#handleProbe(change));
    using _dispatch = this.#dispatch;
    using _volumeChanges = volumes.onPodVolumesChanged((uid) => this.retryPod(uid));
    const apiTasks: Record<string, Task> = {
      'pod reflector': (s) => reflector.run(s),
      'pod source': (s) => this.#runSource(s),
      'mirror pods': (s) => this.#mirrors.run(s),
    };
    await runTasks(signal, {
      ...(standalone === true ? {} : apiTasks),
      'static pods': (s) => this.#runStaticPods(s),
      pleg: (s) => this.#pleg.run(s),
      'pod workers': (s) => this.#workers.run(s),
      'status writer': (s) => this.#statuses.run(s),
      allocations: (s) => this.#allocations.run(s),
      probes: (s) => probes.run(s),
      housekeeping: (s) => this.#housekeeping.run(s),
    });
  }

  /** Desired pods with their newest status, which the API may not have yet. */
  getPods(): Pod[] {
    return this.#pods.list().map((pod) => this.#withStatus(pod));
  }

  podByName(namespace: string, name: string): Pod | undefined {
    const pod = this.#pods.byName(namespace, name);
    return pod === undefined ? undefined : this.#withStatus(pod);
  }

  /** Of a static pod its mirror's uid counts, too: it is the one that users see. */
  hasUid({ metadata }: Pod, uid: string): boolean {
    return metadata?.uid === uid || this.#pods.apiObject(metadata?.uid ?? '')?.metadata?.uid === uid;
  }

  /** Every source has said what its pods are. */
  get podsKnown(): boolean {
    return this.#sources.allReady;
  }

  /** Pods that hold resources here, with what they were given. */
  activePods(): Pod[] {
    return this.#dispatch.activePods();
  }

  /** As the runtime was last listed. */
  isContainerRunning(podUid: string, name: string): boolean {
    const containers = this.#pleg.pods.find((p) => p.uid === podUid)?.containers ?? [];
    return containers.some((c) => c.name === name && c.state === 'running');
  }

  /** Has the pod's worker end it for good. */
  evictPod: EndPod = (pod, { graceSeconds, statusOverride }, signal) => {
    const uid = pod.metadata?.uid ?? '';
    const kill = { evict: true, graceOverrideSeconds: graceSeconds, statusOverride };
    this.#workers.update({ type: 'kill', pod: this.#pods.get(uid) ?? pod, kill });
    return {
      stopped: this.#workers.reached(uid, 'terminated', signal),
      cleanedUp: this.#workers.reached(uid, 'finished', signal),
    };
  };

  /** Of pods that are over. @throws CriError when the runtime cannot be asked. */
  async removeDeadContainers(signal: AbortSignal): Promise<void> {
    await this.#housekeeping.removeDeadContainers(signal);
  }

  podStatus(uid: string): PodStatus | undefined {
    return this.#statuses.get(uid);
  }

  /** What the runtime has of a pod: container ids for logs and exec. @throws what the runtime call throws. */
  async runtimeStatus(pod: { uid: string; name: string; namespace: string }): Promise<PodRuntimeStatus> {
    return this.#cache.fresh(pod);
  }

  /** `listener` is called when what the runtime has of the pod may have changed. Must not throw. */
  onRuntimeChange(uid: string, listener: () => void): Disposable {
    return this.#cache.onChanged((changed) => {
      if (changed === uid) listener();
    });
  }

  /** Pods of which the runtime has something, as it was when they were last looked at; from memory. */
  runningPods(): RunningPod[] {
    return this.#cache.uids().flatMap((uid) => {
      const [pod, status] = [this.#pods.get(uid), this.#cache.get(uid)];
      return pod === undefined || status === undefined ? [] : [{ pod, status }];
    });
  }

  // What is counted at a scrape (metrics/pod-gauges.ts).
  desiredPods(): readonly Pod[] {
    return this.#pods.list();
  }

  mirrorPodCount(): number {
    return this.#pods.mirrors().length;
  }

  workerStates(): readonly WorkerState[] {
    return this.#workers.states();
  }

  runtimeStatuses(): readonly PodRuntimeStatus[] {
    return this.#cache.uids().flatMap((uid) => this.#cache.get(uid) ?? []);
  }

  /** Images that containers have mounted as volumes, by the name they were asked for. */
  mountedImages(): string[] {
    const containers = this.runtimeStatuses().flatMap((status) => status.containers);
    return containers.flatMap((c) => c.cri.mounts.flatMap((m) => m.image?.image ?? []));
  }

  /** The log of every container that ran when its pod was last looked at, from memory. */
  runningLogs(): RunningLog[] {
    const containers = this.runtimeStatuses().flatMap((status) => status.containers);
    return containers.filter((c) => c.state === 'running').map((c) => ({ containerId: c.id, logPath: c.cri.logPath }));
  }

  /** This node as the API server has it, else as it would be registered. Undefined before either is known. */
  node(): Node | undefined {
    return this.#deps.nodes.get(this.#config.nodeName) ?? this.#localNode;
  }

  /** What the pod waited for may be there now. What a pod that is gone has left is housekeeping's to take away. */
  retryPod(uid: string): void {
    const phase = this.#workers.state(uid)?.phase;
    if (phase === undefined || phase === 'finished') this.#housekeeping.request();
    else this.#workers.poke(uid);
  }

  /** For the node's Ready condition; undefined while all is well. */
  plegError(): string | undefined {
    return this.#pleg.healthError();
  }

  /** Pods are admitted against the node and adopted from the runtime: both have to be known first. */
  async #runSource(signal: AbortSignal): Promise<void> {
    await this.#deps.nodes.waitForSync(signal);
    if (!(await this.#foundationsKnown(signal))) return;
    await runApiSource(this.#sources, this.#apiPods, signal);
  }

  /** Waits until it is known what the runtime has and what the node is. False when `signal` aborted before. */
  async #foundationsKnown(signal: AbortSignal): Promise<boolean> {
    await Promise.race([this.#pleg.listed, aborted(signal)]);
    if (signal.aborted) return false;
    if (this.node() === undefined) this.#localNode = await this.#deps.localNode?.();
    return true;
  }

  /** Static pods run without the API server. */
  async #runStaticPods(signal: AbortSignal): Promise<void> {
    const { staticPodRules, events, nodes, clock, log } = this.#deps;
    const { path, url } = this.#config.staticPods;
    if (staticPodRules === undefined || (path === '' && url === '')) return aborted(signal);
    if (!(await this.#foundationsKnown(signal))) return;
    // Mirrors belong to the Node object, which may come later than the pods.
    const poke = () => {
      for (const pod of this.#pods.list()) if (isStaticPod(pod)) this.#workers.poke(pod.metadata?.uid ?? '');
    };
    using _nodes = nodes.subscribe({ onAdd: poke });
    const { runStaticPodSources } = await import('./sources/static-pod-sources.ts'); // few nodes have any
    await runStaticPodSources(
      this.#config,
      { rules: await staticPodRules(), sources: this.#sources, running: this.#pleg.pods, events, clock, log },
      signal,
    );
  }

  #handleProbe({ kind, podUid, containerId, verdict }: ProbeChange): void {
    const pod = this.#pods.get(podUid);
    if (pod === undefined) return;
    const id = `${this.#deps.runtimeName}://${containerId}`;
    if (kind === 'readiness') this.#statuses.setContainerField(pod, id, 'ready', verdict === 'success');
    if (kind === 'startup') this.#statuses.setContainerField(pod, id, 'started', verdict === 'success');
    if (kind !== 'liveness' || verdict === 'failure') this.#workers.poke(podUid);
  }

  #nothingRuns(uid: string): boolean {
    return nothingRuns(this.#cache.get(uid) ?? this.#pleg.pods.find((p) => p.uid === uid));
  }

  #withStatus(pod: Pod): Pod {
    const status = this.#statuses.get(pod.metadata?.uid ?? '');
    return status === undefined ? pod : { ...pod, status };
  }
}
