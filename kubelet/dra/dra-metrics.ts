// Times and counts of dynamic resources, by upstream's names (pkg/kubelet/metrics/metrics.go). Only a node with a driver, or
// with a pod that wants one, has them.
import { Gauge, Histogram, type Registry } from '../../core/metrics.ts';
import type { KnownClaim } from './claim-cache.ts';
import type { ClaimManagerDeps } from './claim-manager.ts';
import type { DraCallObserver } from './dra-client.ts';

/** Fifteen bounds between 0.1 s and 40 s, each so many times the one before: calls may take 45 s. */
const BUCKETS_S = Array.from({ length: 15 }, (_, i) => 0.1 * (40 / 0.1) ** (i / 14));
/** Stands for all drivers together, where the sum would count a claim of two drivers twice. */
const ANY_DRIVER = '<any>';

export interface DraMetrics {
  readonly operation: NonNullable<ClaimManagerDeps['observe']>;
  readonly call: DraCallObserver;
}

/** `claims` is asked at each scrape. */
export function draMetrics(registry: Registry, claims: () => Iterable<KnownClaim>): DraMetrics {
  const registers = [registry];
  const operations = new Histogram({
    name: 'dra_operations_duration_seconds',
    help: 'Time that all ResourceClaims of a pod took when it started or ended, seconds',
    labelNames: ['operation_name', 'is_error'],
    buckets: BUCKETS_S,
    registers,
  });
  const calls = new Histogram({
    name: 'dra_grpc_operations_duration_seconds',
    help: 'Time that calls of DRA drivers took, seconds',
    labelNames: ['driver_name', 'method_name', 'grpc_status_code'],
    buckets: BUCKETS_S,
    registers,
  });
  const inUse: Gauge<'driver_name'> = new Gauge({
    name: 'dra_resource_claims_in_use',
    help: 'ResourceClaims that are prepared on the node, by driver',
    labelNames: ['driver_name'],
    registers,
    collect: () => {
      inUse.reset();
      inUse.set({ driver_name: ANY_DRIVER }, 0);
      for (const { isPrepared, drivers } of claims()) {
        if (!isPrepared) continue;
        for (const driver_name of [ANY_DRIVER, ...drivers.keys()]) inUse.inc({ driver_name });
      }
    },
  });
  return {
    operation: (operation_name, failed, seconds) =>
      operations.observe({ operation_name, is_error: String(failed) }, seconds),
    call: (driver_name, method_name, grpc_status_code, seconds) =>
      calls.observe({ driver_name, method_name, grpc_status_code }, seconds),
  };
}
