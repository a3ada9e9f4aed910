// Prometheus metrics: the registry is handed in, never global. Buckets shared by everything that is timed.
import { exponentialBuckets } from 'prom-client';

export { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Upstream's buckets for latencies that range from a socket call to an image pull, seconds: 5 ms to 12 min. */
export const LATENCY_BUCKETS_S: number[] = exponentialBuckets(0.005, 2.5, 14);
