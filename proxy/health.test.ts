import { expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import { Store } from '../client/store.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { Registry } from '../core/metrics.ts';
import { ProxyHealth } from './health.ts';
import { ProxyMetrics } from './metrics.ts';

function setUp() {
  const nodes = new Store<Node>();
  nodes.set({ metadata: { name: 'a', resourceVersion: '1' } });
  const clock = new FakeClock();
  const registry = new Registry();
  const slis = { observe: () => {}, render: () => '' };
  const deps = { clock, log: silentLog, nodes, metrics: new ProxyMetrics(registry), registry, slis };
  return {
    nodes,
    clock,
    health: new ProxyHealth(
      { nodeName: 'a', syncPeriodMs: 30_000, mode: 'iptables', configz: { mode: 'iptables' } },
      deps,
    ),
  };
}

test('changes that wait for twice the sync period make the proxy unhealthy until a sync serves them', async () => {
  const { clock, health } = setUp();
  health.queued('IPv4');
  await clock.advance(59_999);
  health.queued('IPv4'); // the oldest counts, whatever else has come to wait
  expect(health.answer('/livez').code).toBe(200);
  await clock.advance(1);
  expect(health.answer('/livez').code).toBe(503);
  health.synced('IPv4');
  expect(health.answer('/livez').code).toBe(200);
});

test('a node about to be removed fails /healthz and not /livez', () => {
  const { nodes, health } = setUp();
  expect(JSON.parse(health.answer('/healthz').body)).toMatchObject({ nodeEligible: true, healthy: true });
  const taint = { key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' };
  const metadata = { name: 'a', resourceVersion: '2' };
  for (const leaving of [
    { metadata, spec: { taints: [taint] } },
    { metadata: { ...metadata, resourceVersion: '3', deletionTimestamp: '2026-01-01T00:00:00Z' } },
  ]) {
    nodes.set(leaving);
    expect(health.answer('/healthz').code).toBe(503);
    expect(health.answer('/livez').code).toBe(200);
  }
});
