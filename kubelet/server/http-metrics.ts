// How much the node's HTTP servers are asked. After pkg/kubelet/server/metrics.
import type { IncomingMessage } from 'node:http';
import { Counter, Gauge, Histogram, type Registry } from '../../core/metrics.ts';

const LABELS = ['method', 'path', 'server_type', 'long_running'] as const;
type Label = (typeof LABELS)[number];
type Labels = Readonly<Record<Label, string>>;

const METHODS = new Set(['OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'TRACE', 'CONNECT']);
const FIRST_SEGMENTS = new Set(
  `healthz pods stats metrics run exec attach portForward containerLogs configz runningpods checkpoint logs debug flagz
   statusz pprof`.split(/\s+/),
);
const METRICS_PATHS = new Set(['metrics/cadvisor', 'metrics/probes', 'metrics/resource']);
/** Upstream compares with names in lower case, so that `portForward` is not among them. */
const LONG_RUNNING = new Set(['exec', 'attach', 'portforward', 'debug']);

/** Pure: few values, whatever strangers ask for. */
export function requestLabels(method: string, target: string, serverType: 'readonly' | 'readwrite'): Labels {
  const [first = '', second = ''] = target.split('?', 1)[0]!.replace(/^\//, '').split('/');
  const both = `${first}/${second}`;
  const known = FIRST_SEGMENTS.has(first) ? first : 'other';
  const path = METRICS_PATHS.has(both) ? both : known;
  return {
    method: METHODS.has(method) ? method : 'other',
    path,
    server_type: serverType,
    long_running: String(LONG_RUNNING.has(path)),
  };
}

export interface ServerMetrics {
  readonly requests: Counter<Label>;
  readonly durations: Histogram<Label>;
  readonly inFlight: Gauge<Label>;
}

export function createServerMetrics(registry: Registry): ServerMetrics {
  const common = { labelNames: LABELS, registers: [registry] };
  return {
    requests: new Counter({
      name: 'kubelet_http_requests_total',
      help: 'Requests received by the node HTTP servers',
      ...common,
    }),
    durations: new Histogram({
      name: 'kubelet_http_requests_duration_seconds',
      help: 'Time to serve requests of the node HTTP servers',
      ...common,
    }),
    inFlight: new Gauge({
      name: 'kubelet_http_inflight_requests',
      help: 'Requests of the node HTTP servers being served',
      ...common,
    }),
  };
}

/** Of one server. */
export class HttpMetrics {
  readonly #metrics: ServerMetrics;
  readonly #serverType: 'readonly' | 'readwrite';

  constructor(metrics: ServerMetrics, serverType: 'readonly' | 'readwrite') {
    this.#metrics = metrics;
    this.#serverType = serverType;
  }

  /** Counts a request now, and its duration when what is returned is disposed. */
  observe({ method = '', url = '' }: IncomingMessage): Disposable {
    const labels = requestLabels(method, url, this.#serverType);
    const { requests, durations, inFlight } = this.#metrics;
    requests.inc(labels);
    inFlight.inc(labels);
    const startMs = performance.now();
    return {
      [Symbol.dispose]: () => {
        inFlight.dec(labels);
        durations.observe(labels, (performance.now() - startMs) / 1000);
      },
    };
  }
}
