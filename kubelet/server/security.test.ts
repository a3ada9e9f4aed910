// The node's HTTPS server against those who may not, and those who mean it harm (docs/security.md). What may be asked is
// taken from the table of endpoints itself: a new one is tried without anybody thinking of it.
import { once } from 'node:events';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { request } from 'node:https';
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import {
  createCa,
  createSelfSignedServingCert,
  issueClientCert,
  issueServerCert,
  type KeyPair,
} from '../../api/pki.ts';
import { FakeRuntimeServer } from '../../api/streaming/fake-runtime-server.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { fakeContainer } from '../runtime/fake-pod-status.ts';
import type { KubeletAuthorizer } from './auth.ts';
import { sendJson } from './endpoints.ts';
import { FakeServedPods } from './fake-served-pods.ts';
import { ENDPOINTS, type Endpoint, type EndpointKind } from './routes.ts';
import { KubeletServer, type KubeletServerOptions } from './server.ts';

const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
const ca = createCa('ca', validity);
const client = issueClientCert(ca, { commonName: 'somebody', organizations: ['system:masters'] }, validity);

/** What opens each endpoint; a kind that is missing here does not compile. */
const SUBRESOURCES: Readonly<Record<EndpointKind, readonly string[]>> = {
  healthz: ['healthz', 'proxy'],
  pods: ['pods', 'proxy'],
  runningPods: ['pods', 'proxy'],
  statsSummary: ['stats'],
  metrics: ['metrics'],
  cadvisorMetrics: ['metrics'],
  resourceMetrics: ['metrics'],
  probeMetrics: ['metrics'],
  sliMetrics: ['metrics'],
  run: ['proxy'],
  exec: ['proxy'],
  attach: ['proxy'],
  portForward: ['proxy'],
  containerLogs: ['proxy'],
  configz: ['configz', 'proxy'],
  checkpoint: ['checkpoint'],
  nodeLogs: ['log'],
  profiles: ['proxy'],
  verbosity: ['proxy'],
  statusz: ['statusz'],
  flagz: ['configz'],
};
const EVERY_SUBRESOURCE = [...new Set(Object.values(SUBRESOURCES).flat())];

let runtime: FakeRuntimeServer;
let server: KubeletServer;
let stop: AbortController;
let ended: Promise<void>;
/** Kinds that were answered, and calls of the runtime. */
let reached: string[];
let granted: ReadonlySet<string>;
let asked: string[];

const authorizer: KubeletAuthorizer = {
  isAllowed: async (_user, { subresource }) => {
    asked.push(subresource);
    return granted.has(subresource);
  },
};

async function start(more: Partial<KubeletServerOptions> = {}): Promise<void> {
  const note = (what: string) => async () => {
    reached.push(what);
    return streamUrl;
  };
  const streamUrl = `http://127.0.0.1:${await runtime.listen()}/session`;
  const kinds = Object.keys(SUBRESOURCES) as EndpointKind[];
  const handlers = Object.fromEntries(
    kinds.map((kind) => [
      kind,
      ({ response }: { response: Parameters<typeof sendJson>[0] }) => {
        reached.push(kind);
        sendJson(response, '{}');
      },
    ]),
  );
  server = new KubeletServer(
    {
      nodeName: 'node-1',
      address: '127.0.0.1',
      port: 0,
      healthzAddress: '',
      healthzPort: 0,
      certificate: createSelfSignedServingCert('node-1', {}, validity),
      clientCa: ca.cert,
      anonymous: false,
      ...more,
    },
    {
      pods: new FakeServedPods(),
      runtime: {
        exec: note('exec'),
        attach: note('attach'),
        portForward: note('portForward'),
        execSync: async () => ({ stdout: new Uint8Array(), stderr: new Uint8Array(), exitCode: 0 }),
        containerStatus: async (id) => ({ ...fakeContainer({ name: 'main', id }).cri, logPath: '/nowhere' }),
      },
      authorizer,
      handlers,
      metrics: new Registry(),
      clock: systemClock,
      log: silentLog,
    },
  );
  stop = new AbortController();
  await server.listen();
  ended = server.run(stop.signal);
}

