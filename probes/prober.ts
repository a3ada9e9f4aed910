// Probes every container that asks for it: one worker per (pod, container, kind), all on one due queue. A worker is
// an entry in a map, not a loop: it runs when it is due or when the pod's status says that it may
// (pkg/kubelet/prober).
import {
  type Container,
  type ContainerStatus,
  isTerminalPhase,
  type Pod,
  type PodStatus,
  type Probe,
} from '../api/pod.ts';
import { aborted, linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { DueQueue } from '../core/due-queue.ts';
import { errorMessage } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { ProbeOutcome } from './outcome.ts';
import type { ProbeChange, ProbeKind, ProbeManager, ProbeVerdict } from './probe-manager.ts';
import { probedContainers } from './target.ts';
import { Verdicts } from './verdicts.ts';

/** One attempt, with its own time limit inside. @throws only for faults of ours. */
export type Attempt = (
  pod: Pod,
  container: Container,
  status: PodStatus,
  containerId: string,
  probe: Probe,
  signal: AbortSignal,
) => Promise<ProbeOutcome>;

export interface ProberDeps {
  readonly attempt: Attempt;
  /** Records an Event on the container. */
  readonly report: (pod: Pod, container: string, reason: 'Unhealthy' | 'ProbeWarning', message: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
}

/** Attempts of one run while the probe itself cannot be made. */
const MAX_ATTEMPTS = 3;
/** Containers that were up this long before this process keep their readiness until they are probed again. */
const CARRY_OVER_MS = 10_000;

/** How much later than an exec probe's own timeout its answer may come. */
const EXEC_MARGIN_MS = 10_000;

const TITLES: Readonly<Record<ProbeKind, string>> = {
  liveness: 'Liveness',
  readiness: 'Readiness',
  startup: 'Startup',
};
const INITIAL: Readonly<Record<ProbeKind, ProbeVerdict>> = {
  liveness: 'success',
  readiness: 'failure',
  startup: 'unknown',
};

interface Worker {
  readonly key: string;
  readonly podUid: string;
  readonly kind: ProbeKind;
  readonly container: Container;
  readonly probe: Probe;
  readonly isSidecar: boolean;
  containerId: string | undefined;
  /** Set when the verdict is final for this container id: waits for another one. */
  onHold: boolean;
  last: ProbeVerdict | undefined;
  repeats: number;
  running: boolean;
  /** Asked for while it ran. */
  again: boolean;
}

interface ProbedPod {
  pod: Pod;
  status: PodStatus | undefined;
  readonly workers: Map<string, Worker>;
}

export class Prober implements ProbeManager {
  readonly #deps: ProberDeps;
  readonly #random: () => number;
  readonly #startedMonotonicMs: number;
  readonly #startedWallMs: number;
  readonly #pods = new Map<string, ProbedPod>();
  readonly #workers = new Map<string, Worker>();
  readonly #verdicts = new Verdicts();
  readonly #due: DueQueue<string>;
  #stop = new AbortController();

  constructor(deps: ProberDeps) {
    this.#deps = deps;
    this.#random = deps.random ?? Math.random;
    this.#startedMonotonicMs = deps.clock.monotonicMs();
    this.#startedWallMs = deps.clock.now();
    this.#due = new DueQueue(deps.clock, (key) => this.#onDue(key));
  }

  addPod(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const known = this.#pods.get(uid);
    if (known !== undefined) {
      known.pod = pod;
      return;
    }
    const entry: ProbedPod = { pod, status: undefined, workers: new Map() };
    this.#pods.set(uid, entry);
    const sidecars = new Set(pod.spec?.initContainers?.map((c) => c.name));
    for (const container of probedContainers(pod)) {
      for (const [kind, probe] of probesOf(container)) {
        this.#startWorker(entry, uid, kind, container, probe, sidecars.has(container.name));
      }
    }
  }

  #startWorker(
    entry: ProbedPod,
    podUid: string,
    kind: ProbeKind,
    container: Container,
    probe: Probe,
    isSidecar: boolean,
  ): void {
    const worker: Worker = {
      key: workerKey(podUid, container.name, kind),
      podUid,
      kind,
      container,
      probe,
      isSidecar,
      containerId: undefined,
      onHold: false,
      last: undefined,
      repeats: 0,
      running: false,
      again: false,
    };
    entry.workers.set(worker.key, worker);
    this.#workers.set(worker.key, worker);
    this.#due.set(worker.key, this.#startDelayMs(periodMs(probe)));
  }

  /** Just after a start all pods arrive at once: their probes are spread over a period. */
  #startDelayMs(period: number): number {
    const upMs = this.#deps.clock.monotonicMs() - this.#startedMonotonicMs;
    return upMs < period && this.#pods.size > 1 ? this.#random() * Math.min(period, period - upMs) : 0;
  }

  updatePodStatus(podUid: string, status: PodStatus): void {
    const entry = this.#pods.get(podUid);
    if (entry === undefined) return;
    entry.status = status;
    for (const worker of entry.workers.values()) {
      if (this.#mayRunEarly(worker, status)) this.#due.setEarlier(worker.key, 0);
    }
  }

  /** A new container, a container that has just started up, or one that the status shows as not ready yet. */
  #mayRunEarly(worker: Worker, status: PodStatus): boolean {
    const container = containerStatus(status, worker.container.name);
    const id = bareId(container?.containerID);
    if (id === undefined) return false;
    if (id !== worker.containerId) return true;
    if (worker.onHold || worker.kind === 'startup') return false;
    if (container?.started !== true) return false;
    // Not ready yet: whatever made the status be computed anew may have made the container ready, too.
    return worker.last === undefined || (worker.kind === 'readiness' && container.ready !== true);
  }

  stopLivenessAndStartup(podUid: string): void {
    const entry = this.#pods.get(podUid);
    if (entry === undefined) return;
    for (const worker of [...entry.workers.values()]) {
      if (worker.kind !== 'readiness' && !worker.isSidecar) this.#endWorker(entry, worker);
    }
  }

  removePod(podUid: string): void {
    const entry = this.#pods.get(podUid);
    if (entry === undefined) return;
    for (const worker of [...entry.workers.values()]) this.#endWorker(entry, worker);
    this.#pods.delete(podUid);
    this.#verdicts.removePod(podUid);
  }

  #endWorker(entry: ProbedPod, worker: Worker): void {
    this.#due.delete(worker.key);
    this.#workers.delete(worker.key);
    entry.workers.delete(worker.key);
  }

  verdict(kind: ProbeKind, containerId: string): ProbeVerdict | undefined {
    return this.#verdicts.get(kind, containerId);
  }

  hasProbe(podUid: string, container: string, kind: ProbeKind): boolean {
    return this.#workers.has(workerKey(podUid, container, kind));
  }

  onChange(handler: (change: ProbeChange) => void): Disposable {
    return this.#verdicts.subscribe(handler);
  }

  async run(signal: AbortSignal): Promise<void> {
    await aborted(signal);
    this.#due[Symbol.dispose]();
    this.#stop.abort();
  }

  #onDue(key: string): void {
    const worker = this.#workers.get(key);
    if (worker === undefined) return;
    if (worker.running) {
      worker.again = true;
      return;
    }
    worker.running = true;
    void this.#runOnce(worker); // catches everything itself
  }

  async #runOnce(worker: Worker): Promise<void> {
    const startMs = this.#deps.clock.monotonicMs();
    let goOn = true;
    try {
      goOn = await this.#iterate(worker);
    } catch (err) {
      this.#deps.log.error({ err, probe: worker.key }, 'probe worker failed');
    }
    worker.running = false;
    const entry = this.#pods.get(worker.podUid);
    if (this.#workers.get(worker.key) !== worker || entry === undefined || this.#stop.signal.aborted) return;
    if (!goOn) {
      this.#endWorker(entry, worker);
      return;
    }
    const again = worker.again;
    worker.again = false;
    const nextMs = again ? 0 : this.#nextDelayMs(worker, entry, startMs);
    if (nextMs !== undefined) this.#due.setEarlier(worker.key, nextMs);
  }

  /** Undefined while only a status update can make the worker do anything. */
  #nextDelayMs(worker: Worker, entry: ProbedPod, startMs: number): number | undefined {
    const status = containerStatus(entry.status, worker.container.name);
    if (worker.onHold || status?.state?.running === undefined) return undefined;
    const gate = worker.kind === 'startup' ? !status.started : status.started;
    if (!gate) return undefined;
    const initialMs = this.#initialDelayLeftMs(worker, status);
    if (initialMs > 0) return initialMs;
    return Math.max(0, startMs + periodMs(worker.probe) - this.#deps.clock.monotonicMs());
  }

  #initialDelayLeftMs(worker: Worker, status: ContainerStatus): number {
    const startedMs = Date.parse(status.state?.running?.startedAt ?? '');
    return startedMs + (worker.probe.initialDelaySeconds ?? 0) * 1000 - this.#deps.clock.now();
  }

  /** One iteration, in upstream's order of checks. False when the worker has nothing to do any more. */
  async #iterate(worker: Worker): Promise<boolean> {
    const entry = this.#pods.get(worker.podUid);
    const status = entry?.status;
    if (entry === undefined || status === undefined) return true;
    if (isTerminalPhase(status.phase)) return false;
    const container = containerStatus(status, worker.container.name);
    const id = bareId(container?.containerID);
    if (container === undefined || id === undefined) return true;
    if (id !== worker.containerId) this.#adoptContainer(worker, container, id);
    if (worker.onHold) return true;
    if (container.state?.running === undefined) {
      if (container.state?.terminated !== undefined || worker.last !== undefined) this.#store(worker, 'failure');
      return true;
    }
    if (entry.pod.metadata?.deletionTimestamp !== undefined && worker.kind !== 'readiness') {
      this.#store(worker, 'success');
      return false;
    }
    if (this.#initialDelayLeftMs(worker, container) > 0) return true;
    if (worker.kind === 'startup' ? container.started === true : container.started !== true) return true;
    await this.#probe(worker, entry, status, id);
    return true;
  }

  #adoptContainer(worker: Worker, container: ContainerStatus, id: string): void {
    if (worker.containerId !== undefined) this.#verdicts.remove(worker.kind, worker.containerId);
    worker.containerId = id;
    worker.onHold = false;
    worker.last = undefined;
    worker.repeats = 0;
    const startedMs = Date.parse(container.state?.running?.startedAt ?? '');
    const ranBefore = startedMs < this.#startedWallMs - CARRY_OVER_MS;
    if (worker.kind === 'startup' && worker.isSidecar && container.started === true) this.#store(worker, 'success');
    else if (!ranBefore) this.#store(worker, INITIAL[worker.kind]);
  }

  async #probe(worker: Worker, entry: ProbedPod, status: PodStatus, containerId: string): Promise<void> {
    const outcome = await this.#attempt(worker, entry, status, containerId);
    if (this.#workers.get(worker.key) !== worker || worker.containerId !== containerId || outcome === undefined) return;
    const verdict: ProbeVerdict = outcome.kind === 'failure' ? 'failure' : 'success';
    if (worker.last === verdict) worker.repeats++;
    else {
      worker.last = verdict;
      worker.repeats = 1;
    }
    const { successThreshold = 1, failureThreshold = 3 } = worker.probe;
    if (worker.repeats < (verdict === 'success' ? successThreshold : failureThreshold)) return;
    this.#store(worker, verdict);
    if ((worker.kind === 'liveness' && verdict === 'failure') || worker.kind === 'startup') {
      // The container is about to be killed, or startup has been decided: nothing to ask until there is another one.
      worker.onHold = true;
      worker.last = undefined;
      worker.repeats = 0;
    }
  }

  /** Undefined when the probe could not be made: the result is discarded. */
  async #attempt(
    worker: Worker,
    entry: ProbedPod,
    status: PodStatus,
    containerId: string,
  ): Promise<ProbeOutcome | undefined> {
    const title = TITLES[worker.kind];
    let lastError = '';
    for (let i = 0; i < MAX_ATTEMPTS; i++) {
      using limit = linkedSignal(this.#stop.signal, attemptLimitMs(worker.probe));
      let outcome: ProbeOutcome;
      try {
        outcome = await this.#deps.attempt(
          entry.pod,
          worker.container,
          status,
          containerId,
          worker.probe,
          limit.signal,
        );
      } catch (err) {
        outcome = { kind: 'error', message: errorMessage(err) };
      }
      if (this.#stop.signal.aborted) return undefined;
      if (outcome.kind !== 'error') {
        if (outcome.kind === 'failure') {
          this.#deps.report(entry.pod, worker.container.name, 'Unhealthy', `${title} probe failed: ${outcome.output}`);
        } else if (outcome.kind === 'warning') {
          this.#deps.report(
            entry.pod,
            worker.container.name,
            'ProbeWarning',
            `${title} probe warning: ${outcome.output}`,
          );
        }
        return outcome;
      }
      lastError = outcome.message;
    }
    const message = `${title} probe errored and resulted in unknown state: ${lastError}`;
    this.#deps.report(entry.pod, worker.container.name, 'Unhealthy', message);
    return undefined;
  }

  #store(worker: Worker, verdict: ProbeVerdict): void {
    const { kind, podUid, containerId } = worker;
    if (containerId === undefined) return;
    this.#verdicts.set({ kind, podUid, container: worker.container.name, containerId, verdict });
  }
}

