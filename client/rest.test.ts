import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { type AddressInfo, createConnection, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { WatchEvent } from '../api/meta.ts';
import type { Pod } from '../api/pod.ts';
import { leases, nodes, pods, serviceAccounts } from '../api/resources.ts';
import { systemClock } from '../core/clock.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { ApiError } from './errors.ts';
import { FakeAuthority, type KeyPair } from './fake-certificates.ts';
import type { ClientConfig } from './kubeconfig.ts';
import { RestClient, type RestClientOptions } from './rest.ts';

/** Enough of an object of any kind. */
const ANY = { metadata: { name: 'any' } };

type Handler = (req: http.IncomingMessage, res: http.ServerResponse, body: string) => void;

let authority: FakeAuthority;
let serverPair: KeyPair;
let clientPair: KeyPair;
let dir: string;
const servers: http.Server[] = [];
const clients: RestClient[] = [];

beforeAll(async () => {
  authority = await FakeAuthority.create();
  serverPair = await authority.server();
  clientPair = await authority.client('system:node:n1');
});

afterAll(async () => {
  await authority[Symbol.asyncDispose]();
});

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'rest-test-'));
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.closeIdleConnections();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await rm(dir, { recursive: true });
});

function withBody(handler: Handler): http.RequestListener {
  return (req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (c: Buffer) => chunks.push(c));
    req.on('end', () => handler(req, res, Buffer.concat(chunks).toString()));
  };
}

async function listen(server: http.Server, scheme: string): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const plain = (handler: Handler) => listen(http.createServer(withBody(handler)), 'http');
const secure = (handler: Handler, opts: https.ServerOptions = {}) =>
  listen(https.createServer({ ...serverPair, ca: authority.caPem, ...opts }, withBody(handler)), 'https');

function connect(
  server: string,
  config: Partial<ClientConfig> = {},
  opts: Partial<RestClientOptions> = {},
  clock = systemClock,
) {
  const all: ClientConfig = { server, insecureSkipTlsVerify: false, user: 'test', ...config };
  const client = new RestClient(all, { userAgent: 'test/1', ...opts }, { clock, log: silentLog });
  clients.push(client);
  return client;
}

function answer(res: http.ServerResponse, code: number, body: unknown, headers: http.OutgoingHttpHeaders = {}): void {
  res.writeHead(code, { 'content-type': 'application/json', ...headers });
  res.end(typeof body === 'string' ? body : JSON.stringify(body));
}

const commonName = (req: http.IncomingMessage) => (req.socket as TLSSocket).getPeerCertificate().subject?.CN;

