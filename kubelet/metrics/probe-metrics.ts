// /metrics/probes: how often each probe went how, and how long it took (pkg/kubelet/prober/prober.go). In a registry of
// its own, from which the series of a pod go with its probes.
import type { Pod } from '../../api/pod.ts';
import { Counter, Gauge, Histogram, Registry } from '../../core/metrics.ts';
import { DEFAULT_BUCKETS_S } from './kubelet-metrics.ts';

const TYPES = { liveness: 'Liveness', readiness: 'Readiness', startup: 'Startup' } as const;
const RESULTS = { success: 'successful', failure: 'failed', unknown: 'unknown' } as const;

type TotalLabels = Record<'probe_type' | 'result' | 'container' | 'pod' | 'namespace' | 'pod_uid', string>;
type TimeLabels = Record<'probe_type' | 'container' | 'pod' | 'namespace', string>;

interface Series {
  readonly totals: Map<string, TotalLabels>;
  readonly times: Map<string, TimeLabels>;
}

export class ProbeMetrics {
  readonly registry = new Registry();
  readonly #series = new Map<string, Series>();
  readonly #total: Counter<keyof TotalLabels>;
  readonly #duration: Histogram<keyof TimeLabels>;

  constructor() {
    const registers = [this.registry];
    this.#total = new Counter({
      name: 'prober_probe_total',
      help: 'Probes of containers, by result',
      labelNames: ['probe_type', 'result', 'container', 'pod', 'namespace', 'pod_uid'],
      registers,
    });
    this.#duration = new Histogram({
      name: 'prober_probe_duration_seconds',
      help: 'Time that probes took, seconds',
      labelNames: ['probe_type', 'container', 'pod', 'namespace'],
      buckets: DEFAULT_BUCKETS_S,
      registers,
    });
    const started = new Gauge({
      name: 'process_start_time_seconds',
      help: 'When this process started, unix seconds',
      registers,
    });
    started.set(Date.now() / 1000 - process.uptime());
  }

  observe(
    kind: keyof typeof TYPES,
    pod: Pod,
    container: string,
    result: 'success' | 'failure' | undefined,
    tookSeconds: number,
  ): void {
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
    const times: TimeLabels = { probe_type: TYPES[kind], container, pod: name, namespace };
    const totals: TotalLabels = { ...times, result: RESULTS[result ?? 'unknown'], pod_uid: uid };
    let series = this.#series.get(uid);
    if (series === undefined) {
      series = { totals: new Map(), times: new Map() };
      this.#series.set(uid, series);
    }
    series.totals.set(`${kind}/${totals.result}/${container}`, totals);
    series.times.set(`${kind}/${container}`, times);
    this.#total.inc(totals);
    if (result !== undefined) this.#duration.observe(times, tookSeconds);
  }

  /** The pod is probed no more. */
  forget(podUid: string): void {
    const series = this.#series.get(podUid);
    if (series === undefined) return;
    this.#series.delete(podUid);
    for (const labels of series.totals.values()) this.#total.remove(labels);
    for (const labels of series.times.values()) this.#duration.remove(labels);
  }
}
