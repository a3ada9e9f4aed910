import http from 'node:http';
import https from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSelfSignedServingCert } from '../../api/pki.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { CriError } from '../../cri/errors.ts';
import { FakeCri } from './fake-cri.ts';
import { type HookDeps, type HookTarget, runHook } from './hooks.ts';
import type { LifecycleHandler } from './labels.ts';

let server: http.Server;
let requests: string[];
let answer: (request: http.IncomingMessage, response: http.ServerResponse) => void;
let port: number;
beforeEach(async () => {
  requests = [];
  answer = (_, response) => void response.writeHead(500).end();
  server = http.createServer((request, response) => {
    requests.push(
      `${request.method} ${request.url} ${request.headers['user-agent']} ${request.headers.authorization ?? '-'}`,
    );
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const events: string[] = [];
const counted: string[] = [];
const deps = (cri = new FakeCri(), clock = new FakeClock()): HookDeps => ({
  runtime: cri.services.runtime,
  clock,
  recorder: { event: (_, type, reason, message) => void events.push(`${type} ${reason} ${message}`) },
  observer: { counted: (name) => void counted.push(name) },
});
const target = (handler: LifecycleHandler): HookTarget => ({
  handler,
  containerName: 'c',
  containerId: 'id',
  podDescription: 'p_ns(u)',
  about: {},
  podIp: '127.0.0.1',
  ports: [{ name: 'http', containerPort: port }],
});
const run = (handler: LifecycleHandler, d = deps(), signal = new AbortController().signal) =>
  runHook(target(handler), d, signal);
const failed = 'for Container "c" in Pod "p_ns(u)" failed - error:';

test('httpGet: any answer is a success, ports have names', async () => {
  await run({ httpGet: { path: 'bye?x=1', port: 'http' } });
  expect(requests).toEqual(['GET /bye?x=1 kube-lifecycle/1.36 -']);
});

test.each([
  ['/a/../b', '/a/../b'],
  ['/x\\y', '/x%5Cy'],
  ['/100%', '/100%25'],
  ['//elsewhere/a', '/a'],
  ['', '/'],
])('httpGet: the path %s is sent as probes send it', async (path, sent) => {
  await run({ httpGet: { path, port } });
  expect(requests).toEqual([`GET ${sent} kube-lifecycle/1.36 -`]);
});

test('httpGet: the hook lasts until the whole answer is there, but a body that is cut off is one too', async () => {
  const began = Promise.withResolvers<http.ServerResponse>();
  answer = (_, response) => {
    response.writeHead(200, { 'content-length': 6 }).write('abc');
    began.resolve(response);
  };
  let hasEnded = false;
  const hook = run({ httpGet: { path: '/slow', port } }).then(() => {
    hasEnded = true;
  });
  const response = await began.promise;
  answer = (_, other) => void other.end();
  await run({ httpGet: { path: '/quick', port } });
  expect(hasEnded).toBe(false);
  response.socket!.destroy();
  await hook;
});

test('httpGet: redirects to the same host are followed, others are an answer', async () => {
  answer = (request, response) => {
    const location = request.url === '/a' ? '/b' : 'http://127.0.0.2:1/';
    response.writeHead(302, { location }).end();
  };
  await run({ httpGet: { path: '/a', port } });
  expect(requests.map((r) => r.split(' ')[1])).toEqual(['/a', '/b']);
});

test('httpGet: HTTPS asks a server that nobody vouches for, credentials included', async () => {
  const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
  const { cert, key } = createSelfSignedServingCert('of-somebody-else', {}, validity);
  const asked: (string | undefined)[] = [];
  const secure = https.createServer({ cert, key }, (request, response) => {
    asked.push(request.url, request.headers.host, request.headers.authorization);
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
  const { port: securePort } = secure.address() as AddressInfo;
  try {
    const httpHeaders = [
      { name: 'Host', value: 'of.hook' },
      { name: 'Authorization', value: 'secret' },
    ];
    await run({ httpGet: { path: '/a', port: securePort, scheme: 'HTTPS', httpHeaders } });
    expect(asked).toEqual(['/a', 'of.hook', 'secret']);
  } finally {
    secure.closeAllConnections();
    secure.close();
  }
});

test('httpGet: HTTPS to a server that speaks HTTP is tried again without credentials', async () => {
  events.length = 0;
  counted.length = 0;
  const httpHeaders = [{ name: 'authorization', value: 'secret' }];
  await run({ httpGet: { path: '/a', port, scheme: 'HTTPS', httpHeaders } });
  expect(requests).toEqual(['GET /a kube-lifecycle/1.36 -']);
  expect(events).toEqual([
    expect.stringMatching(
      /^Warning LifecycleHTTPFallback request to HTTPS lifecycle hook 127.0.0.1:\d+ got HTTP response, retry with HTTP succeeded$/,
    ),
  ]);
  expect(counted).toEqual(['kubelet_lifecycle_handler_http_fallbacks_total']);
});

test('httpGet: HTTPS that is answered in HTTP tells so when HTTP fails as well', async () => {
  answer = (_, response) => void response.socket!.destroy();
  await expect(run({ httpGet: { path: '/a', port, scheme: 'HTTPS' } })).rejects.toThrow(
    `${failed} Get "https://127.0.0.1:${port}/a": http: server gave HTTP response to HTTPS client`,
  );
});

test('httpGet: HTTPS that fails for another reason is not tried again for anybody to read', async () => {
  let connections = 0;
  const mute = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  try {
    const hook = run({ httpGet: { path: '/a', port: (mute.address() as AddressInfo).port, scheme: 'HTTPS' } });
    await expect(hook).rejects.toThrow(failed);
    expect(connections).toBe(1);
  } finally {
    mute.close();
  }
});

test('httpGet: a pod without an address can be asked only through a host that the hook names', async () => {
  const withoutIp = (handler: LifecycleHandler) =>
    runHook({ ...target(handler), podIp: '' }, deps(), new AbortController().signal);
  await expect(withoutIp({ httpGet: { path: '/a', port } })).rejects.toThrow(
    `${failed} failed to find networking container: no address of the pod is known`,
  );
  await withoutIp({ httpGet: { path: '/a', port, host: '127.0.0.1' } });
  expect(requests).toEqual(['GET /a kube-lifecycle/1.36 -']);
});

test('httpGet: nobody listens', async () => {
  await expect(run({ httpGet: { path: '/a', port: 1 } })).rejects.toThrow(
    `HTTP lifecycle hook (/a) ${failed} Get "http://127.0.0.1:1/a": dial tcp 127.0.0.1:1: connect: connection refused`,
  );
  await expect(run({ httpGet: { port: 'nope' } })).rejects.toThrow('strconv.Atoi: parsing "nope": invalid syntax');
});

test('exec: exit code and runtime errors', async () => {
  const cri = new FakeCri();
  await run({ exec: { command: ['a', '$(X)'] } }, deps(cri));
  expect(cri.calls).toEqual(['execSync id a $(X)']);
  cri.onExec = async () => 4;
  await expect(run({ exec: { command: ['a', 'b'] } }, deps(cri))).rejects.toThrow(
    `Exec lifecycle hook ([a b]) ${failed} command 'a b' exited with 4`,
  );
  cri.failNext('execSync', new CriError('ExecSync', 'UNKNOWN', 'no such file'));
  await expect(run({ exec: { command: ['a'] } }, deps(cri))).rejects.toThrow(`${failed} no such file, message: ""`);
});

test('sleep: to the end; one that is cut off has failed, and is counted', async () => {
  const clock = new FakeClock();
  let isOver = false;
  const whole = run({ sleep: { seconds: 1 } }, deps(undefined, clock)).then(() => {
    isOver = true;
  });
  await clock.advance(999);
  expect(isOver).toBe(false);
  await clock.advance(1);
  await whole;
  counted.length = 0;
  const stop = new AbortController();
  const cut = run({ sleep: { seconds: 5 } }, deps(undefined, clock), stop.signal);
  stop.abort();
  await expect(cut).rejects.toThrow(
    `Sleep lifecycle hook (5) ${failed} container terminated before sleep hook finished`,
  );
  expect(counted).toEqual(['kubelet_sleep_action_terminated_early_total']);
  await run({ sleep: { seconds: 0 } });
});

test('a handler that the agent cannot run', async () => {
  await expect(run({ tcpSocket: { port: 1 } })).rejects.toThrow('Cannot run handler: invalid handler: ');
});

test('httpGet: an answer whose lines end without a carriage return is one', async () => {
  const terse = createServer((socket) => socket.resume().end('HTTP/1.0 200 OK\nX-Server: old\n\n'));
  await new Promise<void>((resolve) => terse.listen(0, '127.0.0.1', resolve));
  try {
    await run({ httpGet: { path: '/a', port: (terse.address() as AddressInfo).port } });
  } finally {
    terse.close();
  }
});
