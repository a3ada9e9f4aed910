// The two servers for real: what load balancers and scrapers get on the wire.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Node } from '../api/kinds.ts';
import { Store } from '../client/store.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { Registry } from '../core/metrics.ts';
import { ProxyHealth } from './health.ts';
import { ProxyMetrics } from './metrics.ts';

const NODE: Node = { metadata: { name: 'a', resourceVersion: '1' } };

function setUp(clock = new FakeClock()) {
  const nodes = new Store<Node>();
  nodes.set(NODE);
  const registry = new Registry();
  const checks: string[] = [];
  const slis = { observe: (name: string, ok: boolean) => checks.push(`${name} ${ok}`), render: () => `${checks}` };
  const deps = { clock, log: silentLog, nodes, metrics: new ProxyMetrics(registry), registry, slis };
  return {
    clock,
    nodes,
    health: new ProxyHealth(
      { nodeName: 'a', syncPeriodMs: 30_000, mode: 'iptables', configz: { mode: 'iptables' } },
      deps,
    ),
  };
}

/** A port of 127.0.0.1 that was free a moment ago. */
async function freeAddress(): Promise<string> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return `127.0.0.1:${port}`;
}

/** Runs a server until the test ends. */
function start(serve: (signal: AbortSignal) => Promise<void>): { stop: () => Promise<void> } {
  const abort = new AbortController();
  const ended = serve(abort.signal);
  const stop = async () => {
    abort.abort();
    await ended;
  };
  onTestFinished(stop);
  return { stop };
}

async function get(url: string): Promise<{ code: number; type: string | null; body: string }> {
  const res = await vi.waitFor(() => fetch(url), 60_000);
  const body = await res.text();
  expect(res.headers.get('content-length')).toBe(String(Buffer.byteLength(body)));
  return { code: res.status, type: res.headers.get('content-type'), body };
}

test('a load balancer sees on the health port whether the node takes traffic, and the metrics count its questions', async () => {
  const { clock, health } = setUp();
  const healthz = await freeAddress();
  const metrics = await freeAddress();
  start((s) => health.serveHealthz(healthz, s));
  start((s) => health.serveMetrics(metrics, s));
  health.synced('IPv4');
  const ok = await get(`http://${healthz}/healthz`);
  expect(ok).toMatchObject({ code: 200, type: 'application/json' });
  expect(JSON.parse(ok.body)).toMatchObject({ nodeEligible: true, status: { IPv4: { healthy: true } } });
  health.queued('IPv4');
  await clock.advance(60_000);
  expect((await get(`http://${healthz}/healthz`)).code).toBe(503);
  expect((await get(`http://${healthz}/livez`)).code).toBe(503);
  expect((await get(`http://${healthz}/metrics`)).code).toBe(404);
  const scraped = (await get(`http://${metrics}/metrics`)).body;
  expect(scraped).toContain('kubeproxy_proxy_healthz_total{code="200"} 1');
  expect(scraped).toContain('kubeproxy_proxy_healthz_total{code="503"} 1');
  expect((await get(`http://${metrics}/proxyMode`)).body).toBe('iptables');
  const configz = await get(`http://${metrics}/configz`);
  expect(configz).toMatchObject({ code: 200, type: 'application/json' });
  expect(JSON.parse(configz.body)).toEqual({ 'kubeproxy.config.k8s.io': { mode: 'iptables' } });
  expect((await get(`http://${metrics}/healthz`)).body).toBe('ok');
  expect((await get(`http://${metrics}/metrics/slis`)).body).toBe('ping true');
});

test('a port that another program holds is taken as soon as it is free', async () => {
  const { clock, health } = setUp();
  const other = createServer((_, res) => res.end('other')).listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = `127.0.0.1:${(other.address() as AddressInfo).port}`;
  start((s) => health.serveMetrics(address, s));
  expect((await get(`http://${address}/proxyMode`)).body).toBe('other');
  await new Promise((resolve) => {
    other.close(resolve);
    other.closeAllConnections();
  });
  await vi.waitFor(async () => {
    await clock.advance(5_000);
    expect(await (await fetch(`http://${address}/proxyMode`)).text()).toBe('iptables');
  }, 60_000);
});

test('stopping ends connections that are held open', async () => {
  const { health } = setUp();
  const address = await freeAddress();
  const { stop } = start((s) => health.serveMetrics(address, s));
  await get(`http://${address}/proxyMode`); // fetch keeps its connection
  await stop();
  await expect(fetch(`http://${address}/proxyMode`)).rejects.toThrow();
});

test.each(['//', '///', '/\\', 'http://[', '*', '/healthz//', '?'])(
  'a request for "%s" is answered',
  async (target) => {
    const { health } = setUp();
    const address = await freeAddress();
    start((s) => health.serveHealthz(address, s));
    health.synced('IPv4');
    await get(`http://${address}/healthz`);
    const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
    socket.write(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 40[04] /);
    expect((await get(`http://${address}/healthz`)).code).toBe(200);
  },
);

test('a connection that cannot be accepted leaves the port open', async () => {
  const { health } = setUp();
  using listen = vi.spyOn(Server.prototype, 'listen');
  const address = await freeAddress();
  start((s) => health.serveMetrics(address, s));
  await get(`http://${address}/proxyMode`);
  (listen.mock.contexts.at(-1) as Server).emit('error', new Error('accept EMFILE')); // as node:net tells it
  expect((await get(`http://${address}/proxyMode`)).code).toBe(200);
});
