import { createServer } from 'node:http';
import { type AddressInfo, Server } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { ServiceHealthServers, serviceHealthOf } from './service-health.ts';
import type { Endpoint, ServicePort } from './service-map.ts';

/** A port that was free a moment ago; tests of other suites may run at the same time, so nobody relies on it twice. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function servers(addresses: readonly string[] = ['127.0.0.1']): {
  health: ServiceHealthServers;
  errors: string[];
  proxy: { healthy: boolean };
} {
  const errors: string[] = [];
  const proxy = { healthy: true };
  const health = new ServiceHealthServers({
    addresses: () => [...addresses],
    isProxyHealthy: () => proxy.healthy,
    onListenError: (key, port, message) => errors.push(`${key} ${port} ${message}`),
    onAcceptError: (key, port, message) => errors.push(`${key} ${port} ${message}`),
  });
  onTestFinished(() => health[Symbol.asyncDispose]());
  return { health, errors, proxy };
}

const get = (port: number) => fetch(`http://127.0.0.1:${port}/any/path`, { headers: { connection: 'close' } });

test('tells balancers whether the node has endpoints', async () => {
  const { health, proxy } = servers();
  const port = await freePort();
  await health.update(new Map([['ns/web', { port, localEndpoints: 2 }]]));
  const answer = await get(port);
  expect(answer.status).toBe(200);
  expect(answer.headers.get('x-load-balancing-endpoint-weight')).toBe('2');
  const body = await answer.text();
  expect(answer.headers.get('content-length')).toBe(String(body.length));
  expect(body).toBe(
    '{\n\t"service": {\n\t\t"namespace": "ns",\n\t\t"name": "web"\n\t},\n\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}',
  );
  await health.update(new Map([['ns/web', { port, localEndpoints: 0 }]]));
  expect((await get(port)).status).toBe(503);
  await health.update(new Map([['ns/web', { port, localEndpoints: 1 }]]));
  proxy.healthy = false;
  expect((await get(port)).status).toBe(503);
  await health.update(new Map());
  await expect(get(port)).rejects.toThrow('fetch failed');
});

test('a node that gets another address is asked there', async () => {
  const addresses = ['127.0.0.1'];
  const { health } = servers(addresses);
  const port = await freePort();
  const wanted = new Map([['ns/web', { port, localEndpoints: 1 }]]);
  await health.update(wanted);
  expect((await get(port)).status).toBe(200);
  addresses.splice(0, 1, '127.0.0.2');
  await health.update(wanted);
  await expect(get(port)).rejects.toThrow('fetch failed');
  expect((await fetch(`http://127.0.0.2:${port}/`, { headers: { connection: 'close' } })).status).toBe(200);
});

test('a port that is taken is told, and opened at a later update', async () => {
  const { health, errors } = servers();
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as AddressInfo;
  const wanted = new Map([['ns/web', { port, localEndpoints: 1 }]]);
  await health.update(wanted);
  expect(errors).toEqual([expect.stringMatching(new RegExp(`^ns/web ${port} .*EADDRINUSE`))]);
  await new Promise((resolve) => other.close(resolve));
  await health.update(wanted);
  expect((await get(port)).status).toBe(200);
});

test('a connection that cannot be accepted is told, and the port stays open', async () => {
  const { health, errors } = servers();
  const port = await freePort();
  using listen = vi.spyOn(Server.prototype, 'listen');
  await health.update(new Map([['ns/web', { port, localEndpoints: 1 }]]));
  (listen.mock.contexts[0] as Server).emit('error', new Error('accept EMFILE')); // as node:net tells it
  expect(errors).toEqual([`ns/web ${port} accept EMFILE`]);
  expect((await get(port)).status).toBe(200);
});

test('counts addresses of local ready endpoints once, over all ports', () => {
  const port = (healthCheckNodePort?: number) => ({ healthCheckNodePort }) as ServicePort;
  const endpoint = (ip: string, isLocal: boolean, ready: boolean) => ({ ip, isLocal, ready }) as Endpoint;
  const endpoints = new Map([
    ['http/TCP', [endpoint('10.0.0.1', true, true), endpoint('10.0.0.2', true, false)]],
    ['https/TCP', [endpoint('10.0.0.1', true, true), endpoint('10.0.0.3', false, true)]],
  ]);
  expect(serviceHealthOf([port(), port(31_000)], endpoints)).toEqual({ port: 31_000, localEndpoints: 1 });
  expect(serviceHealthOf([port(31_000)], undefined)).toEqual({ port: 31_000, localEndpoints: 0 });
  expect(serviceHealthOf([port()], endpoints)).toBeUndefined();
});
