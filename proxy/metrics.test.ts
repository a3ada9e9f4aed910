import { expect, test } from 'vitest';
import { Registry } from '../core/metrics.ts';
import { ProxyMetrics } from './metrics.ts';

/** Names, kinds and labels that dashboards and alerts for kube-proxy know (pkg/proxy/metrics). */
const UPSTREAM: readonly (readonly [name: string, type: string, labels: readonly string[]])[] = [
  ['sync_proxy_rules_duration_seconds', 'histogram', ['ip_family']],
  ['sync_full_proxy_rules_duration_seconds', 'histogram', ['ip_family']],
  ['sync_partial_proxy_rules_duration_seconds', 'histogram', ['ip_family']],
  ['sync_proxy_rules_last_timestamp_seconds', 'gauge', ['ip_family']],
  ['sync_proxy_rules_last_queued_timestamp_seconds', 'gauge', ['ip_family']],
  ['network_programming_duration_seconds', 'histogram', ['ip_family']],
  ['sync_proxy_rules_endpoint_changes_pending', 'gauge', []],
  ['sync_proxy_rules_endpoint_changes_total', 'counter', []],
  ['sync_proxy_rules_service_changes_pending', 'gauge', []],
  ['sync_proxy_rules_service_changes_total', 'counter', []],
  ['sync_proxy_rules_no_local_endpoints_total', 'gauge', ['traffic_policy', 'ip_family']],
  ['proxy_healthz_total', 'counter', ['code']],
  ['proxy_livez_total', 'counter', ['code']],
  ['sync_proxy_rules_iptables_restore_failures_total', 'counter', ['ip_family']],
  ['sync_proxy_rules_iptables_partial_restore_failures_total', 'counter', ['ip_family']],
  ['sync_proxy_rules_nftables_sync_failures_total', 'counter', ['ip_family']],
  ['conntrack_reconciler_sync_duration_seconds', 'histogram', ['ip_family']],
  ['conntrack_reconciler_deleted_entries_total', 'counter', ['ip_family']],
];

test("every metric has upstream's name, kind and labels, and a text that says what it is", async () => {
  const registry = new Registry();
  new ProxyMetrics(registry);
  const found = (await registry.getMetricsAsJSON()).map((m) => {
    const { labelNames = [] } = registry.getSingleMetric(m.name) as unknown as { labelNames?: readonly string[] };
    expect(m.help).not.toBe('');
    return [m.name.replace('kubeproxy_', ''), m.type, labelNames];
  });
  expect(new Map(found.map((m) => [m[0], m]))).toEqual(new Map(UPSTREAM.map((m) => [m[0], m])));
});

test('network programming is told from a quarter of a second to five minutes', async () => {
  const registry = new Registry();
  new ProxyMetrics(registry).networkProgrammingSeconds.observe({ ip_family: 'IPv4' }, 61);
  const text = await registry.metrics();
  const bounds = [...text.matchAll(/network_programming_duration_seconds_bucket\{le="([^"]+)"/g)].map((m) => m[1]);
  expect(bounds.slice(0, 4)).toEqual(['0.25', '0.5', '1', '2']);
  expect(bounds.slice(-3)).toEqual(['270', '300', '+Inf']);
  expect(bounds).toHaveLength(2 + 59 + 12 + 7 + 1);
});
