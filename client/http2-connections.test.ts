import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http2 from 'node:http2';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import tls, { type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { WatchEvent } from '../api/meta.ts';
import type { Pod } from '../api/pod.ts';
import { nodes, pods } from '../api/resources.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { FakeAuthority, type KeyPair } from './fake-certificates.ts';
import { Http2Connections } from './http2-connections.ts';
import type { ClientConfig } from './kubeconfig.ts';
import { RestClient } from './rest.ts';

type Request = http2.Http2ServerRequest;
type Response = http2.Http2ServerResponse;

const SIGNAL = new AbortController().signal;
let authority: FakeAuthority;
let pair: KeyPair;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  authority = await FakeAuthority.create();
  pair = await authority.server();
});

afterAll(async () => {
  await authority[Symbol.asyncDispose]();
});

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface TestServer {
  readonly port: number;
  readonly sessions: http2.ServerHttp2Session[];
  readonly sockets: ReadonlySet<unknown>;
}

/** HTTP/1.1 for those that ask for nothing else, as API servers do. */
async function serve(
  handler: (req: Request, res: Response) => void,
  maxConcurrentStreams = 100,
  more: http2.SecureServerOptions = {},
): Promise<TestServer> {
  const settings = { maxConcurrentStreams };
  const server = http2.createSecureServer({ ...pair, ...more, allowHTTP1: true, settings }, handler);
  const sessions: http2.ServerHttp2Session[] = [];
  const sockets = new Set<net.Socket>();
  server.on('session', (session) => sessions.push(session));
  server.on('connection', (socket: net.Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, sessions, sockets };
}

function connect(port: number, more: Partial<ClientConfig> = {}): RestClient {
  const config = {
    server: `https://127.0.0.1:${port}`,
    ca: { data: authority.caPem },
    insecureSkipTlsVerify: false,
    user: 'test',
    ...more,
  };
  const client = new RestClient(config, { userAgent: 'test/1' }, { clock: systemClock, log: silentLog });
  closing.push(() => client.closeIdleConnections());
  return client;
}

const line = (name: string, data = '') =>
  `${JSON.stringify({ type: 'ADDED', object: { kind: 'Pod', metadata: { name, annotations: { data } } } })}\n`;

async function nextOf(watch: AsyncIterator<WatchEvent<Pod>>): Promise<string | undefined> {
  const { value } = await watch.next();
  return (value?.object as Pod | undefined)?.metadata?.name;
}

const watchOf = (client: RestClient) => client.watch(pods, { signal: SIGNAL })[Symbol.asyncIterator]();

const callOf = (port: number, path: string) => ({
  authority: `https://127.0.0.1:${port}`,
  headers: { ':path': path },
  dial: () => ({ host: '127.0.0.1', port, ca: authority.caPem, servername: '' }),
});

test('watches share connections up to what the server allows, calls have others', async () => {
  const server = await serve((req, res) => {
    if (req.url.includes('watch=true')) res.write(line(req.httpVersion));
    else res.end(JSON.stringify({ metadata: { name: req.httpVersion } }));
  }, 3);
  const client = connect(server.port);
  const watches = Array.from({ length: 7 }, () => watchOf(client));
  expect(await Promise.all(watches.map(nextOf))).toEqual(Array(7).fill('2.0'));
  expect(server.sessions).toHaveLength(3);
  expect((await client.get(nodes, { name: 'n' })).metadata?.name).toBe('1.1');
  await Promise.all(watches.map((watch) => watch.return?.(undefined)));
});

test('an end of the server is an end, everything else is a failure', async () => {
  const server = await serve((req, res) => {
    res.write(line('a'));
    if (req.url.includes('/namespaces/end/')) res.end();
    else if (req.url.includes('/namespaces/reset/')) res.stream.close(http2.constants.NGHTTP2_CANCEL);
  });
  const client = connect(server.port);
  const read = async (namespace: string, onEvent = () => {}) => {
    let events = 0;
    for await (const _ of client.watch(pods, { namespace, signal: SIGNAL })) {
      events++;
      onEvent();
    }
    return events;
  };
  expect(await read('end')).toBe(1);
  await expect(read('reset')).rejects.toMatchObject({ code: 'API_UNREACHABLE' });
  const answered = Promise.withResolvers<void>(); // before, it would be asked for anew
  const cut = expect(read('cut', answered.resolve)).rejects.toMatchObject({ code: 'API_UNREACHABLE' });
  await answered.promise;
  server.sessions[0]!.destroy();
  await cut;
  expect(await read('end')).toBe(1); // over a new connection
  expect(server.sessions).toHaveLength(2);
});

test('a server that is about to leave ends no watch, and gets no new one', async () => {
  const responses: Response[] = [];
  const server = await serve((_, res) => {
    responses.push(res);
    res.write(line(`w${responses.length}`));
  });
  const client = connect(server.port);
  const first = watchOf(client);
  expect(await nextOf(first)).toBe('w1');
  const told = Promise.withResolvers<void>();
  server.sessions[0]!.goaway(http2.constants.NGHTTP2_NO_ERROR);
  server.sessions[0]!.ping(() => told.resolve()); // answered after the GOAWAY was read
  await told.promise;
  const second = watchOf(client);
  expect(await nextOf(second)).toBe('w2');
  expect(server.sessions).toHaveLength(2);
  responses[0]!.write(line('still'));
  expect(await nextOf(first)).toBe('still');
  await Promise.all([first.return?.(undefined), second.return?.(undefined)]);
});

test('a reader that leaves ends its stream, not the connection', async () => {
  const left = Promise.withResolvers<void>();
  const server = await serve((_, res) => {
    res.stream.once('close', () => left.resolve());
    res.write(line('a'));
  });
  const client = connect(server.port);
  for await (const _ of client.watch(pods, { signal: SIGNAL })) break;
  await left.promise;
  const next = watchOf(client);
  expect(await nextOf(next)).toBe('a');
  expect(server.sessions).toHaveLength(1);
  await next.return?.(undefined);
});

test('an object of many megabytes comes through, whatever other watches do not read', async () => {
  const server = await serve((_, res) => res.write(line('big', 'ä'.repeat(4 << 20))));
  const client = connect(server.port);
  const unread = watchOf(client);
  expect(await nextOf(unread)).toBe('big');
  const read = watchOf(client);
  expect(await nextOf(read)).toBe('big');
  await Promise.all([unread.return?.(undefined), read.return?.(undefined)]);
});

test('an answer is whole however late it is read', async () => {
  const ended = Promise.withResolvers<void>();
  const server = await serve(async (req, res) => {
    if (req.url === '/second') await ended.promise;
    else res.stream.once('close', () => ended.resolve());
    res.end(req.url);
  });
  const { port } = server;
  const connections = new Http2Connections({ connectMs: 5_000 });
  closing.push(() => connections.destroy());
  const [first, second] = await Promise.all(
    ['/first', '/second'].map((path) => connections.request(callOf(port, path), SIGNAL, { happened: false })),
  );
  const texts = [];
  for (const answer of [second, first]) texts.push(await text(answer!.body as AsyncIterable<Buffer> as never));
  expect(texts).toEqual(['/second', '/first']);
});

test('a refusal is an error like any other', async () => {
  const server = await serve((_, res) => {
    res.writeHead(403, { 'content-type': 'application/json' });
    res.end(JSON.stringify({ kind: 'Status', reason: 'Forbidden', code: 403, message: 'no' }));
  });
  await expect(nextOf(watchOf(connect(server.port)))).rejects.toMatchObject({ code: 'Forbidden' });
});

test('a peer that falls silent is noticed by a ping, and all that wait for it are told', async () => {
  const server = await serve((_, res) => void res.write(line('a')));
  const { port, fallSilent } = await relayTo(server.port);
  const connections = new Http2Connections({ connectMs: 5_000, pingMs: 50, pongMs: 200 });
  closing.push(() => connections.destroy());
  const answer = await connections.request(callOf(port, '/x'), SIGNAL, { happened: false });
  const chunks = answer!.body[Symbol.asyncIterator]();
  await chunks.next();
  for (let pings = 0; pings < 2; pings++) await once(server.sessions[0]!, 'ping'); // which are answered
  fallSilent();
  await expect(chunks.next()).rejects.toThrow(/ping/);
});

test('a peer that vanishes after it said that it will leave is noticed, too', async () => {
  const server = await serve((_, res) => void res.write(line('a')));
  const client = connect(server.port);
  const watch = watchOf(client);
  await nextOf(watch);
  // node:http2 sends no pings then: the kernel does, which the column of timers tells, of connections to the server's port.
  const port = server.port.toString(16).toUpperCase().padStart(4, '0');
  const timers = (await readFile('/proc/net/tcp', 'utf8')).matchAll(/^ *\d+: \S+ \S+:(\w{4}) 01 \S+ (\w\w):/gm);
  expect([...timers].filter(([, to]) => to === port).map(([, , timer]) => timer)).toEqual(['02']);
  await watch.return?.(undefined);
});

test('a connection that nobody uses any more is closed', async () => {
  const server = await serve((_, res) => void res.end('x'));
  const connections = new Http2Connections({ connectMs: 5_000, pingMs: 20 });
  closing.push(() => connections.destroy());
  const answer = await connections.request(callOf(server.port, '/x'), SIGNAL, { happened: false });
  const closed = once(server.sessions[0]!, 'close');
  expect(await text(answer!.body as AsyncIterable<Buffer> as never)).toBe('x');
  await closed;
});

test('one connection has a hundred watches at most, however many the server allows', async () => {
  const server = await serve((_, res) => void res.write(line('a')), 1_000);
  const client = connect(server.port);
  const watches = Array.from({ length: 101 }, () => watchOf(client));
  expect(await Promise.all(watches.map(nextOf))).toEqual(Array(101).fill('a'));
  expect(server.sessions).toHaveLength(2);
  await Promise.all(watches.map((watch) => watch.return?.(undefined)));
});

test('a server that takes no stream on a new connection is not connected to again and again', async () => {
  const server = await serve(() => {}, 0);
  await expect(nextOf(watchOf(connect(server.port)))).rejects.toMatchObject({ code: 'API_UNREACHABLE' });
  expect(server.sockets.size).toBe(1);
});

test('a server that speaks no HTTP/2 is asked once', async () => {
  const server = https.createServer({ ...pair }, (_, res) => void res.write(line('a')));
  let connected = 0;
  server.on('connection', () => connected++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const client = connect((server.address() as AddressInfo).port);
  for (let i = 0; i < 3; i++) for await (const _ of client.watch(pods, { signal: SIGNAL })) break;
  expect(connected).toBe(4);
});

test.each([
  ['says nothing more', () => {}],
  ['closes the connection', (socket: TLSSocket) => void socket.end()],
])('a server that agrees to HTTP/2 and then %s is given up', async (_what, then) => {
  const server = tls.createServer({ ...pair, ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => {});
    socket.resume();
    closing.push(() => socket.destroy());
    then(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => server.close());
  const connections = new Http2Connections({ connectMs: 500 });
  closing.push(() => connections.destroy());
  const call = callOf((server.address() as AddressInfo).port, '/x');
  await expect(connections.request(call, SIGNAL, { happened: false })).rejects.toThrow();
});

test('a connection that ended just as it was to be used again costs the watch nothing', async () => {
  const server = await serve((_, res) => void res.write(line('a')));
  const client = connect(server.port);
  for await (const _ of client.watch(pods, { signal: SIGNAL })) break;
  server.sessions[0]!.destroy(); // the client has not heard of it yet
  const next = watchOf(client);
  expect(await nextOf(next)).toBe('a');
  expect(server.sessions).toHaveLength(2);
  await next.return?.(undefined);
});

test('a watch that the server ends without an answer has failed, and is not asked for again by itself', async () => {
  let asked = 0;
  const server = await serve((_, res) => {
    if (++asked === 1) res.write(line('a'));
    else res.stream.close(http2.constants.NGHTTP2_NO_ERROR);
  });
  const client = connect(server.port);
  const first = watchOf(client);
  await nextOf(first);
  await expect(nextOf(watchOf(client))).rejects.toMatchObject({ code: 'API_UNREACHABLE' });
  expect(asked).toBe(2);
  await first.return?.(undefined);
});

test('a watch without an answer in time leaves the connection to those that run on it', async () => {
  const server = await serve((req, res) => {
    if (!req.url.includes('lost')) res.write(line('answered'));
  });
  const client = connect(server.port);
  const first = watchOf(client);
  await nextOf(first);
  const lost = client.watch(pods, { signal: SIGNAL, fieldSelector: 'a=lost', timeoutMs: 50 });
  await expect(nextOf(lost[Symbol.asyncIterator]())).rejects.toMatchObject({ code: 'API_TIMEOUT' });
  const next = watchOf(client);
  expect(await nextOf(next)).toBe('answered');
  expect(server.sessions).toHaveLength(2);
  await Promise.all([first.return?.(undefined), next.return?.(undefined)]);
});

test('a new certificate is shown by the watches that come, over a connection of their own', async () => {
  const shown: (string | undefined)[] = [];
  const server = await serve(
    (req, res) => {
      shown.push((req.stream.session!.socket as TLSSocket).getPeerCertificate().subject?.CN?.toString());
      res.write(line('a'));
    },
    100,
    { requestCert: true, rejectUnauthorized: false },
  );
  let clientPair = await authority.client('first');
  const client = connect(server.port, { clientPair: () => clientPair });
  const first = watchOf(client);
  await nextOf(first);
  clientPair = await authority.client('second');
  const second = watchOf(client);
  await nextOf(second);
  expect(shown).toEqual(['first', 'second']);
  const ends = [nextOf(first), nextOf(second)];
  client.renewConnections();
  expect(await Promise.all(ends)).toEqual([undefined, undefined]);
  const third = watchOf(client);
  await nextOf(third);
  expect(server.sessions).toHaveLength(3);
  await third.return?.(undefined);
});

test('closing connections ends the watches on them', async () => {
  const server = await serve((_, res) => void res.write(line('a')));
  const client = connect(server.port);
  const watch = watchOf(client);
  await nextOf(watch);
  const ended = watch.next();
  client.closeIdleConnections();
  expect(await ended).toMatchObject({ done: true });
});

/** A relay that can be told to swallow everything, with its connections open. */
async function relayTo(target: number): Promise<{ port: number; fallSilent: () => void }> {
  const sockets: net.Socket[] = [];
  const server = net.createServer((near) => {
    const far = net.connect(target, '127.0.0.1');
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on('error', () => {});
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const fallSilent = () => {
    for (const socket of sockets) socket.unpipe().pause();
  };
  return { port: (server.address() as AddressInfo).port, fallSilent };
}