describe('TLS', () => {
  test('client certificates identify us over one kept connection', async () => {
    const sockets = new Set<unknown>();
    const url = await secure(
      (req, res) => {
        sockets.add(req.socket);
        answer(res, 200, { metadata: { name: String(commonName(req)) } });
      },
      { requestCert: true },
    );
    const client = connect(url, {
      ca: { data: authority.caPem },
      clientCert: { data: clientPair.cert },
      clientKey: { data: clientPair.key },
    });
    for (let i = 0; i < 3; i++) {
      expect((await client.get(nodes, { name: 'x' })).metadata?.name).toBe('system:node:n1');
    }
    expect(sockets.size).toBe(1);
  });

  test('a rotated certificate is used from the next call on', async () => {
    const url = await secure((req, res) => answer(res, 200, { metadata: { name: String(commonName(req)) } }), {
      requestCert: true,
    });
    const clock = new FakeClock();
    const file = (name: string) => path.join(dir, name);
    await Promise.all([writeFile(file('cert'), clientPair.cert), writeFile(file('key'), clientPair.key)]);
    const config = {
      ca: { data: authority.caPem },
      clientCert: { file: file('cert') },
      clientKey: { file: file('key') },
    };
    const client = connect(url, config, {}, clock);
    expect((await client.get(nodes, { name: 'x' })).metadata?.name).toBe('system:node:n1');
    const next = await authority.client('renewed');
    for (const [name, text] of [
      ['cert', next.cert],
      ['key', next.key],
    ] as const) {
      await writeFile(file(`${name}.new`), text);
      await rename(file(`${name}.new`), file(name));
    }
    await clock.advance(1_000);
    expect((await client.get(nodes, { name: 'x' })).metadata?.name).toBe('renewed');
  });

  test.each(['http', 'https'])('each address of a server has a second to answer in, over %s', async (scheme) => {
    const url = await (scheme === 'http' ? plain : secure)((_, res) => answer(res, 200, ANY));
    // Which Node.js gives 250 ms: a server farther away than that would not be reached at all.
    const connecting = vi.spyOn((scheme === 'http' ? http : https).Agent.prototype, 'createConnection');
    try {
      await connect(url, { ca: { data: authority.caPem } }).get(nodes, { name: 'x' });
      expect(connecting.mock.calls.map(([opts]) => opts)).toEqual([
        expect.objectContaining({ autoSelectFamilyAttemptTimeout: 1_000 }),
      ]);
    } finally {
      connecting.mockRestore();
    }
  });

  test('an unknown authority is refused, with a hint; insecure-skip-tls-verify accepts it', async () => {
    const url = await secure((_, res) => answer(res, 200, ANY));
    await expect(connect(url).get(nodes, { name: 'x' })).rejects.toMatchObject({
      code: 'API_TLS_FAILED',
      hint: expect.stringContaining('certificate-authority'),
    });
    await expect(connect(url, { insecureSkipTlsVerify: true }).get(nodes, { name: 'x' })).resolves.toEqual(ANY);
  });

  test('tls-server-name stands in for the name in the URL', async () => {
    const url = await secure((_, res) => answer(res, 200, ANY), await authority.server(['api.example']));
    const ca = { data: authority.caPem };
    await expect(connect(url, { ca }).get(nodes, { name: 'x' })).rejects.toMatchObject({ code: 'API_TLS_FAILED' });
    await expect(connect(url, { ca, tlsServerName: 'api.example' }).get(nodes, { name: 'x' })).resolves.toEqual(ANY);
  });
});

