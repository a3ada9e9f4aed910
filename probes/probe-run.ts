// One run of a probe: up to three attempts while the probe itself cannot be made, and the Event that tells of what came
// of it (pkg/kubelet/prober/prober.go).
import type { Container, Pod, PodStatus, Probe } from '../api/pod.ts';
import { errorMessage } from '../core/errors.ts';
import type { ProbeOutcome } from './outcome.ts';
import type { ProbeKind } from './probe-manager.ts';

/** What is probed. */
export interface ProbeTarget {
  readonly pod: Pod;
  readonly container: Container;
  readonly status: PodStatus;
  /** Without the runtime's prefix. */
  readonly containerId: string;
  readonly probe: Probe;
}

/** One attempt. Its time is over when `signal` aborts. @throws only for faults of ours. */
export type Attempt = (target: ProbeTarget, signal: AbortSignal) => Promise<ProbeOutcome>;

/** Records a Warning on the container. */
export type ReportProbe = (pod: Pod, container: string, reason: 'Unhealthy' | 'ProbeWarning', message: string) => void;

const MAX_ATTEMPTS = 3;

const TITLES: Readonly<Record<ProbeKind, string>> = {
  liveness: 'Liveness',
  readiness: 'Readiness',
  startup: 'Startup',
};

/** Told of every probe that was made, its repetitions counted in. Must not throw. */
export type ObserveProbe = (
  kind: ProbeKind,
  target: ProbeTarget,
  result: 'success' | 'failure' | undefined,
  tookSeconds: number,
) => void;

export class ProbeRunner {
  readonly #attempt: Attempt;
  readonly #report: ReportProbe;
  readonly #observe: ObserveProbe;
  /** Attempts that are going on: with a listener each on one long-lived signal a probe would cost more. */
  readonly #running = new Set<AbortController>();
  #stopped = false;

  constructor(attempt: Attempt, report: ReportProbe, observe: ObserveProbe) {
    this.#attempt = attempt;
    this.#report = report;
    this.#observe = observe;
  }

  /** Ends the attempts that are going on; what comes of them does not count. */
  stop(): void {
    this.#stopped = true;
    for (const controller of this.#running) controller.abort();
  }

  /** 'success' or 'failure'; undefined when the probe could not be made: the result is discarded. */
  async run(kind: ProbeKind, target: ProbeTarget): Promise<'success' | 'failure' | undefined> {
    const startMs = performance.now();
    const result = await this.#run(kind, target);
    if (!this.#stopped) this.#observe(kind, target, result, (performance.now() - startMs) / 1000);
    return result;
  }

  async #run(kind: ProbeKind, target: ProbeTarget): Promise<'success' | 'failure' | undefined> {
    const { pod, container } = target;
    const title = TITLES[kind];
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#limited(target);
      if (this.#stopped) return undefined;
      switch (outcome.kind) {
        case 'success':
          return 'success';
        case 'warning':
          this.#report(pod, container.name, 'ProbeWarning', `${title} probe warning: ${outcome.output}`);
          return 'success';
        case 'failure':
          this.#report(pod, container.name, 'Unhealthy', `${title} probe failed: ${outcome.output}`);
          return 'failure';
        case 'error': {
          if (attempt < MAX_ATTEMPTS) break;
          const text = `${title} probe errored and resulted in ${outcome.state ?? 'unknown'} state: ${outcome.message}`;
          this.#report(pod, container.name, 'Unhealthy', text);
          return undefined;
        }
      }
    }
  }

  async #limited(target: ProbeTarget): Promise<ProbeOutcome> {
    const controller = new AbortController();
    const limitMs = attemptLimitMs(target.probe);
    const timer = limitMs === undefined ? undefined : setTimeout(() => controller.abort(), limitMs);
    this.#running.add(controller);
    try {
      return await this.#attempt(target, controller.signal);
    } catch (err) {
      return { kind: 'error', message: errorMessage(err) };
    } finally {
      clearTimeout(timer);
      this.#running.delete(controller);
    }
  }
}

/**
 * Undefined for commands: the runtime times them, and the call to it has a deadline of its own. It may answer long after
 * the time is over, when what a command left running holds its output open; that answer counts all the same.
 */
export function attemptLimitMs(probe: Probe): number | undefined {
  return probe.exec === undefined ? (probe.timeoutSeconds || 1) * 1000 : undefined;
}
