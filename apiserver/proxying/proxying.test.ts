import { once } from 'node:events';
import {
  createServer as createHttpServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { KubeObject } from '../../api/meta.ts';
import { createCa, issueClientCert, issueServerCert } from '../../api/pki.ts';
import type { ResourceType } from '../../api/resources.ts';
import { FakeRuntimeServer } from '../../api/streaming/fake-runtime-server.ts';
import { SpdySession } from '../../api/streaming/spdy-session.ts';
import { requestUpgrade, spdyUpgradeHeaders, type UpgradeRefused } from '../../api/streaming/upgrade-client.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { parsePath, type RequestInfo } from '../request.ts';
import { StatusError } from '../status-error.ts';
import type { CallContext, ConnectSubresource } from '../subresource.ts';
import { proxyDestination, takeApart } from './generic-proxy.ts';
import { proxyingSubresources } from './subresources.ts';

const validity = { nowMs: Date.now(), lifetimeMs: 3600_000 };
const ca = createCa('cluster', validity);
const serving = issueServerCert(ca, { commonName: 'kubelet' }, { ipAddresses: ['127.0.0.1'] }, validity);
const client = issueClientCert(ca, { commonName: 'apiserver' }, validity);

class Objects implements ObjectReader {
  readonly all = new Map<string, KubeObject>();

  put(plural: string, object: object): void {
    const { namespace, name } = (object as KubeObject).metadata ?? {};
    this.all.set([plural, namespace, name].join(' '), object as KubeObject);
  }

  get<T extends KubeObject>(
    type: ResourceType<T>,
    { namespace, name }: { namespace?: string; name: string },
  ): T | undefined {
    return this.all.get([type.plural, namespace, name].join(' ')) as T | undefined;
  }

  list<T extends KubeObject>(type: ResourceType<T>, namespace?: string): readonly T[] {
    const prefix = [type.plural, namespace, ''].join(' ');
    return [...this.all].filter(([key]) => key.startsWith(prefix)).map(([, object]) => object as T);
  }
}

let objects: Objects;
let kubelet: FakeRuntimeServer;
let front: Server;
let subresources: ConnectSubresource[];
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let origin: string;
const sockets = new Set<Duplex>();

beforeEach(async () => {
  objects = new Objects();
  const tls = { ...serving, ca: ca.cert, requestCert: true, rejectUnauthorized: true };
  kubelet = new FakeRuntimeServer(((handler: never) => createHttpsServer(tls, handler)) as never);
  kubelet.server.removeAllListeners('request').on('request', (request, response) => answer(request, response));
  await startFront();
  const port = await kubelet.listen();
  objects.put('nodes', {
    metadata: { name: 'n1' },
    status: {
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
    },
  });
  objects.put('pods', {
    metadata: { namespace: 'ns', name: 'p' },
    spec: { nodeName: 'n1', containers: [{ name: 'c' }] },
  });
  objects.put('pods', { metadata: { namespace: 'ns', name: 'waiting' }, spec: { containers: [{ name: 'c' }] } });
  subresources = proxyingSubresources({ kubeletTls: { ...client, ca: ca.cert } }, objects);
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  front.closeAllConnections();
  await new Promise<void>((resolve) => front.close(() => resolve()));
  await kubelet.close();
});

/** Stands for the server's routes: finds the subresource, answers a StatusError. */
async function startFront(): Promise<void> {
  const locate = (request: IncomingMessage): { subresource: ConnectSubresource; info: RequestInfo } => {
    const [path = '', search = ''] = (request.url ?? '').split('?');
    const query = new URLSearchParams(search);
    const info = { ...parsePath(request.method ?? '', path, query)!, query } as RequestInfo;
    return {
      subresource: subresources.find((s) => s.resource === info.resource && s.subresource === info.subresource)!,
      info,
    };
  };
  const context = (info: RequestInfo, end: Duplex | ServerResponse): CallContext => {
    const gone = new AbortController();
    end.on('close', () => gone.abort());
    return { info, dryRun: false, signal: gone.signal, warn: () => {} };
  };
  front = createHttpServer((request, response) => {
    const { subresource, info } = locate(request);
    subresource.handle(request, response, context(info, response)).catch((err: StatusError) => {
      response.writeHead(err.code).end(JSON.stringify(err.toStatus()));
    });
  });
  front.on('upgrade', (request, socket, head) => {
    sockets.add(socket);
    socket.on('error', () => {});
    const { subresource, info } = locate(request);
    subresource.upgrade!(request, socket, head, context(info, socket)).catch((err: StatusError) => {
      const body = err instanceof StatusError ? JSON.stringify(err.toStatus()) : String(err);
      socket.end(
        `HTTP/1.1 ${err.code ?? 500} No\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
    });
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
}

const POD = '/api/v1/namespaces/ns/pods/p';
const never = new AbortController().signal;

async function get(
  path: string,
  init: { method?: string; body?: string; headers?: Record<string, string> } = {},
): Promise<{ status: number; headers: IncomingMessage['headers']; body: string }> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpRequest(
      `${origin}${path}`,
      { method: init.method ?? 'GET', headers: init.headers ?? {}, agent: false },
      resolve,
    )
      .on('error', reject)
      .end(init.body);
  });
  return { status: response.statusCode!, headers: response.headers, body: await text(response) };
}

function endWith(stream: { end(text: string): void }, session: SpdySession, status: object): void {
  stream.end(JSON.stringify(status));
  setImmediate(() => session.close());
}

test('exec of a WebSocket client reaches the kubelet as SPDY, with our certificate', async () => {
  kubelet.expected = 3;
  let caller: unknown;
  kubelet.onCommand = ({ request, streams, session }) => {
    caller = (request.socket as TLSSocket).getPeerCertificate().subject.CN;
    streams.get('stdout')!.end('out');
    streams.get('stderr')!.end('err');
    endWith(streams.get('error')!, session, { status: 'Success' });
  };
  const ws = new WebSocket(
    `${origin.replace('http', 'ws')}${POD}/exec?command=sh&command=-c&command=a%20b&stdout=true&stderr=true`,
    ['v5.channel.k8s.io'],
    { headers: { authorization: 'Bearer secret' } },
  );
  const messages: string[] = [];
  ws.on('message', (m: Buffer) => void messages.push(m.toString('latin1')));
  const code = await new Promise((resolve) => ws.on('close', resolve));
  expect(messages.toSorted()).toEqual(['\x01out', '\x02err', '\x03{"status":"Success"}']);
  expect(code).toBe(1000);
  const [request] = kubelet.requests;
  expect(request!.url).toBe('/exec/ns/p/c?command=sh&command=-c&command=a+b&output=1&error=1');
  expect(request!.headers.authorization).toBeUndefined();
  expect(caller).toBe('apiserver');
});

test('exec of a SPDY client is passed through byte by byte', async () => {
  kubelet.expected = 2;
  kubelet.onCommand = ({ streams, session }) => {
    streams.get('stdout')!.end('hello');
    endWith(streams.get('error')!, session, { status: 'Success' });
  };
  const upgraded = await requestUpgrade(
    new URL(`${origin}${POD}/exec?command=ls&stdout=true`),
    { method: 'POST', headers: spdyUpgradeHeaders(['v4.channel.k8s.io', 'v3.channel.k8s.io']) },
    never,
  );
  expect(upgraded.streamProtocol).toBe('v4.channel.k8s.io');
  const session = new SpdySession(upgraded.socket, upgraded.head, { role: 'client' });
  const error = session.createStream({ streamtype: 'error' });
  const stdout = session.createStream({ streamtype: 'stdout' });
  expect(await text(stdout)).toBe('hello');
  expect(await text(error)).toBe('{"status":"Success"}');
  session.destroy();
});

test('a node that declares it gets WebSockets as they are, but no token', async () => {
  const node = objects.all.get('nodes  n1') as { status: object };
  objects.put('nodes', {
    metadata: { name: 'n1' },
    status: { ...node.status, declaredFeatures: ['ExtendWebSocketsToKubelet'] },
  });
  kubelet.refuseWith = { code: 400, body: 'seen' };
  const token = `base64url.bearer.authorization.k8s.io.${Buffer.from('t').toString('base64url')}`;
  const ws = new WebSocket(`${origin.replace('http', 'ws')}${POD}/exec?command=ls&stdout=true`, [
    token,
    'v5.channel.k8s.io',
  ]);
  await new Promise((resolve) => ws.on('unexpected-response', resolve));
  expect(kubelet.requests[0]!.method).toBe('GET');
  expect(kubelet.requests[0]!.headers['sec-websocket-protocol']).toBe('v5.channel.k8s.io');
});

test('what the kubelet refuses is answered before 101, in its words', async () => {
  kubelet.refuseWith = { code: 404, body: 'pod does not exist\n' };
  const refusalOf = (headers: Record<string, string | readonly string[]>): Promise<UpgradeRefused> =>
    requestUpgrade(new URL(`${origin}${POD}/exec?command=ls&stdout=true`), { method: 'GET', headers }, never).then(
      () => Promise.reject(new Error('was upgraded')),
      (err: UpgradeRefused) => err,
    );
  const webSocket = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-protocol': 'v5.channel.k8s.io',
  };
  for (const headers of [webSocket, spdyUpgradeHeaders(['v4.channel.k8s.io'])]) {
    const refusal = await refusalOf(headers);
    expect(refusal.statusCode).toBe(404);
    expect(JSON.parse(refusal.body)).toMatchObject({
      kind: 'Status',
      reason: 'NotFound',
      message: 'pod does not exist',
    });
  }
  await kubelet.close();
  const dead = await refusalOf(webSocket);
  expect(JSON.parse(dead.body)).toMatchObject({
    code: 500,
    message: expect.stringContaining('error dialing backend: '),
  });
  kubelet = new FakeRuntimeServer();
});

test('what cannot be streamed is refused with a reason', async () => {
  const upgrade = (path: string): Promise<unknown> =>
    requestUpgrade(
      new URL(`${origin}${path}`),
      { method: 'POST', headers: spdyUpgradeHeaders(['v4.channel.k8s.io']) },
      never,
    ).catch((err: UpgradeRefused) => JSON.parse(err.body).message);
  expect(await upgrade('/api/v1/namespaces/ns/pods/waiting/exec?command=ls&stdout=1')).toBe(
    'pod waiting does not have a host assigned',
  );
  expect(await upgrade('/api/v1/namespaces/ns/pods/none/exec?command=ls&stdout=1')).toBe('pods "none" not found');
  expect(await upgrade(`${POD}/exec?command=ls&stdout=1&container=x`)).toBe('container x is not valid for pod p');
  expect(await upgrade(`${POD}/exec?command=ls`)).toBe('you must specify at least 1 of stdin, stdout, stderr');
  expect((await get(`${POD}/exec?command=ls&stdout=1`)).status).toBe(400);
});

test('logs come as they are written', async () => {
  const second = Promise.withResolvers<void>();
  answer = async (request, response) => {
    expect(request.url).toBe('/containerLogs/ns/p/c?follow=true&tailLines=3');
    response.writeHead(200);
    response.write('first\n');
    await second.promise;
    response.end('second\n');
  };
  const response = await new Promise<IncomingMessage>((resolve) => {
    httpRequest(`${origin}${POD}/log?follow=true&tailLines=3`, resolve).end();
  });
  expect(response.headers['content-type']).toBe('text/plain');
  const chunks: string[] = [];
  for await (const chunk of response) {
    chunks.push(String(chunk));
    second.resolve();
  }
  expect(chunks).toEqual(['first\n', 'second\n']);
});

test.each([
  ['bytes for who offers nothing', [], '', (text: string) => text],
  ['bytes', ['binary.k8s.io'], 'binary.k8s.io', (text: string) => text],
  [
    'text',
    ['unknown.k8s.io', 'base64.binary.k8s.io'],
    'base64.binary.k8s.io',
    (text: string) => Buffer.from(text).toString('base64'),
  ],
])('logs come to a WebSocket as messages: %s', async (_what, offered, chosen, encoded) => {
  const second = Promise.withResolvers<void>();
  answer = async (_request, response) => {
    response.writeHead(200);
    response.write('first\n');
    await second.promise;
    response.end('second\n');
  };
  const ws = new WebSocket(`${origin.replace('http', 'ws')}${POD}/log?follow=true`, offered);
  const messages: string[] = [];
  ws.on('message', (message: Buffer) => {
    messages.push(String(message));
    if (messages.length === 2) second.resolve();
  });
  expect(await new Promise((resolve) => ws.on('close', resolve))).toBe(1000);
  expect(ws.protocol).toBe(chosen);
  expect(messages).toEqual(['', encoded('first\n'), encoded('second\n')]); // the first tells that it was opened
});

test('a log that cannot be had is refused before the WebSocket, and so is an unknown protocol', async () => {
  answer = (_request, response) => response.writeHead(400).end('container "c" is waiting to start');
  const refusalOf = async (protocol: string) => {
    const ws = new WebSocket(`${origin.replace('http', 'ws')}${POD}/log`, [protocol]);
    const [, response] = (await once(ws, 'unexpected-response')) as [unknown, IncomingMessage];
    return [response.statusCode, (JSON.parse(await text(response)) as { message: string }).message];
  };
  expect(await refusalOf('binary.k8s.io')).toEqual([400, 'container "c" is waiting to start']);
  expect(await refusalOf('v4.channel.k8s.io')).toEqual([403, expect.stringContaining('v4.channel.k8s.io')]);
});

test('a WebSocket that goes away ends the request to the kubelet', async () => {
  const closed = Promise.withResolvers<void>();
  answer = (_request, response) => {
    response.write('x');
    response.on('close', closed.resolve);
  };
  const ws = new WebSocket(`${origin.replace('http', 'ws')}${POD}/log?follow=true`, ['binary.k8s.io']);
  ws.on('message', () => ws.terminate());
  await closed.promise;
});

test('a client that stops following ends the request to the kubelet', async () => {
  const closed = Promise.withResolvers<void>();
  answer = (_request, response) => {
    response.write('x');
    response.on('close', closed.resolve);
  };
  const response = await new Promise<IncomingMessage>((resolve) => {
    httpRequest(`${origin}${POD}/log?follow=true`, { agent: false }, resolve).end();
  });
  response.once('data', () => response.destroy());
  await closed.promise;
});

test('the kubelet’s refusal of logs, missing pods and bad options', async () => {
  answer = (_request, response) =>
    response.writeHead(400).end('container "c" in pod "p" is waiting to start: ContainerCreating');
  const refused = await get(`${POD}/log`);
  expect(refused.status).toBe(400);
  expect(JSON.parse(refused.body)).toMatchObject({
    reason: 'BadRequest',
    message: expect.stringContaining('ContainerCreating'),
  });
  expect(await get('/api/v1/namespaces/ns/pods/waiting/log')).toMatchObject({ status: 200, body: '' });
  expect(await get('/api/v1/namespaces/ns/pods/none/log')).toMatchObject({ status: 404 });
  expect((await get(`${POD}/log?tailLines=-1`)).body).toContain(
    'PodLogOptions \\"\\" is invalid: tailLines: Invalid value: -1',
  );
  expect((await get(`${POD}/log?sinceSeconds=5&sinceTime=2026-01-02T03:04:05Z`)).status).toBe(422);
  expect((await get(`${POD}/log?limitBytes=x`)).status).toBe(400);
});

test('a large log passes a slow reader without gathering', async () => {
  const chunk = Buffer.alloc(64 * 1024, 'x');
  const size = 256 * 1024 ** 2;
  answer = async (_request, response) => {
    for (let sent = 0; sent < size; sent += chunk.length) {
      if (!response.write(chunk)) await new Promise((resolve) => response.once('drain', resolve));
    }
    response.end();
  };
  const response = await new Promise<IncomingMessage>((resolve) => httpRequest(`${origin}${POD}/log`, resolve).end());
  const before = process.memoryUsage().rss;
  let most = 0;
  let received = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    received += part.length;
    if (received % (1024 * 1024) < part.length) {
      most = Math.max(most, process.memoryUsage().rss);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  expect(received).toBe(size);
  expect((most - before) / 1024 ** 2).toBeLessThan(200);
});

test('a connection that the node closes while it is used again is no reason to fail', async () => {
  const used = new WeakSet<object>();
  let resets = 0;
  answer = async ({ socket }, response) => {
    if (used.has(socket)) {
      resets++;
      socket.destroy();
      return;
    }
    used.add(socket);
    response.end('whole\n');
  };
  for (let i = 0; i < 4; i++) expect(await get(`${POD}/log`)).toMatchObject({ status: 200, body: 'whole\n' });
  expect(resets).toBeGreaterThan(0);
});

test('nodes/proxy passes method, path, query and body on, and leads redirects back', async () => {
  const seen: unknown[] = [];
  answer = async (request, response) => {
    seen.push([
      request.method,
      request.url,
      await text(request),
      request.headers.authorization,
      request.headers['x-forwarded-uri'],
    ]);
    response.writeHead(302, { location: '/elsewhere?a=b', 'x-own': 'y' }).end('body');
  };
  const reply = await get('/api/v1/nodes/n1/proxy/a%2Fb/?q=1', {
    method: 'POST',
    body: 'data',
    headers: { authorization: 'Bearer x' },
  });
  expect(reply).toMatchObject({
    status: 302,
    body: 'body',
    headers: { 'x-own': 'y', location: '/api/v1/nodes/n1/proxy/elsewhere?a=b' },
  });
  expect(seen).toEqual([['POST', '/a%2Fb/?q=1', 'data', undefined, '/api/v1/nodes/n1/proxy/a%2Fb/']]);
  const bare = await get('/api/v1/nodes/n1/proxy?x=1');
  expect(bare).toMatchObject({ status: 301, headers: { location: '/api/v1/nodes/n1/proxy/?x=1' } });
});

test('where proxied requests to pods and services go', () => {
  const put = (plural: string, name: string, rest: object): void =>
    objects.put(plural, {
      metadata: { namespace: 'ns', name, labels: { 'kubernetes.io/service-name': 'web' } },
      ...rest,
    });
  put('pods', 'web', { spec: { containers: [{ ports: [{ containerPort: 8080 }] }] }, status: { podIP: '10.244.1.5' } });
  put('pods', 'own', { spec: { containers: [] }, status: { podIP: '127.0.0.1' } });
  put('services', 'web', { spec: { ports: [{ name: 'http', port: 80 }] } });
  put('services', 'empty', { spec: { ports: [{ port: 80 }] } });
  put('endpointslices', 'web-1', {
    ports: [{ name: 'http', port: 9090 }],
    endpoints: [
      { addresses: ['10.244.1.6'], conditions: { ready: true } },
      { addresses: ['10.244.1.7'], conditions: { ready: false } },
    ],
  });
  const to = (resource: 'pods' | 'services' | 'nodes', name: string): string =>
    proxyDestination(objects, resource, 'ns', name).origin;
  expect(to('pods', 'web')).toBe('http://10.244.1.5:8080');
  expect(to('pods', 'https:web:443')).toBe('https://10.244.1.5:443');
  expect(to('services', 'web:http')).toBe('http://10.244.1.6:9090');
  expect(to('services', 'https:web:80')).toBe('https://10.244.1.6:9090');
  expect(() => to('services', 'web:81')).toThrow('no service port 81 found for service "web"');
  expect(() => to('services', 'empty')).toThrow('no endpoints available for service "empty"');
  expect(() => to('pods', 'own')).toThrow('address not allowed');
  expect(() => to('pods', 'web:99999')).toThrow('invalid port');
  expect(() => to('nodes', 'gone')).toThrow('nodes "gone" not found');
  expect(proxyDestination(objects, 'nodes', '', 'n1:22').trusted).toBe(false);
  expect(takeApart('/api/v1/nodes/n1/proxy/x?y')).toEqual({ prefix: '/api/v1/nodes/n1/proxy', path: '/x?y' });
});
