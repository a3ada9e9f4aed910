import { once } from 'node:events';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { createCa, createSelfSignedServingCert, issueClientCert, type KeyPair } from '../../api/pki.ts';
import { FakeRuntimeServer } from '../../api/streaming/fake-runtime-server.ts';
import { SpdySession } from '../../api/streaming/spdy-session.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { CriError } from '../../cri/errors.ts';
import { exited, fakeContainer } from '../runtime/fake-pod-status.ts';
import { FakeServedPods } from './fake-served-pods.ts';
import { HealthzServer } from './healthz-server.ts';
import { sendText } from './http-error.ts';
import { KubeletServer } from './server.ts';

const validity = { nowMs: Date.now(), lifetimeMs: 3600_000 };
const ca = createCa('ca', validity);
const admin = issueClientCert(ca, { commonName: 'kube-apiserver-kubelet-client' }, validity);
const stranger = issueClientCert(ca, { commonName: 'system:node:other', organizations: ['system:nodes'] }, validity);
const forged = issueClientCert(
  createCa('ca', validity),
  { commonName: 'x', organizations: ['system:masters'] },
  validity,
);

let dir: string;
let logPath: string;
let streaming: FakeRuntimeServer;
let pods: FakeServedPods;
let server: KubeletServer;
let stop: AbortController;
let ended: Promise<void>;
/** Calls of exec, attach and portForward, as the runtime got them. */
let sessions: unknown[];
let streamUrl: string;
const metrics = new Registry();

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-server-'));
});

afterAll(() => rm(dir, { recursive: true }));

beforeEach(async () => {
  logPath = path.join(dir, `${crypto.randomUUID()}.log`);
  pods = new FakeServedPods();
  sessions = [];
  streaming = new FakeRuntimeServer();
  streamUrl = `http://127.0.0.1:${await streaming.listen()}/session/token`;
  metrics.clear();
  const open = async (asked: unknown) => {
    sessions.push(asked);
    return streamUrl;
  };
  server = new KubeletServer(
    {
      nodeName: 'node-1',
      address: '127.0.0.1',
      port: 0,
      healthzAddress: '127.0.0.1',
      healthzPort: 0,
      certificate: createSelfSignedServingCert('node-1', {}, validity),
      clientCa: ca.cert,
      anonymous: false,
    },
    {
      pods,
      runtime: {
        exec: open,
        attach: open,
        portForward: open,
        execSync: async (_id, command) => ({
          stdout: Buffer.from(command.join('|')),
          stderr: Buffer.from('!'),
          exitCode: 0,
        }),
        containerStatus: async (id) => ({ ...fakeContainer({ name: 'main', id }).cri, logPath }),
      },
      metrics,
      healthChecks: [{ name: 'syncloop', error: () => undefined }],
      handlers: { configz: ({ response }) => sendText(response, 200, 'the configuration') },
      clock: systemClock,
      log: silentLog,
    },
  );
  stop = new AbortController();
  await server.listen();
  ended = server.run(stop.signal);
});

afterEach(async () => {
  stop.abort();
  await ended;
  await streaming.close();
});

interface Call {
  readonly method?: string;
  readonly as?: KeyPair | undefined;
  readonly headers?: Record<string, string | string[]>;
}

function open(url: string, { method = 'GET', as = admin, headers = {} }: Call = {}) {
  const target = { host: '127.0.0.1', port: server.port, path: url, method, headers };
  return request({ ...target, cert: as.cert, key: as.key, rejectUnauthorized: false, agent: false });
}

async function answerOf(url: string, call?: Call): Promise<{ code: number; body: string }> {
  const [response] = (await once(open(url, call).end(), 'response')) as [IncomingMessage];
  return { code: response.statusCode!, body: await text(response) };
}

const SPDY = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': ['v4.channel.k8s.io'] };

/** As kubectl 1.20 does it. */
async function openSpdy(url: string): Promise<SpdySession> {
  const asked = open(url, { method: 'POST', headers: SPDY }).end();
  const [response, socket, head] = (await once(asked, 'upgrade')) as [IncomingMessage, Duplex, Buffer];
  expect(response.headers['x-stream-protocol-version']).toBe('v4.channel.k8s.io');
  return new SpdySession(socket, head, { role: 'client' });
}