function probesOf(container: Container): [ProbeKind, Probe][] {
  const probes: [ProbeKind, Probe | undefined][] = [
    ['startup', container.startupProbe],
    ['readiness', container.readinessProbe],
    ['liveness', container.livenessProbe],
  ];
  return probes.filter((p): p is [ProbeKind, Probe] => p[1] !== undefined);
}

function workerKey(podUid: string, container: string, kind: ProbeKind): string {
  return `${podUid}/${container}/${kind}`;
}

/** The runtime times commands itself and says so in its own words; it is given the time to do it. */
function attemptLimitMs(probe: Probe): number {
  const timeoutMs = (probe.timeoutSeconds || 1) * 1000;
  return probe.exec === undefined ? timeoutMs : timeoutMs + EXEC_MARGIN_MS;
}

function periodMs(probe: Probe): number {
  return (probe.periodSeconds || 10) * 1000;
}

function containerStatus(status: PodStatus | undefined, name: string): ContainerStatus | undefined {
  return (
    status?.containerStatuses?.find((c) => c.name === name) ??
    status?.initContainerStatuses?.find((c) => c.name === name)
  );
}

/** `containerd://<id>` → `<id>`; undefined when empty. */
function bareId(containerId: string | undefined): string | undefined {
  if (!containerId) return undefined;
  return containerId.slice(containerId.indexOf('://') + 3);
}
