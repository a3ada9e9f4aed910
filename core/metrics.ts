// Prometheus metrics: the registry is handed in, never global. Buckets shared by everything that is timed.
export { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Upstream's buckets for latencies that range from a socket call to a container start, seconds. */
export const LATENCY_BUCKETS_S: number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