/** What comes on each channel, as text. */
function channelsOf(ws: WebSocket): string[] {
  const channels = ['', '', '', ''];
  ws.on('message', (message: Buffer) => {
    channels[message[0]!] += message.toString('utf8', 1);
  });
  return channels;
}

function openWebSocket(url: string, protocols: string[]): WebSocket {
  const { cert, key } = admin;
  return new WebSocket(`wss://127.0.0.1:${server.port}${url}`, protocols, { cert, key, rejectUnauthorized: false });
}

test('the API server and administrators get in, nobody else', async () => {
  expect(await answerOf('/healthz')).toEqual({ code: 200, body: 'ok' });
  expect((await answerOf('/healthz', { as: stranger })).code).toBe(403);
  expect((await answerOf('/healthz', { as: forged })).code).toBe(401);
  expect((await answerOf('/healthz', { as: { cert: '', key: '' } })).code).toBe(401);
  expect((await answerOf('/no/such/path', { as: stranger })).code).toBe(403);
  expect((await answerOf('/no/such/path')).code).toBe(404);
  const refused = once(
    open('/exec/default/web/main?output=1', { as: stranger, method: 'POST', headers: SPDY }).end(),
    'response',
  );
  expect(((await refused)[0] as IncomingMessage).statusCode).toBe(403);
  expect(sessions).toEqual([]);
});

test('a resumed TLS session still knows its caller', async () => {
  const resumed: boolean[] = [];
  for (const [who, code] of [
    [admin, 200],
    [stranger, 403],
  ] as const) {
    const agent = new Agent({ keepAlive: false, maxCachedSessions: 4 });
    for (let i = 0; i < 3; i++) {
      const options = { host: '127.0.0.1', port: server.port, path: '/pods', ...who, rejectUnauthorized: false, agent };
      const [response] = (await once(request(options).end(), 'response')) as [IncomingMessage];
      resumed.push((response.socket as TLSSocket).isSessionReused());
      expect(response.statusCode).toBe(code);
      await text(response);
    }
    agent.destroy();
  }
  expect(resumed.filter((r) => r).length).toBeGreaterThan(2);
});

test('pods, running pods, metrics, configuration and commands', async () => {
  expect((await answerOf('/healthz?verbose')).body).toBe(
    '[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n',
  );
  expect(await answerOf('/healthz/log')).toEqual({ code: 200, body: 'ok' });
  const { pod } = pods;
  pods.pod = { apiVersion: 'v1', kind: 'Pod', ...pod }; // as it comes from a watch
  expect(JSON.parse((await answerOf('/pods')).body)).toMatchObject({ kind: 'PodList' });
  expect(JSON.parse((await answerOf('/pods')).body).items).toEqual([pod]);
  const running = JSON.parse((await answerOf('/runningpods/')).body);
  expect(running.items[0]).toMatchObject({ metadata: { name: 'web' }, spec: { containers: [{ name: 'main' }] } });
  expect((await answerOf('/metrics')).body).toContain('kubelet_websocket_streaming_requests_total');
  expect((await answerOf('/configz')).body).toBe('the configuration');
  const run = await answerOf('/run/default/web/main?cmd=ls%20-l', { method: 'POST' });
  expect(run).toEqual({ code: 200, body: 'ls|-l!' });
  expect(await answerOf('/run/default/gone/main', { method: 'POST' })).toEqual({
    code: 404,
    body: 'pod does not exist',
  });
});

test('a log is read, cut and stamped as asked', async () => {
  await writeFile(logPath, '2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n');
  expect(await answerOf('/containerLogs/default/web/main')).toEqual({ code: 200, body: 'one\ntwo\n' });
  expect((await answerOf('/containerLogs/default/web/main?tailLines=1&timestamps=true')).body).toBe(
    '2026-01-01T00:00:02.000000000Z two\n',
  );
  expect((await answerOf('/containerLogs/default/web/main?limitBytes=5')).body).toBe('one\nt');
  expect(await answerOf('/containerLogs/default/gone/main')).toEqual({ code: 404, body: 'pod "gone" does not exist' });
  expect((await answerOf('/containerLogs/default/web/main?previous=true')).code).toBe(400);
  expect((await answerOf('/containerLogs/default/web/main?tailLines=-1')).code).toBe(422);
});

