import { expect, onTestFinished, test } from 'vitest';
import type { EndpointSlice, Node, Service } from '../api/kinds.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import { Store } from '../client/store.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { Registry } from '../core/metrics.ts';
import { FakeIptables } from '../host/fake-iptables.ts';
import { RULES } from './fake-rule-options.ts';
import { IptablesBackend } from './iptables/iptables.ts';
import type { NodeAddresses } from './options.ts';
import { ServiceProxy } from './proxy.ts';

const web = (clusterIP: string, resourceVersion: string): Service => ({
  metadata: { namespace: 'ns', name: 'web', resourceVersion },
  spec: { clusterIP, ports: [{ port: 80 }] },
});

async function running(addresses?: () => NodeAddresses, lookAtAddresses = async () => {}) {
  const kernel = new FakeIptables(['192.0.2.10', '192.0.2.11']);
  const clock = new FakeClock();
  const services = new Store<Service>();
  const endpointSlices = new Store<EndpointSlice>();
  const nodes = new Store<Node>();
  const registry = new Registry();
  const rules = { ...RULES, localTraffic: undefined, localhostNodePorts: false };
  const periods = { minSyncPeriodMs: 1_000, syncPeriodMs: 30_000, fullSyncIntervalMs: 3_600_000 };
  const sysctl = { read: async () => undefined, set: async () => true };
  const told: string[] = [];
  const events: EventRecorder = {
    event: (about, type, reason) => told.push(`${about.kind} ${about.name} ${type} ${reason}`),
  };
  const slis = { observe: () => {}, render: () => '' };
  const deps = {
    events,
    services,
    endpointSlices,
    nodes,
    exec: kernel.exec,
    sysctl,
    clock,
    registry,
    slis,
  };
  const backends = [new IptablesBackend(rules, { exec: kernel.exec, ...(addresses && { addresses }) })];
  const opts = { nodeName: 'a', mode: 'iptables' as const, routeLocalnet: false, ...periods };
  const proxy = new ServiceProxy(opts, { ...deps, backends, lookAtAddresses, log: silentLog });
  services.replace([web('10.96.0.1', '1')]);
  endpointSlices.replace([]);
  const stop = new AbortController();
  const ended = proxy.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await ended;
  });
  await proxy.synced;
  await clock.advance(1_000);
  const refuses = (dst: string) =>
    kernel.chains('filter').includes('KUBE-SERVICES') &&
    kernel.trace({ src: '192.0.2.9', dst, proto: 'tcp', dport: 80 })[0]!.verdict === 'reject';
  return { kernel, clock, services, endpointSlices, nodes, registry, refuses, told };
}

test('rules that somebody flushed are back after one sync period, without any change of a Service', async () => {
  const { kernel, clock, refuses } = await running();
  expect(refuses('10.96.0.1')).toBe(true);
  kernel.flush('filter');
  expect(refuses('10.96.0.1')).toBe(false);
  await clock.advance(30_000);
  await clock.advance(1_000);
  expect(refuses('10.96.0.1')).toBe(true);
});

test('a new address of the node gets its node ports as the Node tells it, else within a sync period', async () => {
  let [ip, next] = ['192.0.2.10', '192.0.2.10'];
  const look = async () => {
    ip = next;
  };
  const { kernel, clock, nodes } = await running(() => ({ nodePortIps: [ip], nodeIps: [ip] }), look);
  const answering = () =>
    kernel.rules('nat', 'KUBE-SERVICES').flatMap((rule) => / -d (\S+) -j KUBE-NODEPORTS/.exec(rule)?.[1] ?? []);
  expect(answering()).toEqual([ip]);
  ip = '192.0.2.11';
  nodes.set({ metadata: { name: 'a', resourceVersion: '1' } });
  await clock.advance(1_000);
  expect(answering()).toEqual([ip]);
  next = '192.0.2.12';
  await clock.advance(30_000);
  await clock.advance(1_000);
  expect(answering()).toEqual([next]);
});

test('whoever describes the node sees that the proxy started', async () => {
  const { told } = await running();
  expect(told).toEqual(['Node a Normal Starting']);
});

