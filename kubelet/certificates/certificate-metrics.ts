// What the node tells about its certificates, with upstream's names (pkg/kubelet/certificate/kubelet.go).
import { Counter, Gauge, Histogram, type Registry } from '../../core/metrics.ts';

/** Seconds: from a minute to four years. */
const AGE_BUCKETS_S = [60, 3600, 14_400, 86_400, 604_800, 2_592_000, 7_776_000, 15_552_000, 31_104_000, 124_416_000];

const TTL = {
  client: {
    name: 'kubelet_certificate_manager_client_ttl_seconds',
    help: "Time until the node's client certificate ends, negative once it has, +Inf when there is none",
  },
  serving: {
    name: 'kubelet_certificate_manager_server_ttl_seconds',
    help: "Time until the node's serving certificate ends, negative once it has, +Inf when there is none",
  },
};

const ERRORS = {
  client: {
    name: 'kubelet_certificate_manager_client_expiration_renew_errors',
    help: "Tries to renew the node's client certificate that failed",
  },
  serving: {
    name: 'kubelet_server_expiration_renew_errors',
    help: "Tries to renew the node's serving certificate that failed",
  },
};

/** Whole seconds until the certificate ends, worked out when the metrics are asked for. */
export function ttlMetric(
  which: 'client' | 'serving',
  source: { readonly expiresMs: () => number | undefined; readonly nowMs: () => number },
  registry: Registry,
): void {
  new Gauge({
    ...TTL[which],
    registers: [registry],
    collect() {
      const endMs = source.expiresMs();
      this.set(endMs === undefined ? Number.POSITIVE_INFINITY : Math.trunc((endMs - source.nowMs()) / 1000));
    },
  });
}

export function renewErrorsMetric(which: 'client' | 'serving', registry: Registry): Counter {
  return new Counter({ ...ERRORS[which], registers: [registry] });
}

/** How long a serving certificate had been in use when it was replaced, seconds. */
export function rotationAgeMetric(registry: Registry): Histogram {
  return new Histogram({
    name: 'kubelet_certificate_manager_server_rotation_seconds',
    help: 'Age of the serving certificate that was replaced',
    buckets: AGE_BUCKETS_S,
    registers: [registry],
  });
}
