// Metrics of the process and of the runtime's calls, with the names that dashboards know (prom-client's own defaults,
// pkg/kubelet/metrics).
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { RequestObserver } from '../../client/transport.ts';
import { Counter, Gauge, Histogram, LATENCY_BUCKETS_S, type Registry } from '../../core/metrics.ts';
import type { CallObserver } from '../../cri/remote-runtime.ts';

export function runtimeCallMetrics(registry: Registry): CallObserver {
  const common = { labelNames: ['operation_type'] as const, registers: [registry] };
  const total = new Counter({
    name: 'kubelet_runtime_operations_total',
    help: 'Cumulative number of runtime operations by operation type.',
    ...common,
  });
  const errors = new Counter({
    name: 'kubelet_runtime_operations_errors_total',
    help: 'Cumulative number of runtime operation errors by operation type.',
    ...common,
  });
  const duration = new Histogram({
    name: 'kubelet_runtime_operations_duration_seconds',
    help: 'Duration in seconds of runtime operations. Broken down by operation type.',
    buckets: LATENCY_BUCKETS_S,
    ...common,
  });
  return (operation, tookSeconds, failed) => {
    const labels = { operation_type: operation };
    total.inc(labels);
    duration.observe(labels, tookSeconds);
    if (failed) errors.inc(labels);
  };
}

/** client-go's, seconds. */
const REQUEST_BUCKETS_S = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];

/** Every request to the API server, also those that are repeated because it asked for it. */
export function apiRequestMetrics(registry: Registry): RequestObserver {
  const total = new Counter({
    name: 'rest_client_requests_total',
    help: 'Number of HTTP requests, partitioned by status code, method, and host.',
    labelNames: ['code', 'method', 'host'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'rest_client_request_duration_seconds',
    help: 'Time until the answer to a request begins, seconds, by verb and host.',
    labelNames: ['verb', 'host'],
    buckets: REQUEST_BUCKETS_S,
    registers: [registry],
  });
  return (method, status, host, tookSeconds) => {
    total.inc({ code: status ?? '<error>', method, host });
    duration.observe({ verb: method, host }, tookSeconds);
  };
}

/**
 * How often the event loop is looked at, ms, by a timer inside Node.js. Each look wakes the process, and looks are most of
 * what wakes an idle agent: five a second are enough for a percentile over a scrape's interval.
 */
const LAG_RESOLUTION_MS = 200;

/** How late timers were since the last scrape: what every probe, heartbeat and request had to wait at most. */
export function eventLoopMetrics(registry: Registry): void {
  const delay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  delay.enable();
  const seconds = (ns: number): number => Math.max(0, ns / 1e9 - LAG_RESOLUTION_MS / 1e3); // the wait itself is no delay
  const gauge = (name: string, help: string, collect?: () => void) =>
    new Gauge({ name, help, registers: [registry], ...(collect === undefined ? {} : { collect }) });
  // Collected in the order in which they were made: the first one reads for both.
  const p99 = gauge(
    'nodejs_eventloop_lag_p99_seconds',
    'The 99th percentile of the recorded event loop delays.',
    () => {
      p99.set(seconds(delay.percentile(99)));
      max.set(seconds(delay.max));
      delay.reset();
    },
  );
  const max = gauge('nodejs_eventloop_lag_max_seconds', 'The maximum recorded event loop delay.');
}

/** What keeps the event loop busy or waiting, by kind: timers, sockets, file system calls. A leak shows here first. */
export function activeResourceMetrics(registry: Registry): void {
  const gauge: Gauge<'type'> = new Gauge({
    name: 'nodejs_active_resources',
    help: 'Number of active resources that are currently keeping the event loop alive, grouped by async resource type.',
    labelNames: ['type'],
    registers: [registry],
    collect: () => {
      gauge.reset();
      for (const type of process.getActiveResourcesInfo()) gauge.inc({ type });
    },
  });
}
