// How much the logs of each container take on the node's disk (pkg/kubelet/metrics/collectors/log_metrics.go).
import { Gauge, type Registry } from '../../core/metrics.ts';
import type { StorageMeter } from '../stats/storage-meter.ts';
import type { PodTarget } from '../stats/targets.ts';

export interface LogGaugeDeps {
  readonly storage: Pick<StorageMeter, 'logs'>;
  readonly targets: () => readonly PodTarget[];
}

/** Each container's directory is read for it: more often than the usual scrape would cost more than it tells, ms. */
const MAX_AGE_MS = 60_000;

/** Nothing is looked at before a scrape. */
export function registerLogGauge(registry: Registry, { storage, targets }: LogGaugeDeps): void {
  const gauge: Gauge<'uid' | 'namespace' | 'pod' | 'container'> = new Gauge({
    name: 'kubelet_container_log_filesystem_used_bytes',
    help: 'Bytes that the logs of the container take on the file system',
    labelNames: ['uid', 'namespace', 'pod', 'container'],
    registers: [registry],
    collect: async () => {
      const pods = targets();
      const logs = await storage.logs(pods, MAX_AGE_MS);
      gauge.reset();
      for (const { uid, namespace, name: pod } of pods) {
        for (const [container, { usedBytes }] of logs.get(uid)?.containers ?? []) {
          gauge.set({ uid, namespace, pod, container }, usedBytes);
        }
      }
    },
  });
}
