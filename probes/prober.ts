// Probes every container that asks for it: one worker per (pod, container, kind), all on one due queue. A worker is
// an entry in a map, not a loop: it runs when it is due or when the pod's status says that it may
// (pkg/kubelet/prober).
import type { Container, Pod, PodStatus, Probe } from '../api/pod.ts';
import { aborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { DueQueue } from '../core/due-queue.ts';
import type { Logger } from '../core/log.ts';
import type { ProbeChange, ProbeKind, ProbeManager, ProbeVerdict } from './probe-manager.ts';
import { type Attempt, type ObserveProbe, ProbeRunner, type ReportProbe } from './probe-run.ts';
import { ProbeWorker, workerKey } from './probe-worker.ts';
import { probedContainers } from './target.ts';
import { Verdicts } from './verdicts.ts';

export interface ProberDeps {
  readonly attempt: Attempt;
  readonly report: ReportProbe;
  readonly observe?: ObserveProbe;
  /** The pod's probes have ended for good. Must not throw. */
  readonly onRemoved?: (podUid: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
}

/**
 * Repeated probes run on whole multiples of this, ms: those of one moment share a wake-up of the process, which costs
 * more than a probe's own bookkeeping. The first run and those that a status asks for do not wait for it.
 */
const GRID_MS = 25;

interface ProbedPod {
  pod: Pod;
  status: PodStatus | undefined;
  readonly workers: ProbeWorker[];
}

export class Prober implements ProbeManager {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #startedMonotonicMs: number;
  readonly #startedWallMs: number;
  readonly #pods = new Map<string, ProbedPod>();
  readonly #workers = new Map<string, ProbeWorker>();
  readonly #verdicts = new Verdicts();
  readonly #onRemoved: ProberDeps['onRemoved'];
  readonly #runner: ProbeRunner;
  readonly #due: DueQueue<ProbeWorker>;
  #stopped = false;

  constructor(deps: ProberDeps) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#random = deps.random ?? Math.random;
    this.#startedMonotonicMs = deps.clock.monotonicMs();
    this.#startedWallMs = deps.clock.now();
    this.#onRemoved = deps.onRemoved;
    // One that ends after its pod was removed would be counted for ever: nobody forgets it any more.
    const observe: ObserveProbe = (kind, target, ...outcome) => {
      const isThere = this.hasProbe(target.pod.metadata?.uid ?? '', target.container.name, kind);
      if (isThere) deps.observe?.(kind, target, ...outcome);
    };
    this.#runner = new ProbeRunner(deps.attempt, deps.report, observe);
    this.#due = new DueQueue(deps.clock, (worker) => this.#onDue(worker));
  }

  addPod(pod: Pod, status?: PodStatus): void {
    const podUid = pod.metadata?.uid ?? '';
    const known = this.#pods.get(podUid);
    if (known !== undefined) {
      known.pod = pod;
      return;
    }
    const entry: ProbedPod = { pod, status, workers: [] };
    this.#pods.set(podUid, entry);
    const sidecars = new Set(pod.spec?.initContainers?.map((c) => c.name));
    for (const container of probedContainers(pod)) {
      for (const [kind, probe] of probesOf(container)) {
        const spec = { podUid, kind, container, probe, isSidecar: sidecars.has(container.name) };
        const worker = new ProbeWorker(spec, this.#startedWallMs);
        entry.workers.push(worker);
        this.#workers.set(worker.key, worker);
        this.#due.set(worker, this.#startDelayMs(worker.periodMs));
      }
    }
  }

  /** Just after a start all pods arrive at once: their probes are spread over a period. */
  #startDelayMs(periodMs: number): number {
    const upMs = this.#clock.monotonicMs() - this.#startedMonotonicMs;
    return upMs < periodMs ? this.#random() * periodMs : 0;
  }

  updatePodStatus(podUid: string, status: PodStatus): void {
    const entry = this.#pods.get(podUid);
    if (entry === undefined) return;
    entry.status = status;
    for (const worker of entry.workers) {
      if (!worker.mayRunEarly(status)) continue;
      if (worker.containerId === undefined && worker.isAdopted(status)) {
        if (this.#due.dueMs(worker) === undefined) this.#due.set(worker, this.#random() * worker.periodMs);
      } else this.#due.setEarlier(worker, 0);
    }
  }

  stopLivenessAndStartup(podUid: string): void {
    const entry = this.#pods.get(podUid);
    if (entry === undefined) return;
    for (const worker of [...entry.workers]) {
      if (worker.kind !== 'readiness' && !worker.isSidecar) this.#endWorker(entry, worker);
    }
  }

  removePod(podUid: string): void {
    const entry = this.#pods.get(podUid);
    if (entry === undefined) return;
    for (const worker of [...entry.workers]) this.#endWorker(entry, worker);
    this.#pods.delete(podUid);
    this.#verdicts.removePod(podUid);
    this.#onRemoved?.(podUid);
  }

  #endWorker(entry: ProbedPod, worker: ProbeWorker): void {
    this.#due.delete(worker);
    this.#workers.delete(worker.key);
    entry.workers.splice(entry.workers.indexOf(worker), 1);
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
    this.#stopped = true;
    this.#due[Symbol.dispose]();
    this.#runner.stop();
  }

  #onDue(worker: ProbeWorker): void {
    if (worker.running) {
      worker.again = true;
      return;
    }
    const entry = this.#pods.get(worker.podUid);
    if (entry === undefined || this.#stopped) return;
    worker.dueMs = this.#clock.monotonicMs();
    const before = worker.containerId;
    const step = worker.next(entry.status, entry.pod.metadata?.deletionTimestamp !== undefined, this.#clock.now());
    if (before !== undefined && before !== worker.containerId) this.#verdicts.remove(worker.kind, before);
    if (step.store !== undefined) this.#store(worker, step.store);
    if (step.do === 'probe')
      void this.#probe(worker, entry); // catches everything itself
    else this.#afterRun(worker, step.do === 'end');
  }

  async #probe(worker: ProbeWorker, entry: ProbedPod): Promise<void> {
    worker.running = true;
    const { container, containerId = '', probe } = worker;
    try {
      const target = { pod: entry.pod, container, status: entry.status!, containerId, probe };
      const outcome = await this.#runner.run(worker.kind, target);
      const isCurrent = this.#workers.get(worker.key) === worker; // of the same container: none is adopted meanwhile
      const verdict = isCurrent && outcome !== undefined ? worker.count(outcome) : undefined;
      if (verdict !== undefined) this.#store(worker, verdict);
    } catch (err) {
      this.#log.error({ err, probe: worker.key }, 'probe worker failed');
    }
    worker.running = false;
    this.#afterRun(worker, false);
  }

  #afterRun(worker: ProbeWorker, isOver: boolean): void {
    const entry = this.#pods.get(worker.podUid);
    if (this.#workers.get(worker.key) !== worker || entry === undefined || this.#stopped) return;
    if (isOver) {
      this.#endWorker(entry, worker);
      return;
    }
    const { again } = worker;
    worker.again = false;
    const delayMs = again ? 0 : worker.delayMs(entry.status, this.#clock.now());
    if (delayMs === 'period') this.#repeat(worker);
    else if (delayMs !== undefined) this.#due.setEarlier(worker, delayMs);
  }

  #repeat(worker: ProbeWorker): void {
    const nextMs = Math.ceil((worker.dueMs + worker.periodMs - GRID_MS / 2) / GRID_MS) * GRID_MS;
    const current = this.#due.dueMs(worker);
    if (current === undefined || nextMs < current) this.#due.setAt(worker, nextMs);
  }

  #store(worker: ProbeWorker, verdict: ProbeVerdict): void {
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
