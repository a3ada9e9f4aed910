// The proxy's metrics, named and bucketed as upstream's.
import { Counter, Gauge, Histogram, type Registry } from '../core/metrics.ts';

/** Up to five minutes: from a pod's change to the rules on every node. */
const PROGRAMMING_BUCKETS_S = [...[0.25, 0.5], ...range(1, 59, 1), ...range(60, 115, 5), ...range(120, 300, 30)];

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
  /** From the change that the API server tells of to the rules, seconds. */
  readonly networkProgrammingSeconds: Histogram<'ip_family'>;
  readonly noLocalEndpoints: Gauge<'traffic_policy' | 'ip_family'>;
  readonly conntrackSeconds: Histogram<'ip_family'>;
  readonly conntrackDeleted: Counter<'ip_family'>;
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
    this.networkProgrammingSeconds = new Histogram({
      ...common('network_programming_duration_seconds', 'From the change of a Service or pod to the rules for it'),
      labelNames: family,
      buckets: PROGRAMMING_BUCKETS_S,
    });
    this.noLocalEndpoints = new Gauge({
      ...common('sync_proxy_rules_no_local_endpoints_total', 'Service ports with the Local policy and none here'),
      labelNames: ['traffic_policy', ...family],
    });
    this.conntrackSeconds = timed('conntrack_reconciler_sync_duration_seconds', 'Time of looking for stale UDP flows');
    this.conntrackDeleted = new Counter({
      ...common('conntrack_reconciler_deleted_entries_total', 'Stale UDP flows removed'),
      labelNames: family,
    });
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

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: (to - from) / step + 1 }, (_, i) => from + i * step);
}

export interface RuleGauges {
  readonly total: Gauge<'table' | 'ip_family'>;
  readonly last: Gauge<'table' | 'ip_family'>;
}

/** Of the iptables mode. Make one per registry. */
export function ruleGauges(registry: Registry): RuleGauges {
  const gauge = (name: string, help: string) =>
    new Gauge({
      name: `kubeproxy_sync_proxy_rules_iptables_${name}`,
      help,
      labelNames: ['table', 'ip_family'],
      registers: [registry],
    });
  return { total: gauge('total', 'Rules that the proxy has'), last: gauge('last', 'Rules that the last sync wrote') };
}

/** Of the nftables mode, in which the back end alone knows of them. Make one per registry. */
export function cleanupFailures(registry: Registry): Counter<'ip_family'> {
  return new Counter({
    name: 'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total',
    help: 'Chains that nothing leads to and that could not be deleted',
    labelNames: ['ip_family'],
    registers: [registry],
  });
}