test('a log that cannot be read is an error, not an empty log', async () => {
  expect(await answerOf('/containerLogs/default/web/main')).toEqual({
    code: 400,
    body: `failed to try resolving symlinks in path "${logPath}": lstat ${logPath}: no such file or directory`,
  });
  await writeFile(logPath, 'no log of a container\n');
  expect(await answerOf('/containerLogs/default/web/main')).toEqual({
    code: 400,
    body: 'unsupported log format: "no log of a container"',
  });
});

test('a followed log goes on until the container ends, with what it wrote last', async () => {
  await writeFile(logPath, '2026-01-01T00:00:01Z stdout F one\n');
  const [response] = (await once(open('/containerLogs/default/web/main?follow=true').end(), 'response')) as [
    IncomingMessage,
  ];
  response.setEncoding('utf8');
  expect(await once(response, 'data')).toEqual(['one\n']);
  await appendFile(logPath, '2026-01-01T00:00:02Z stdout F two\n');
  expect(await once(response, 'data')).toEqual(['two\n']);
  await appendFile(logPath, '2026-01-01T00:00:03Z stdout F three\n');
  pods.containers = [exited('main', 0)];
  pods.changed();
  expect(await text(response)).toBe('three\n');
  expect(pods.listening).toBe(0);
});

test('SPDY goes to the runtime as it is', async () => {
  streaming.expected = 3;
  streaming.onCommand = ({ request: seen, streams }) => {
    expect(seen.url).toBe('/session/token');
    streams.get('stdin')!.pipe(streams.get('stdout')!);
    streams.get('stdin')!.on('end', () => streams.get('error')!.end('{"metadata":{},"status":"Success"}'));
  };
  const session = await openSpdy('/exec/default/web/main?command=cat&command=-&input=1&output=1');
  const [error, stdin, stdout] = ['error', 'stdin', 'stdout'].map((streamtype) => session.createStream({ streamtype }));
  stdin!.end('through and back');
  expect(await text(stdout!)).toBe('through and back');
  expect(JSON.parse(await text(error!))).toMatchObject({ status: 'Success' });
  expect(sessions).toEqual([
    { containerId: 'id-main', cmd: ['cat', '-'], stdin: true, stdout: true, stderr: false, tty: false },
  ]);
  session.destroy();
});

test('a client that goes away takes the session at the runtime with it', async () => {
  const closed = Promise.withResolvers<void>();
  streaming.expected = 2;
  streaming.onCommand = ({ session }) => void session.closed.then(closed.resolve);
  const session = await openSpdy('/exec/default/web/main?command=cat&output=1');
  for (const streamtype of ['error', 'stdout']) session.createStream({ streamtype });
  await session.createStream({ streamtype: 'more' }).accepted;
  session.destroy();
  await closed.promise;
});

test('a WebSocket v5 client is translated: half-closed stdin, both outputs, exit code', async () => {
  streaming.onCommand = async ({ request: seen, streams }) => {
    expect(seen.method).toBe('POST');
    const input = await text(streams.get('stdin')!);
    streams.get('stdout')!.end(`out ${input}`);
    streams.get('stderr')!.end('err');
    streams.get('error')!.end('{"metadata":{},"status":"Failure","reason":"NonZeroExitCode"}');
  };
  const ws = openWebSocket('/exec/default/web/main?command=sh&input=1&output=1&error=1', ['v5.channel.k8s.io']);
  const channels = channelsOf(ws);
  await once(ws, 'open');
  expect(ws.protocol).toBe('v5.channel.k8s.io');
  ws.send(Buffer.from('\0typed'));
  ws.send(Buffer.of(255, 0));
  expect((await once(ws, 'close'))[0]).toBe(1000);
  expect(channels.slice(0, 3)).toEqual(['', 'out typed', 'err']);
  expect(JSON.parse(channels[3]!)).toMatchObject({ reason: 'NonZeroExitCode' });
  expect(await metrics.metrics()).toContain('kubelet_websocket_streaming_requests_total{subresource="exec"} 1');
});