test('a change that meets flushed tables is in place with the next sync, not after the retry period', async () => {
  const { kernel, clock, services, registry, refuses } = await running();
  kernel.flush('filter');
  services.set(web('10.96.0.2', '2'));
  await clock.advance(1_000);
  await clock.advance(1_000);
  expect(refuses('10.96.0.2')).toBe(true);
  const failures = 'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"} 1';
  const metrics = await registry.metrics();
  expect(metrics).toContain(failures);
  // A sync that fails takes its time as well.
  expect(metrics).toContain('kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1');
  expect(metrics).toContain('kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 2');
  expect(metrics).toContain('kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 3');
});

test('a Local policy without an endpoint here is counted, and how long a change took from where it began', async () => {
  const { clock, services, endpointSlices, registry } = await running();
  const local = web('10.96.0.1', '2');
  services.set({ ...local, spec: { ...local.spec, internalTrafficPolicy: 'Local' } });
  const annotations = {
    'endpoints.kubernetes.io/last-change-trigger-time': new Date(clock.now() - 250).toISOString(),
  };
  endpointSlices.set({
    metadata: { namespace: 'ns', name: 'web-x', labels: { 'kubernetes.io/service-name': 'web' }, annotations },
    addressType: 'IPv4',
    ports: [{ name: '', port: 8080 }],
    endpoints: [{ addresses: ['10.244.7.7'], nodeName: 'other' }],
  });
  await clock.advance(2_000);
  const metrics = await registry.metrics();
  expect(metrics).toContain(
    'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal",ip_family="IPv4"} 1',
  );
  expect(metrics).toContain('kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1');
});

test('a Service and its slices are written by one sync', async () => {
  const { kernel, clock, services, endpointSlices, registry } = await running();
  const partial = async () =>
    /sync_partial_proxy_rules_duration_seconds_count\{ip_family="IPv4"\} (\d+)/.exec(await registry.metrics())?.[1];
  await clock.advance(2_000);
  const before = Number((await partial()) ?? 0);
  services.set({ ...web('10.96.0.3', '3'), metadata: { namespace: 'ns', name: 'late' } });
  await clock.advance(5); // as long as the API server needs for another write
  endpointSlices.set({
    metadata: { namespace: 'ns', name: 'late-x', labels: { 'kubernetes.io/service-name': 'late' } },
    addressType: 'IPv4',
    ports: [{ name: '', port: 8080 }],
    endpoints: [{ addresses: ['10.244.7.7'] }],
  });
  await clock.advance(0);
  const [to] = kernel.trace({ src: '192.0.2.9', dst: '10.96.0.3', proto: 'tcp', dport: 80 });
  expect(to).toMatchObject({ verdict: 'accept', to: '10.244.7.7:8080' });
  expect(Number(await partial()) - before).toBe(1);
});

test('a full sync that met a held lock is tried again at once, not after the retry period', async () => {
  const { kernel, clock, services, refuses } = await running();
  const held = 'Another app is currently holding the xtables lock.';
  kernel.failNext(held, 4); // the partial one
  kernel.failNext(held, 4); // the full one that follows
  services.set(web('10.96.0.3', '3'));
  for (let i = 0; i < 5; i++) await clock.advance(1_000);
  expect(refuses('10.96.0.3')).toBe(true);
});

test('a slice that is given to another Service leaves the one it had', async () => {
  const { kernel, clock, services, endpointSlices } = await running();
  const slice = (service: string, resourceVersion: string): EndpointSlice => ({
    metadata: { namespace: 'ns', name: 'x', resourceVersion, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ name: '', port: 8080 }],
    endpoints: [{ addresses: ['10.244.7.7'] }],
  });
  const at = (dst: string) => kernel.trace({ src: '192.0.2.9', dst, proto: 'tcp', dport: 80 })[0]!.verdict;
  services.set({ ...web('10.96.0.3', '3'), metadata: { namespace: 'ns', name: 'other' } });
  endpointSlices.set(slice('web', '1'));
  await clock.advance(2_000);
  expect([at('10.96.0.1'), at('10.96.0.3')]).toEqual(['accept', 'reject']);
  endpointSlices.set(slice('other', '2'));
  await clock.advance(2_000);
  expect([at('10.96.0.1'), at('10.96.0.3')]).toEqual(['reject', 'accept']);
});