describe('calls', () => {
  test.each([plain, secure])('calls and watches go through the proxy', async (serve) => {
    const url = await serve((req, res) => {
      if (req.url?.includes('watch=true')) res.write(`${JSON.stringify({ type: 'ADDED', object: ANY })}\n`);
      else answer(res, 200, ANY);
    });
    const asked: string[] = [];
    const proxy = http.createServer((req, res) => {
      asked.push(req.url!.replace(/\?.*/, ''));
      req.pipe(http.request(req.url!, { headers: req.headers }, (from) => from.pipe(res.writeHead(200))));
    });
    proxy.on('connect', (req, near) => {
      asked.push(req.url!);
      const far = createConnection(Number(req.url!.split(':')[1]), '127.0.0.1', () => {
        near.write('HTTP/1.1 200 OK\r\n\r\n');
        far.pipe(near).pipe(far);
      });
      for (const socket of [near, far]) socket.on('error', () => {});
    });
    const client = connect(url, { ca: { data: authority.caPem }, proxy: await listen(proxy, 'http') });
    await client.get(nodes, { name: 'x' });
    for await (const event of client.watch(nodes, {})) {
      expect(event.type).toBe('ADDED');
      break;
    }
    const { protocol, host } = new URL(url);
    const through = [`${url}/api/v1/nodes/x`, `${url}/api/v1/nodes`];
    expect(asked).toEqual(protocol === 'http:' ? through : [host]); // one tunnel for both
  });

  test('every verb reaches its path with its body', async () => {
    const seen: string[] = [];
    const url = await plain((req, res, body) => {
      seen.push(`${req.method} ${req.url} ${req.headers['content-type'] ?? '-'} ${body}`);
      answer(res, 200, req.method === 'GET' ? { kind: 'PodList' } : ANY);
    });
    const client = connect(`${url}/prefix/`);
    const at = { namespace: 'ns', name: 'a/b' };
    await client.create(pods, { namespace: 'ns' }, { metadata: { name: 'p' } });
    await client.create(
      serviceAccounts,
      { namespace: 'ns', name: 'sa' },
      { kind: 'TokenRequest' },
      { subresource: 'token' },
    );
    await client.update(leases, at, { metadata: {} }, { fieldManager: 'me' });
    await client.patch(pods, at, { type: 'strategic', body: { status: {} } }, { subresource: 'status' });
    await client.delete(pods, at, { gracePeriodSeconds: 0, preconditions: { uid: 'u' } });
    await client.list(pods, { fieldSelector: 'spec.nodeName=n1', limit: 500, namespace: 'ns' });
    expect(seen).toEqual([
      'POST /prefix/api/v1/namespaces/ns/pods application/json {"metadata":{"name":"p"},"apiVersion":"v1","kind":"Pod"}',
      'POST /prefix/api/v1/namespaces/ns/serviceaccounts/sa/token application/json {"kind":"TokenRequest"}',
      'PUT /prefix/apis/coordination.k8s.io/v1/namespaces/ns/leases/a%2Fb?fieldManager=me application/json {"metadata":{},"apiVersion":"coordination.k8s.io/v1","kind":"Lease"}',
      'PATCH /prefix/api/v1/namespaces/ns/pods/a%2Fb/status application/strategic-merge-patch+json {"status":{}}',
      'DELETE /prefix/api/v1/namespaces/ns/pods/a%2Fb application/json {"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{"uid":"u"}}',
      'GET /prefix/api/v1/namespaces/ns/pods?fieldSelector=spec.nodeName%3Dn1&limit=500 - ',
    ]);
  });

  test('list items get their type and lose managedFields; null items are none', async () => {
    const lists = [
      { kind: 'PodList', items: [{ metadata: { name: 'a', managedFields: [{}] } }] },
      { kind: 'PodList', items: null },
    ];
    const url = await plain((_, res) => answer(res, 200, lists.shift()));
    const client = connect(url);
    expect((await client.list(pods)).items).toEqual([{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' } }]);
    expect((await client.list(pods)).items).toEqual([]);
  });

  test('a Status answer becomes a typed error, so does a page of a proxy', async () => {
    const status = { kind: 'Status', reason: 'NotFound', message: 'pods "x" not found', code: 404 };
    const answers: [number, unknown][] = [
      [404, status],
      [502, '<html>bad gateway</html>'],
      [401, 'no'],
    ];
    const url = await plain((_, res) => answer(res, ...answers.shift()!));
    const client = connect(url);
    const get = () => client.get(pods, { namespace: 'd', name: 'x' });
    await expect(get()).rejects.toMatchObject({
      code: 'NotFound',
      httpStatus: 404,
      message: 'GET /api/v1/namespaces/d/pods/x: pods "x" not found',
    });
    await expect(get()).rejects.toMatchObject({ code: 'InternalError', httpStatus: 502, retryable: true });
    await expect(get()).rejects.toMatchObject({ code: 'Unauthorized', hint: expect.stringContaining('kubeconfig') });
  });

  test('an answer that is no object is refused by name', async () => {
    const answers = ['not json', '[1', 'null'];
    const url = await plain((_, res) => answer(res, 200, answers.shift()));
    const client = connect(url);
    for (let i = 0; i < 3; i++)
      await expect(client.get(nodes, { name: 'x' })).rejects.toMatchObject({ code: 'API_GARBLED' });
  });

  test('an object of another kind is no answer, least of all an empty list', async () => {
    const others = [{}, { kind: 'Status', code: 200 }, { kind: 'NodeList', items: [] }];
    const unnamed = [
      { kind: 'PodList', items: [null] },
      { kind: 'PodList', items: ['p'] },
    ];
    const answers: unknown[] = [...others, ...unnamed, ...others, { kind: 'Status', metadata: { name: 'x' } }];
    const url = await plain((_, res) => answer(res, 200, answers.shift()));
    const client = connect(url);
    const name = { namespace: 'd', name: 'x' };
    for (const _ of [...others, ...unnamed]) {
      await expect(client.list(pods)).rejects.toMatchObject({ code: 'API_GARBLED', retryable: true });
    }
    await expect(client.get(pods, name)).rejects.toThrow('no Pod but something without a name');
    await expect(client.patch(pods, name, { type: 'merge', body: {} })).rejects.toThrow('no Pod but "Status"');
    await expect(client.update(pods, name, {})).rejects.toThrow('no Pod but "NodeList"');
    await expect(client.get(pods, name)).rejects.toThrow('no Pod but "Status"');
  });

  test('a body beyond the limit is not taken, nor is an event', async () => {
    const url = await plain((_, res) => answer(res, 200, JSON.stringify('x'.repeat(2000))));
    const client = connect(url, {}, { maxBodyBytes: 1000 });
    await expect(client.get(nodes, { name: 'x' })).rejects.toMatchObject({ code: 'BODY_TOO_LARGE' });
    const watch = client.watch(pods, {})[Symbol.asyncIterator]();
    await expect(watch.next()).rejects.toMatchObject({ code: 'LINE_TOO_LONG' });
  });

  test('Retry-After is kept, answers without it are final', async () => {
    const clock = new FakeClock();
    const answers: [number, unknown, http.OutgoingHttpHeaders?][] = [
      [429, 'busy', { 'retry-after': '2' }],
      [503, 'down', { 'retry-after': '1' }],
      [200, { metadata: { name: 'n' } }],
      [503, 'down'],
    ];
    let asked = 0;
    const waiting: PromiseWithResolvers<void>[] = [
      Promise.withResolvers(),
      Promise.withResolvers(),
      Promise.withResolvers(),
    ];
    const url = await plain((_, res) => {
      answer(res, ...answers.shift()!);
      waiting[asked++]?.resolve();
    });
    const client = connect(url, {}, {}, clock);
    const got = client.get(nodes, { name: 'n' });
    await waiting[0]!.promise;
    while (clock.sleeping === 0) await clock.advance(0);
    await clock.advance(1_999);
    expect(asked).toBe(1);
    await clock.advance(1);
    await waiting[1]!.promise;
    while (clock.sleeping === 0) await clock.advance(0);
    await clock.advance(1_000);
    expect((await got).metadata?.name).toBe('n');
    await expect(client.get(nodes, { name: 'n' })).rejects.toMatchObject({ httpStatus: 503 });
    expect(asked).toBe(4);
  });

  test('a read is repeated when the server closed the kept connection meanwhile, a write is not', async () => {
    let requests = 0;
    const used = new WeakSet<object>();
    const url = await plain((req, res) => {
      requests++;
      // The second request on a connection meets a server that has just hung up.
      if (used.has(req.socket)) return void req.socket.resetAndDestroy();
      used.add(req.socket);
      answer(res, 200, ANY);
    });
    const client = connect(url);
    await client.get(nodes, { name: 'x' });
    await client.get(nodes, { name: 'x' });
    expect(requests).toBe(3);
    await expect(client.patch(nodes, { name: 'x' }, { type: 'merge', body: {} })).rejects.toMatchObject({
      code: 'API_UNREACHABLE',
      retryable: true,
    });
    expect(requests).toBe(4);
  });

  test('timeout and abort end a call that gets no answer, and say which it was', async () => {
    const arrived = Promise.withResolvers<void>();
    const url = await plain(() => arrived.resolve());
    const client = connect(url);
    await expect(client.get(nodes, { name: 'x' }, { timeoutMs: 20 })).rejects.toMatchObject({ code: 'API_TIMEOUT' });
    const stop = new AbortController();
    const call = client.get(nodes, { name: 'x' }, { signal: stop.signal });
    await arrived.promise;
    stop.abort();
    await expect(call).rejects.toMatchObject({ code: 'API_ABORTED', retryable: false });
  });

  test('a call without an answer in time costs the other idle connections their place: they may be as dead', async () => {
    const sockets: unknown[] = [];
    const held = Promise.withResolvers<void>();
    const url = await plain(async (req, res) => {
      if (req.url?.endsWith('/lost')) return; // never answered
      sockets.push(req.socket);
      if (sockets.length === 1) await held.promise;
      else held.resolve();
      answer(res, 200, ANY);
    });
    const client = connect(url);
    await Promise.all([client.get(nodes, { name: 'x' }), client.get(nodes, { name: 'x' })]);
    const lost = client.get(nodes, { name: 'lost' }, { timeoutMs: 50 });
    await expect(lost).rejects.toMatchObject({ code: 'API_TIMEOUT' });
    await client.get(nodes, { name: 'x' });
    expect(sockets).toHaveLength(3);
    expect(new Set(sockets).size).toBe(3);
  });

  test('a connection that does not come to stand is given up, also that of a watch', async () => {
    const mute = createTcpServer((socket) => socket.resume()); // never speaks TLS
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const { port } = mute.address() as AddressInfo;
    const client = connect(`https://127.0.0.1:${port}`, { ca: { data: authority.caPem } }, { connectMs: 50 });
    const given = { code: 'API_UNREACHABLE', message: expect.stringContaining('no connection within 0.05 s') };
    await expect(client.get(nodes, { name: 'x' })).rejects.toMatchObject(given);
    const watching = (async () => {
      for await (const _ of client.watch(pods, {}));
    })();
    await expect(watching).rejects.toMatchObject(given);
    await new Promise((resolve) => mute.close(resolve)); // both connections are gone
  });

  test('calls that the server takes its time for make room for others', async () => {
    const eight = Promise.withResolvers<void>();
    const held: http.ServerResponse[] = [];
    const arrived: string[] = [];
    const url = await plain((req, res) => {
      arrived.push(req.url!);
      if (/\/(next|later)$/.test(req.url!)) answer(res, 200, ANY);
      else if (held.push(res) === 8) eight.resolve();
    });
    const clock = new FakeClock();
    const client = connect(url, {}, {}, clock);
    const slow = Array.from({ length: 8 }, () => client.get(nodes, { name: 'x' }));
    await eight.promise;
    const next = client.get(nodes, { name: 'next' });
    for (let i = 0; i < 5; i++) await fetch(`${url}/later`); // which would have come after it
    expect(arrived.filter((path) => path.endsWith('/next'))).toEqual([]);
    await clock.advance(1_000);
    await next;
    for (const res of held) answer(res, 200, ANY);
    await Promise.all(slow);
    expect(clock.sleeping).toBe(0);
  });

  test('a server that answers nothing at all holds 64 calls, no more', async () => {
    const held: http.ServerResponse[] = [];
    let come = Promise.withResolvers<void>();
    const url = await plain((req, res) => {
      if (req.url === '/later') return answer(res, 200, ANY);
      held.push(res);
      come.resolve();
    });
    const clock = new FakeClock();
    const client = connect(url, {}, {}, clock);
    const calls = Array.from({ length: 65 }, () => client.get(nodes, { name: 'x' }));
    const until = async (count: number) => {
      while (held.length < count) {
        await come.promise;
        come = Promise.withResolvers();
      }
    };
    for (let count = 8; count <= 64; count += 8) {
      await until(count);
      await clock.advance(1_000);
    }
    for (let i = 0; i < 5; i++) await fetch(`${url}/later`);
    expect(held).toHaveLength(64);
    answer(held[0]!, 200, ANY);
    await until(65);
    for (const res of held.slice(1)) answer(res, 200, ANY);
    await Promise.all(calls);
  });

  test('closing connections frees calls that hang', async () => {
    const arrived = Promise.withResolvers<void>();
    const url = await plain(() => arrived.resolve());
    const client = connect(url);
    const call = expect(client.update(nodes, { name: 'x' }, {})).rejects.toMatchObject({ code: 'API_UNREACHABLE' });
    await arrived.promise;
    client.closeIdleConnections();
    await call;
  });

  test('nobody listening is one clear line', async () => {
    const url = await plain(() => {});
    servers.pop()!.close();
    await expect(connect(url).get(nodes, { name: 'x' })).rejects.toMatchObject({
      code: 'API_UNREACHABLE',
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test('a token file is read again when it changed, at once after a 401', async () => {
    const tokenFile = path.join(dir, 'token');
    await writeFile(tokenFile, 'one\n');
    const url = await plain((req, res) => {
      if (req.headers.authorization === 'Bearer two!') answer(res, 200, ANY);
      else answer(res, 401, 'Unauthorized');
    });
    const client = connect(url, { tokenFile }, {}, new FakeClock());
    await expect(client.get(nodes, { name: 'x' })).rejects.toMatchObject({ code: 'Unauthorized' });
    await writeFile(tokenFile, 'two!\n');
    await expect(client.get(nodes, { name: 'x' })).resolves.toEqual(ANY);
  });
});

describe('watch', () => {
  async function collect(events: AsyncIterable<WatchEvent<Pod>>): Promise<string[]> {
    const names: string[] = [];
    for await (const e of events)
      names.push(`${e.type} ${e.type === 'ERROR' ? e.object.reason : e.object.metadata?.name}`);
    return names;
  }
  const line = (name: string, pad = '') => JSON.stringify({ type: 'ADDED', object: { metadata: { name }, pad } });

  test('events come through whatever the chunks, up to a clean end', async () => {
    const text = `${line('a')}\n\n${line('ü'.repeat(10))}\r\n${line('big', 'x'.repeat(300_000))}\n`;
    const url = await plain((req, res) => {
      expect(req.url).toBe('/api/v1/pods?resourceVersion=5&watch=true&allowWatchBookmarks=true&timeoutSeconds=300');
      const bytes = Buffer.from(text);
      res.writeHead(200);
      const send = (at: number) => {
        if (at >= bytes.length) return void res.end();
        // Small pieces first, so that borders fall into names and between the bytes of a character.
        const next = at + (at < 200 ? 7 : 40_000);
        res.write(bytes.subarray(at, next), () => setImmediate(send, next));
      };
      send(0);
    });
    const watch = connect(url).watch(pods, { resourceVersion: '5', allowWatchBookmarks: true, timeoutSeconds: 300 });
    expect(await collect(watch)).toEqual(['ADDED a', `ADDED ${'ü'.repeat(10)}`, 'ADDED big']);
  });

  test('an abort ends the watch without an error and closes its connection', async () => {
    const closed = Promise.withResolvers<void>();
    const url = await plain((_, res) => {
      res.writeHead(200);
      res.write(`${line('a')}\n`);
      res.on('close', closed.resolve);
    });
    const stop = new AbortController();
    const names: string[] = [];
    for await (const e of connect(url).watch(pods, { signal: stop.signal })) {
      names.push(e.type);
      setImmediate(() => stop.abort());
    }
    expect(names).toEqual(['ADDED']);
    await closed.promise;
  });

  test('a reader that leaves closes the connection', async () => {
    const closed = Promise.withResolvers<void>();
    const url = await plain((_, res) => {
      res.writeHead(200);
      res.write(`${line('a')}\n`);
      res.on('close', closed.resolve);
    });
    for await (const _ of connect(url).watch(pods, {})) break;
    await closed.promise;
  });

  test.each([
    ['cut off', (res: http.ServerResponse) => void res.write(`${line('a')}\n`, () => res.destroy()), 'API_UNREACHABLE'],
    ['half an event', (res: http.ServerResponse) => void res.end(line('a').slice(0, 9)), 'API_UNREACHABLE'],
    ['no event', (res: http.ServerResponse) => void res.end('{"a":1}\n'), 'WATCH_GARBLED'],
    ['no JSON', (res: http.ServerResponse) => void res.end('<html>\n'), 'WATCH_GARBLED'],
  ])('a stream that is %s throws', async (_, send, code) => {
    const url = await plain((_req, res) => {
      res.writeHead(200);
      send(res);
    });
    await expect(collect(connect(url).watch(pods, {}))).rejects.toMatchObject({ code, retryable: true });
  });

  test('a watch that is never answered fails, one that is answered may be silent', async () => {
    const url = await plain((req, res) => {
      if (req.url?.includes('silent')) res.flushHeaders();
    });
    const lost = collect(connect(url, {}, { watchOpenMs: 20 }).watch(pods, { fieldSelector: 'a=lost' }));
    await expect(lost).rejects.toMatchObject({ code: 'API_TIMEOUT' });
    const patient = connect(url, {}, { watchOpenMs: 3_000 }); // an answer comes sooner, on a busy machine too
    const silent = collect(patient.watch(pods, { fieldSelector: 'a=silent', timeoutMs: 3_300 }));
    await expect(silent).rejects.toThrow('The operation timed out');
  });

  test('a refused watch throws the Status, an ERROR event is handed on', async () => {
    const gone = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' };
    const answers: [number, string][] = [
      [410, JSON.stringify(gone)],
      [200, `${JSON.stringify({ type: 'ERROR', object: gone })}\n`],
    ];
    const url = await plain((_, res) => answer(res, ...answers.shift()!));
    const client = connect(url);
    await expect(collect(client.watch(pods, {}))).rejects.toBeInstanceOf(ApiError);
    expect(await collect(client.watch(pods, {}))).toEqual(['ERROR Expired']);
  });

  test('managedFields never reach the reader', async () => {
    const object = { metadata: { name: 'a', managedFields: [{ manager: 'm' }] } };
    const url = await plain((_, res) => answer(res, 200, `${JSON.stringify({ type: 'ADDED', object })}\n`));
    for await (const e of connect(url).watch(pods, {})) expect(e.object).toEqual({ metadata: { name: 'a' } });
    expect.assertions(1);
  });
});

test('after a renewal calls show the new certificate, and watches end as if the server had ended them', async () => {
  const seen: string[] = [];
  const url = await secure(
    (req, res) => {
      seen.push((req.socket as TLSSocket).getPeerCertificate().subject?.CN?.toString() ?? 'nobody');
      res.writeHead(200, { 'content-type': 'application/json' });
      if (req.url?.includes('watch=') !== true) res.end(JSON.stringify(ANY));
      else res.write(`${JSON.stringify({ type: 'ADDED', object: { metadata: { name: 'a' } } })}\n`);
    },
    { requestCert: true, rejectUnauthorized: false },
  );
  const [first, second] = [await authority.client('first'), await authority.client('second')];
  let pair: KeyPair | undefined = first;
  const config = { server: url, ca: { data: authority.caPem }, insecureSkipTlsVerify: false, user: 'u' };
  const client = new RestClient(
    { ...config, clientPair: () => pair },
    { userAgent: 'test' },
    { clock: systemClock, log: silentLog },
  );
  clients.push(client);
  const events: string[] = [];
  const watch = (async () => {
    for await (const event of client.watch(pods, {})) {
      events.push(event.type);
      pair = second;
      client.renewConnections();
    }
  })();
  await watch;
  expect(events).toEqual(['ADDED']);
  await client.get(pods, { name: 'x', namespace: 'y' });
  pair = undefined;
  await client.get(pods, { name: 'x', namespace: 'y' });
  expect(seen).toEqual(['first', 'second', 'nobody']);
});