test.each([
  [
    '/exec/default/web/main?command=sh&output=1&error=1&tty=1',
    { stdin: false, stdout: true, stderr: false, tty: true },
  ],
  ['/exec/default/web/main?command=sh&output=true&error=1', { stdin: false, stdout: false, stderr: true, tty: false }],
])('%s: a terminal has one output, and only 1 asks for a stream', async (target, streams) => {
  const session = await openSpdy(target);
  expect(sessions).toEqual([{ containerId: 'id-main', cmd: ['sh'], ...streams }]);
  session.destroy();
});

test('attach takes the terminal from the container, not from the caller', async () => {
  pods.pod = { ...pods.pod, spec: { containers: [{ name: 'main', image: 'busybox', tty: true }] } };
  const session = await openSpdy('/attach/default/web/main?output=1&error=1');
  expect(sessions).toEqual([{ containerId: 'id-main', stdin: false, stdout: true, stderr: false, tty: true }]);
  session.destroy();
});

test('port-forward through a WebSocket is a SPDY connection at the runtime', async () => {
  const headers = { ...WEBSOCKET_V5, 'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io' };
  const [response, socket] = (await once(open('/portForward/default/web', { headers }).end(), 'upgrade')) as [
    IncomingMessage,
    Duplex,
  ];
  expect(response.headers['sec-websocket-protocol']).toBe('SPDY/3.1+portforward.k8s.io');
  expect(streaming.requests[0]!.method).toBe('POST');
  expect(streaming.requests[0]!.headers['x-stream-protocol-version']).toBe('portforward.k8s.io');
  expect(sessions).toEqual([{ podSandboxId: 'sandbox', port: [] }]);
  socket.destroy();
});

test.each([
  ['/exec/default/gone/main?output=1', 404, 'pod does not exist'],
  ['/exec/default/web/other?output=1', 500, 'container not found ("other")'],
  ['/attach/default/web/other?output=1', 500, 'container other not found in pod web_default'],
  ['/exec/default/web/uid-old/main?output=1', 500, 'container not found ("main")'],
  ['/exec/default/web/main?command=ls', 400, 'you must specify at least 1 of stdin, stdout, stderr'],
  ['/portForward/default/web/uid-old?port=1', 404, 'pod not found'],
  ['/portForward/default/web?port=0', 400, 'unable to parse "0" as a port'],
])('an upgrade of %s is answered with %i before it happens', async (url, code, body) => {
  for (const headers of [SPDY, WEBSOCKET_V5]) {
    expect(await answerOf(url, { method: headers === SPDY ? 'POST' : 'GET', headers })).toEqual({ code, body });
  }
});

test('a static pod may be named by the uid of its mirror', async () => {
  pods.mirrorUid = 'uid-mirror';
  for (const uid of ['uid-web', 'uid-mirror']) {
    (await openSpdy(`/exec/default/web/${uid}/main?command=ls&output=1`)).destroy();
    expect((await answerOf(`/run/default/web/${uid}/main?cmd=ls`, { method: 'POST' })).code).toBe(200);
    const forward = { method: 'POST', headers: { ...SPDY, 'x-stream-protocol-version': 'portforward.k8s.io' } };
    const [, socket] = (await once(open(`/portForward/default/web/${uid}`, forward).end(), 'upgrade')) as [
      IncomingMessage,
      Duplex,
    ];
    socket.destroy();
  }
  expect(sessions).toHaveLength(4);
});

const WEBSOCKET_V5 = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  'sec-websocket-protocol': 'v5.channel.k8s.io',
};

test("the runtime's refusal reaches the client as an HTTP error, in the runtime's words", async () => {
  streaming.refuseWith = { code: 403, body: 'no common protocol' };
  const url = '/exec/default/web/main?output=1';
  const refused = { code: 403, body: 'no common protocol' };
  expect(await answerOf(url, { method: 'POST', headers: SPDY })).toEqual(refused);
  const tunnel = { ...WEBSOCKET_V5, 'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io' };
  expect(await answerOf('/portForward/default/web', { headers: tunnel })).toEqual(refused);
  streamUrl = 'http://127.0.0.1:1/';
  expect((await answerOf(url, { method: 'POST', headers: SPDY })).code).toBe(500);
});

