// One probe of one container: what it has seen so far, and what is to be done next about it. Decides only; prober.ts
// does it. After pkg/kubelet/prober/worker.go.
import {
  bareContainerId,
  type Container,
  type ContainerStatus,
  isTerminalPhase,
  type PodStatus,
  type Probe,
} from '../api/pod.ts';
import type { ProbeKind, ProbeVerdict } from './probe-manager.ts';

/** Containers that were up this long before this process keep their readiness until they are probed again. */
const CARRY_OVER_MS = 10_000;

const INITIAL: Readonly<Record<ProbeKind, ProbeVerdict>> = {
  liveness: 'success',
  readiness: 'failure',
  startup: 'unknown',
};

export interface ProbeWorkerSpec {
  readonly podUid: string;
  readonly kind: ProbeKind;
  readonly container: Container;
  readonly probe: Probe;
  readonly isSidecar: boolean;
}

/** What to do now. `store` is the verdict that follows without a probe. */
export interface ProbeStep {
  readonly do: 'end' | 'wait' | 'probe';
  readonly store: ProbeVerdict | undefined;
}

const WAIT: ProbeStep = { do: 'wait', store: undefined };

export class ProbeWorker implements ProbeWorkerSpec {
  readonly key: string;
  readonly podUid: string;
  readonly kind: ProbeKind;
  readonly container: Container;
  readonly probe: Probe;
  readonly isSidecar: boolean;
  /** Wall ms at which this process began to probe. */
  readonly #agentStartMs: number;
  /** The container that the verdicts are about, without the runtime's prefix. */
  containerId: string | undefined;
  /** Monotonic ms of the present or last run, as it was due. */
  dueMs = 0;
  running = false;
  /** Asked for while it ran. */
  again = false;
  /** The verdict is final for this container: waits for another one. */
  #onHold = false;
  #last: ProbeVerdict | undefined;
  #repeats = 0;

  constructor(spec: ProbeWorkerSpec, agentStartMs: number) {
    this.key = workerKey(spec.podUid, spec.container.name, spec.kind);
    this.podUid = spec.podUid;
    this.kind = spec.kind;
    this.container = spec.container;
    this.probe = spec.probe;
    this.isSidecar = spec.isSidecar;
    this.#agentStartMs = agentStartMs;
  }

  get periodMs(): number {
    return (this.probe.periodSeconds || 10) * 1000;
  }

  /** One iteration, in upstream's order of checks. `isPodDeleting`: as known when the pod was last synced. */
  next(status: PodStatus | undefined, isPodDeleting: boolean, nowMs: number): ProbeStep {
    if (status === undefined) return WAIT;
    if (isTerminalPhase(status.phase)) return { do: 'end', store: undefined };
    const container = containerStatus(status, this.container.name);
    const containerId = bareContainerId(container?.containerID);
    if (container === undefined || containerId === '') return WAIT;
    const store = containerId === this.containerId ? undefined : this.#adopt(container, containerId);
    if (this.#onHold) return { do: 'wait', store };
    if (container.state?.running === undefined) {
      // A container that has been created and not started yet has not failed.
      const hasRun = container.state?.terminated !== undefined || this.#last !== undefined;
      return { do: 'wait', store: hasRun ? 'failure' : store };
    }
    if (isPodDeleting && this.kind !== 'readiness') return { do: 'end', store: 'success' };
    if (this.initialDelayLeftMs(container, nowMs) > 0 || !this.#isItsTurn(container)) return { do: 'wait', store };
    return { do: 'probe', store };
  }

  /** Takes the outcome of a probe. Returns the verdict once it has been repeated often enough to count. */
  count(verdict: ProbeVerdict): ProbeVerdict | undefined {
    if (this.#last === verdict) this.#repeats++;
    else {
      this.#last = verdict;
      this.#repeats = 1;
    }
    const { successThreshold = 1, failureThreshold = 3 } = this.probe;
    if (this.#repeats < (verdict === 'success' ? successThreshold : failureThreshold)) return undefined;
    if ((this.kind === 'liveness' && verdict === 'failure') || this.kind === 'startup') {
      // The container is about to be killed, or startup has been decided: nothing to ask until there is another one.
      this.#onHold = true;
      this.#last = undefined;
      this.#repeats = 0;
    }
    return verdict;
  }

  /**
   * Whether a new status is a reason to run before the period is over: a new container, one that has just started up, or
   * one that is not ready yet, since whatever made the status be computed anew may have made it ready, too.
   */
  mayRunEarly(status: PodStatus): boolean {
    const container = containerStatus(status, this.container.name);
    const id = bareContainerId(container?.containerID);
    if (container === undefined || id === '') return false;
    if (id !== this.containerId) return true;
    if (this.#onHold || this.kind === 'startup' || container.started !== true) return false;
    if (this.kind === 'readiness' && container.ready !== true) return true;
    return this.#last === undefined && !this.#ranBefore(container);
  }

  /** The container ran long before this process: its probes need not hurry, all others come at the same moment. */
  isAdopted(status: PodStatus): boolean {
    const container = containerStatus(status, this.container.name);
    return container !== undefined && this.#ranBefore(container);
  }

  /** Ms from now until the next run; undefined while only another status can make it do anything. */
  delayMs(status: PodStatus | undefined, nowMs: number): 'period' | number | undefined {
    const container = status === undefined ? undefined : containerStatus(status, this.container.name);
    if (container?.state?.running === undefined || this.#onHold || !this.#isItsTurn(container)) return undefined;
    const initialMs = this.initialDelayLeftMs(container, nowMs);
    return initialMs > 0 ? initialMs : 'period';
  }

  /** A container that started in the future: the clock was set back since, and nobody knows how long ago it was. */
  initialDelayLeftMs(container: ContainerStatus, nowMs: number): number {
    const agoMs = nowMs - startedMs(container);
    return agoMs < 0 ? 0 : (this.probe.initialDelaySeconds ?? 0) * 1000 - agoMs;
  }

  /** Until a container has started up its startup probe alone is asked, afterwards the others are. */
  #isItsTurn({ started }: ContainerStatus): boolean {
    return this.kind === 'startup' ? started !== true : started === true;
  }

  #adopt(container: ContainerStatus, id: string): ProbeVerdict | undefined {
    this.containerId = id;
    this.#onHold = false;
    this.#last = undefined;
    this.#repeats = 0;
    if (this.kind === 'startup' && this.isSidecar && container.started === true) return 'success';
    return this.#ranBefore(container) ? undefined : INITIAL[this.kind];
  }

  #ranBefore(container: ContainerStatus): boolean {
    return startedMs(container) < this.#agentStartMs - CARRY_OVER_MS;
  }
}

export function workerKey(podUid: string, container: string, kind: ProbeKind): string {
  return `${podUid}/${container}/${kind}`;
}

/** NaN when it does not run. */
function startedMs(container: ContainerStatus): number {
  return Date.parse(container.state?.running?.startedAt ?? '');
}

function containerStatus(status: PodStatus, name: string): ContainerStatus | undefined {
  return (
    status.containerStatuses?.find((c) => c.name === name) ?? status.initContainerStatuses?.find((c) => c.name === name)
  );
}