beforeEach(() => {
  runtime = new FakeRuntimeServer();
  reached = [];
  asked = [];
  granted = new Set(EVERY_SUBRESOURCE);
});

afterEach(async () => {
  stop.abort();
  await ended;
  await runtime.close();
});

/** Also when it is cut off. */
function closeOf(socket: Duplex): Promise<unknown> {
  return new Promise((resolve) => socket.once('close', resolve));
}

/** A path of the endpoint, for the pod that there is. */
function pathOf({ kind, pattern }: Endpoint): string {
  const names: Readonly<Record<string, string>> = {
    namespace: 'default',
    pod: 'web',
    uid: 'uid-web',
    container: 'main',
  };
  const path = pattern
    .replace('{path:*}', 'x')
    .replace('{check}', 'ping')
    .replace(/\{(\w+)\}/g, (_, name: string) => names[name] ?? 'x');
  return kind === 'exec' || kind === 'attach' ? `${path}?output=1&command=id` : path;
}

const SPDY = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': 'v4.channel.k8s.io' };

/** Every endpoint, with every method that it knows, asked for plainly and as an upgrade. */
const REQUESTS = ENDPOINTS.flatMap((endpoint) =>
  (endpoint.methods.length === 0 ? ['GET', 'PUT', 'DELETE'] : endpoint.methods).flatMap((method) =>
    [{}, SPDY].map((headers) => ({ endpoint, method, path: pathOf(endpoint), headers })),
  ),
);

async function codeOf(
  { method, path, headers }: { method: string; path: string; headers: Record<string, string> },
  as: Partial<KeyPair> = client,
): Promise<number> {
  const target = { host: '127.0.0.1', port: server.port, path, method, agent: false };
  const sent = request({ ...target, headers, cert: as.cert, key: as.key, rejectUnauthorized: false });
  const answered = Promise.withResolvers<number>();
  sent.on('response', (response) => {
    response.resume();
    response.on('end', () => answered.resolve(response.statusCode!));
  });
  sent.on('upgrade', (response, socket) => {
    socket.destroy();
    answered.resolve(response.statusCode!);
  });
  sent.on('error', answered.reject);
  sent.end();
  return answered.promise;
}

describe('who may not', () => {
  const otherCa = createCa('ca', validity); // the same name: only the signature tells
  const past = { nowMs: Date.now() - 7_200_000, lifetimeMs: 3_600_000 };
  const strangers: readonly (readonly [string, Partial<KeyPair>])[] = [
    ['without a certificate', {}],
    ['of another CA', issueClientCert(otherCa, { commonName: 'admin', organizations: ['system:masters'] }, validity)],
    ['with an expired one', issueClientCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, past)],
    [
      'with one of a server',
      issueServerCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, {}, validity),
    ],
  ];

  test.each(strangers)('a caller %s gets 401 from every endpoint', async (_who, certificate) => {
    await start();
    for (const one of REQUESTS) expect(await codeOf(one, certificate), `${one.method} ${one.path}`).toBe(401);
    expect(reached).toEqual([]);
    expect(asked).toEqual([]);
  });

  test('a caller without a role gets 403 from every endpoint, and from paths that are none', async () => {
    granted = new Set();
    await start();
    for (const one of REQUESTS) expect(await codeOf(one), `${one.method} ${one.path}`).toBe(403);
    expect(await codeOf({ method: 'GET', path: '/no/such/path', headers: {} })).toBe(403);
    expect(reached).toEqual([]);
  });

  test('a caller with a role gets to the endpoints of that role and to no other', async () => {
    await start();
    for (const subresource of EVERY_SUBRESOURCE) {
      granted = new Set([subresource]);
      for (const one of REQUESTS.filter((r) => r.headers !== SPDY)) {
        const code = await codeOf(one);
        const mayEnter = SUBRESOURCES[one.endpoint.kind].includes(subresource);
        expect(code === 403, `${one.method} ${one.path} with nodes/${subresource}: ${code}`).toBe(!mayEnter);
      }
    }
  });

  test('a certificate without a name is nobody', async () => {
    await start();
    const nameless = issueClientCert(ca, { commonName: '', organizations: ['system:masters'] }, validity);
    expect(await codeOf({ method: 'GET', path: '/pods', headers: {} }, nameless)).toBe(401);
  });

  test('the read-only port gives what is meant for it, and changes nothing', async () => {
    // A port can only be known beforehand where nobody else looks for one.
    const address = `127.88.${(process.pid >> 8) & 255}.${process.pid & 255}`;
    await start({ address, readOnlyPort: 10_255 });
    for (const { endpoint, method, path, headers } of REQUESTS) {
      const sent = plainRequest({ host: address, port: 10_255, path, method, headers, agent: false }).end();
      const [response] = (await once(sent, 'response')) as [IncomingMessage];
      response.resume();
      const isOpen = endpoint.readOnly === true;
      expect(response.statusCode === 200, `${method} ${path}: ${response.statusCode}`).toBe(isOpen);
    }
    expect(reached.filter((kind) => !ENDPOINTS.some((e) => e.kind === kind && e.readOnly))).toEqual([]);
  });
});

