// The proxy's metrics, named and bucketed as upstream's.
import { Counter, Gauge, Histogram, type Registry } from '../core/metrics.ts';

const BUCKETS_S = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);

/** Label `ip_family` is `IPv4` or `IPv6`. Make one per registry. */
export class ProxyMetrics {
  readonly syncSeconds: Histogram<'ip_family'>;
  readonly fullSyncSeconds: Histogram<'ip_family'>;
  readonly partialSyncSeconds: Histogram<'ip_family'>;
  readonly lastSync: Gauge<'ip_family'>;
  readonly lastQueued: Gauge<'ip_family'>;
  readonly #restoreFailures: Counter<'ip_family'>;
  readonly #partialRestoreFailures: Counter<'ip_family'>;
  readonly #nftablesFailures: Counter<'ip_family'>;
  readonly serviceChanges: Counter;
  readonly servicesPending: Gauge;
  readonly endpointChanges: Counter;
  readonly endpointsPending: Gauge;
  readonly healthz: Counter<'code'>;
  readonly livez: Counter<'code'>;

  constructor(registry: Registry) {
    const common = (name: string, help: string) => ({ name: `kubeproxy_${name}`, help, registers: [registry] });
    const family = ['ip_family'] as const;
    const timed = (name: string, help: string) =>
      new Histogram({ ...common(name, help), labelNames: family, buckets: BUCKETS_S });
    this.syncSeconds = timed('sync_proxy_rules_duration_seconds', 'Time of a sync, full or partial');
    this.fullSyncSeconds = timed('sync_full_proxy_rules_duration_seconds', 'Time of a full sync');
    this.partialSyncSeconds = timed('sync_partial_proxy_rules_duration_seconds', 'Time of a partial sync');
    this.lastSync = new Gauge({
      ...common('sync_proxy_rules_last_timestamp_seconds', 'Unix time of the last sync that succeeded'),
      labelNames: family,
    });
    this.lastQueued = new Gauge({
      ...common('sync_proxy_rules_last_queued_timestamp_seconds', 'Unix time at which a sync was last asked for'),
      labelNames: family,
    });
    this.#restoreFailures = new Counter({
      ...common('sync_proxy_rules_iptables_restore_failures_total', 'Refused or failed iptables-restore runs'),
      labelNames: family,
    });
    this.#partialRestoreFailures = new Counter({
      ...common('sync_proxy_rules_iptables_partial_restore_failures_total', 'Failed runs that were partial'),
      labelNames: family,
    });
    this.#nftablesFailures = new Counter({
      ...common('sync_proxy_rules_nftables_sync_failures_total', 'Refused or failed nft runs'),
      labelNames: family,
    });
    this.serviceChanges = new Counter(common('sync_proxy_rules_service_changes_total', 'Service events seen'));
    this.servicesPending = new Gauge(
      common('sync_proxy_rules_service_changes_pending', 'Services that wait for a sync'),
    );
    this.endpointChanges = new Counter(common('sync_proxy_rules_endpoint_changes_total', 'EndpointSlice events seen'));
    this.endpointsPending = new Gauge(
      common('sync_proxy_rules_endpoint_changes_pending', 'Services whose endpoints wait for a sync'),
    );
    this.healthz = new Counter({ ...common('proxy_healthz_total', 'Answers of /healthz'), labelNames: ['code'] });
    this.livez = new Counter({ ...common('proxy_livez_total', 'Answers of /livez'), labelNames: ['code'] });
  }

  syncFailed(mode: 'iptables' | 'nftables', family: string, attempt: 'full' | 'partial'): void {
    const labels = { ip_family: family };
    if (mode === 'nftables') {
      this.#nftablesFailures.inc(labels);
      return;
    }
    this.#restoreFailures.inc(labels);
    if (attempt === 'partial') this.#partialRestoreFailures.inc(labels);
  }
}