test('a translated client has been answered when the runtime refuses: it is told on its error channel', async () => {
  const refusalOf = async () => {
    const ws = openWebSocket('/exec/default/web/main?output=1', ['v5.channel.k8s.io']);
    const channels = channelsOf(ws);
    expect((await once(ws, 'close'))[0]).toBe(1000);
    return JSON.parse(channels[3]!) as { message: string };
  };
  streaming.refuseWith = { code: 403, body: 'no common protocol' };
  expect(await refusalOf()).toMatchObject({
    status: 'Failure',
    reason: 'InternalError',
    message: 'Internal error occurred: unable to upgrade connection: no common protocol',
    code: 500,
  });
  streamUrl = 'http://127.0.0.1:1/';
  expect((await refusalOf()).message).toMatch(/^Internal error occurred: error sending request: /);
});

test('a container that is not running, and a request that does not upgrade', async () => {
  const url = '/exec/default/web/main?output=1';
  expect(await answerOf(url, { method: 'POST' })).toEqual({ code: 500, body: 'Upgrade request required' });
  Object.assign(pods, {
    runtimeStatus: async () => {
      throw new CriError('Exec', 'NOT_FOUND', 'container is gone');
    },
  });
  expect(await answerOf(url, { method: 'POST', headers: SPDY })).toEqual({
    code: 404,
    body: 'rpc error: code = NotFound desc = container is gone',
  });
});

test('a runtime that has no more room makes callers come again in a minute', async () => {
  Object.assign(pods, {
    runtimeStatus: async () => {
      throw new CriError('Exec', 'RESOURCE_EXHAUSTED', 'too many sessions');
    },
  });
  const call = open('/exec/default/web/main?output=1', { method: 'POST', headers: SPDY }).end();
  const [{ statusCode, headers }] = (await once(call, 'response')) as [IncomingMessage];
  expect([statusCode, headers['retry-after']]).toEqual([429, '60']);
});

test('what a caller proves itself with stays here', async () => {
  const headers = { ...SPDY, authorization: 'Bearer of-the-caller' };
  const call = open('/exec/default/web/main?command=sh&output=1', { method: 'POST', headers }).end();
  const [, socket] = (await once(call, 'upgrade')) as [IncomingMessage, Duplex];
  const [{ headers: seen }] = streaming.requests as [IncomingMessage];
  expect([seen.authorization, seen.upgrade, seen.host]).toEqual([undefined, 'SPDY/3.1', new URL(streamUrl).host]);
  socket.destroy();
});

test('another client CA holds for whoever comes from now on', async () => {
  const otherCa = createCa('ca', validity);
  const other = issueClientCert(otherCa, { commonName: 'x', organizations: ['system:masters'] }, validity);
  expect((await answerOf('/pods', { as: other })).code).toBe(401);
  server.setClientCa(otherCa.cert);
  expect((await answerOf('/pods', { as: other })).code).toBe(200);
  expect((await answerOf('/pods')).code).toBe(401);
});

test('a taken port is told as such', async () => {
  const options = { nodeName: 'n', address: '127.0.0.1', port: server.port, healthzAddress: '', healthzPort: 0 };
  const certificate = createSelfSignedServingCert('n', {}, validity);
  const runtime = {} as never;
  const deps = { pods, runtime, metrics: new Registry(), clock: systemClock, log: silentLog };
  const second = new KubeletServer({ ...options, certificate, anonymous: false }, deps);
  await expect(second.listen()).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
});

test('the health port answers without TLS, and nothing but health', async () => {
  const healthz = new HealthzServer({ address: '127.0.0.1', port: 0 }, { clock: systemClock, log: silentLog });
  await healthz.listen();
  const end = new AbortController();
  const running = healthz.run(end.signal);
  const get = async (url: string) => {
    const asked = plainRequest({ port: healthz.port, host: '127.0.0.1', path: url, agent: false }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    return { code: response.statusCode, body: await text(response) };
  };
  expect(await get('/healthz')).toEqual({ code: 200, body: 'ok' });
  expect(await get('/healthz/ping')).toEqual({ code: 200, body: 'ok' });
  expect((await get('/pods')).code).toBe(404);
  end.abort();
  await running;
});