describe('bytes that are no honest request', () => {
  async function rawSocket(): Promise<TLSSocket> {
    const socket = connectTls({ port: server.port, host: '127.0.0.1', ...client, rejectUnauthorized: false });
    socket.on('error', () => {}); // cut off: that is what is tested
    await once(socket, 'secureConnect');
    return socket;
  }

  /** Everything that comes back until the server hangs up. */
  async function answerTo(bytes: string): Promise<string> {
    const socket = await rawSocket();
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.write(bytes, 'latin1');
    await closeOf(socket);
    return Buffer.concat(chunks).toString('latin1');
  }

  test.each([
    ['a length and chunks', 'Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX'],
    ['two lengths', 'Content-Length: 0\r\nContent-Length: 5\r\n\r\nHELLO'],
    ['a length that is none', 'Content-Length: +5\r\n\r\nHELLO'],
    ['an unknown coding', 'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
    ['a header without a name', ': x\r\n\r\n'],
    ['a space before the colon', 'Content-Length : 5\r\n\r\nHELLO'],
    ['a folded header', 'X: a\r\n b\r\nContent-Length: 0\r\n\r\n'],
    ['a bare CR', 'X: a\rTransfer-Encoding: chunked\r\n\r\n'],
    ['a NUL', 'X: a\0b\r\n\r\n'],
  ])('%s: refused, and what hides behind is not taken for a request', async (_what, rest) => {
    await start();
    const hidden = 'POST /run/default/web/main?cmd=id HTTP/1.1\r\nHost: n\r\n\r\n';
    const answer = await answerTo(`POST /stats/summary HTTP/1.1\r\nHost: node\r\n${rest}${hidden}`);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(reached).not.toContain('run');
  });

  test('a head of more than a megabyte is refused', async () => {
    await start();
    const long = 'x'.repeat(1 << 20);
    for (const head of [`GET /pods HTTP/1.1\r\nHost: n\r\nX: ${long}`, `GET /${long} HTTP/1.1\r\nHost: n`]) {
      // Who still writes when the connection is closed may never see the answer.
      expect(await answerTo(`${head}\r\n\r\n`)).toMatch(/^(HTTP\/1\.1 431 .*|)$/s);
    }
    expect(reached).toEqual([]);
  });

  test('a head that comes byte by byte, and a handshake that does not come, are given up', async () => {
    await start({ headMs: 4000 }); // an honest handshake on a busy machine takes less
    const slow = await rawSocket();
    slow.write('GET /pods HTTP/1.1\r\nX:');
    const drip = setInterval(() => slow.write('x'), 20);
    const silent = connectTcp(server.port, '127.0.0.1');
    silent.on('error', () => {});
    silent.resume();
    slow.resume();
    await Promise.all([closeOf(slow), closeOf(silent)]);
    clearInterval(drip);
    expect(reached).toEqual([]);
  });

  test('a body that nobody reads does not go on for ever', async () => {
    await start();
    const socket = await rawSocket();
    socket.resume();
    socket.write('POST /stats/summary HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n');
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
    const push = (): void => {
      while (socket.writable && socket.write(chunk));
    };
    socket.on('drain', push);
    push();
    await closeOf(socket);
    expect(socket.bytesWritten).toBeLessThan(64 << 20);
  });

  test('whatever is to be upgraded where there is nothing to upgrade, the answer is in HTTP/1.1', async () => {
    await start();
    for (const upgrade of ['h2c', 'websocket', 'SPDY/3.1', 'TLS/1.0', 'x'.repeat(1000)]) {
      expect(await codeOf({ method: 'GET', path: '/pods', headers: { connection: 'Upgrade', upgrade } })).toBe(200);
    }
    expect(runtime.requests).toEqual([]);
  });

  test.each([
    ['no key', {}],
    ['a key that is none', { 'sec-websocket-key': 'x', 'sec-websocket-version': '13' }],
    ['another version', { 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-version': '7' }],
  ])('a WebSocket with %s is refused', async (_what, more) => {
    await start();
    runtime.expected = 2;
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-protocol': 'v5.channel.k8s.io',
      ...more,
    };
    expect(await codeOf({ method: 'GET', path: '/exec/default/web/main?output=1', headers: headers as never })).toBe(
      400,
    );
  });
});

describe('sessions that are abused', () => {
  async function openSession(): Promise<{ ws: WebSocket; over: Promise<void> }> {
    await start();
    const over = Promise.withResolvers<void>();
    runtime.expected = 2;
    runtime.onCommand = ({ session }) => void session.closed.then(over.resolve);
    const url = `wss://127.0.0.1:${server.port}/exec/default/web/main?command=cat&input=1`;
    const ws = new WebSocket(url, ['v5.channel.k8s.io'], { ...client, rejectUnauthorized: false });
    ws.on('error', () => {});
    await once(ws, 'open');
    return { ws, over: over.promise };
  }

  test('a message that is too large ends the session, and what the runtime has of it', async () => {
    const { ws, over } = await openSession();
    ws.send(Buffer.alloc(5 << 20));
    expect((await once(ws, 'close'))[0]).toBe(1009);
    await over;
  });

  test.each([
    ['that is not masked', Buffer.from([0x82, 0x01, 0x00])],
    ['with reserved bits', Buffer.from([0xf2, 0x81, 0, 0, 0, 0, 0])],
    ['of no known kind', Buffer.from([0x8f, 0x81, 0, 0, 0, 0, 0])],
    ['of 2^63 bytes', Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])],
    ['of control with a large body', Buffer.from([0x89, 0xfe, 0xff, 0xff, 0, 0, 0, 0])],
  ])('a frame %s ends the session, and what the runtime has of it', async (_what, frame) => {
    const { ws, over } = await openSession();
    (ws as unknown as { _socket: Duplex })._socket.write(frame);
    await once(ws, 'close');
    await over;
  });

  test('messages for channels that there are none are dropped', async () => {
    const { ws } = await openSession();
    for (const channel of [1, 2, 3, 4, 5, 100, 254]) ws.send(Buffer.from([channel, 1, 2, 3]));
    ws.send(Buffer.alloc(0));
    ws.send(Buffer.of(255));
    ws.send(Buffer.of(255, 9));
    ws.ping();
    await once(ws, 'pong');
    expect(ws.readyState).toBe(WebSocket.OPEN);
  });
});

test('a refusal tells who asked for what, and nothing else', async () => {
  granted = new Set();
  await start();
  const target = { host: '127.0.0.1', port: server.port, path: '/metrics?token=abc', agent: false };
  const sent = request({ ...target, ...client, rejectUnauthorized: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  expect(response.headers['x-content-type-options']).toBe('nosniff');
  expect(await text(response)).toBe('Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[metrics])\n');
});
