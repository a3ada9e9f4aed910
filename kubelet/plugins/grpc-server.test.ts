// The server against clients of three kinds: grpc-js, our own, and ones that speak HTTP/2 but no proper gRPC.
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { grpcFrame } from '../../api/grpc-wire.ts';
import { silentLog } from '../../core/log.ts';
import { decodeMessage, encodeMessage } from '../../cri/codec.ts';
import type { ContainerEventResponse, VersionRequest, VersionResponse } from '../../cri/gen/messages.ts';
import { methodOf, RpcChannel } from '../../cri/rpc.ts';
import { type CallContext, GrpcServer, type GrpcServerLimits } from './grpc-server.ts';
import { GrpcStatusError } from './server-call.ts';

const VERSION = methodOf('test.v1.Test', 'Version');
const EVENTS = methodOf('test.v1.Test', 'Events', 'GetEventsRequest', 'ContainerEventResponse');
const MISSING = methodOf('test.v1.Test', 'Missing', 'VersionRequest', 'VersionResponse');

type Answer = (request: VersionRequest, call: CallContext) => object | Promise<object>;

let dir: string;
let socket: string;
let server: GrpcServer;
let answer: Answer;
let events: (call: CallContext) => AsyncIterable<object>;
const cleanup: (() => unknown)[] = [];

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'nodelet-grpc-'));
  socket = path.join(dir, 'sockets', 'test.sock');
  answer = ({ version }) => ({ runtimeName: version });
});

afterEach(async () => {
  for (const undo of cleanup.splice(0)) await undo();
  await server[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

async function serve(limits: GrpcServerLimits = {}): Promise<void> {
  const methods = [
    { ...VERSION, answer: (request: VersionRequest, call: CallContext) => answer(request, call) },
    { ...EVENTS, stream: (_request: object, call: CallContext) => events(call) },
  ];
  server = new GrpcServer(methods, { log: silentLog }, limits);
  await server.listen(socket);
}

function ours(): RpcChannel {
  const channel = new RpcChannel(socket);
  cleanup.push(() => channel.close());
  return channel;
}

const version = (text: string, timeoutMs?: number, signal?: AbortSignal, method = VERSION) =>
  ours().call<VersionResponse>(method, { version: text }, timeoutMs, signal);

/** The peer implementation. */
function grpcJs(): Client {
  const client = new Client(`unix://${socket}`, credentials.createInsecure());
  cleanup.push(() => client.close());
  return client;
}

const serialize = (value: object) => encodeMessage('VersionRequest', value);
const deserialize = (bytes: Buffer) => decodeMessage<VersionResponse>('VersionResponse', bytes);

function callJs(client: Client, text: string, deadlineMs = 60_000): Promise<VersionResponse> {
  return new Promise((resolve, reject) => {
    const opts = { deadline: Date.now() + deadlineMs };
    client.makeUnaryRequest(VERSION.path, serialize, deserialize, { version: text }, opts, (err, value) =>
      err === null ? resolve(value!) : reject(err),
    );
  });
}

/** A client that sends what it likes. */
function raw(): ClientHttp2Session {
  const session = connect('http://localhost', { createConnection: () => createConnection(socket) });
  session.on('error', () => {});
  cleanup.push(() => session.destroy());
  return session;
}

const REQUEST = { ':method': 'POST', ':path': VERSION.path, 'content-type': 'application/grpc', te: 'trailers' };

/** What a stream was answered with: headers and trailers in one. */
function exchange(headers: IncomingHttpHeaders, body?: Uint8Array | 'open'): Promise<IncomingHttpHeaders> {
  return new Promise((resolve) => {
    const stream = raw().request({ ...REQUEST, ...headers });
    const seen: IncomingHttpHeaders = {};
    stream.on('response', (head) => Object.assign(seen, head));
    stream.on('trailers', (trailers) => Object.assign(seen, trailers));
    stream.on('error', () => {});
    stream.on('end', () => stream.close()); // the answer is whole
    stream.on('close', () => resolve(seen));
    stream.resume();
    if (body !== 'open') stream.end(body);
  });
}

const statusOf = (seen: IncomingHttpHeaders) => [seen[':status'], Number(seen['grpc-status'])];
const named = (text: string): Buffer => grpcFrame(serialize({ version: text }));

describe('unary calls', () => {
  test('are answered, one after the other and side by side, for both kinds of clients', async () => {
    await serve();
    const client = grpcJs();
    expect((await callJs(client, 'one')).runtimeName).toBe('one');
    const texts = Array.from({ length: 50 }, (_, i) => `call ${i}`);
    expect((await Promise.all(texts.map((t) => callJs(client, t)))).map((v) => v.runtimeName)).toEqual(texts);
    expect((await version('ours')).runtimeName).toBe('ours');
  });

  test('carry a megabyte both ways', async () => {
    await serve();
    const text = 'é'.repeat(500_000);
    expect((await callJs(grpcJs(), text)).runtimeName).toBe(text);
    expect((await version(text)).runtimeName).toBe(text);
  });

  test('fail with the handler’s status and words, whatever is in them', async () => {
    const words = '100% kaputt: „Gerät“ \n\t😀 \ud800';
    answer = () => {
      throw new GrpcStatusError('FAILED_PRECONDITION', words);
    };
    await serve();
    const told = words.replace('\ud800', '\ufffd');
    await expect(callJs(grpcJs(), 'x')).rejects.toMatchObject({ code: status.FAILED_PRECONDITION, details: told });
    await expect(version('x')).rejects.toMatchObject({ grpcCode: 'FAILED_PRECONDITION', message: told });
  });

  test('fail as UNKNOWN for what else a handler throws, as INTERNAL for an answer that is none', async () => {
    answer = async () => {
      throw new Error('dial failed');
    };
    await serve();
    await expect(version('x')).rejects.toMatchObject({ grpcCode: 'UNKNOWN', message: 'dial failed' });
    answer = () => {
      throw new Error('x'.repeat(100_000));
    };
    const err = await callJs(grpcJs(), 'x').catch((e: ServiceError) => e);
    expect(err).toMatchObject({ code: status.UNKNOWN, details: 'x'.repeat(2048) });
  });

  test('of methods that are not there are UNIMPLEMENTED, and the connection goes on', async () => {
    await serve();
    const channel = ours();
    const call = channel.call(MISSING, { version: 'x'.repeat(100_000) }, 60_000);
    await expect(call).rejects.toMatchObject({
      grpcCode: 'UNIMPLEMENTED',
      message: 'unknown method Missing for service test.v1.Test',
    });
    expect((await channel.call<VersionResponse>(VERSION, { version: 'y' }, 60_000)).runtimeName).toBe('y');
  });

  test('that pass their deadline end, and the handler is told', async () => {
    const told = Promise.withResolvers<void>();
    answer = (_request, { signal }) => {
      signal.addEventListener('abort', () => told.resolve(), { once: true });
      return new Promise(() => {});
    };
    await serve();
    const seen = await exchange({ 'grpc-timeout': '20m' }, named('x'));
    expect(statusOf(seen)).toEqual([200, status.DEADLINE_EXCEEDED]);
    await told.promise;
    await expect(callJs(grpcJs(), 'x', 20)).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  });

  test('that are given up tell the handler', async () => {
    const begun = Promise.withResolvers<void>();
    const told = Promise.withResolvers<void>();
    answer = (_request, { signal }) => {
      signal.addEventListener('abort', () => told.resolve(), { once: true });
      begun.resolve();
      return told.promise.then(() => ({ runtimeName: 'late' }));
    };
    await serve();
    const stop = new AbortController();
    const call = version('x', 60_000, stop.signal);
    await begun.promise;
    stop.abort();
    await expect(call).rejects.toMatchObject({ grpcCode: 'CANCELLED' });
    await told.promise;
    answer = () => ({ runtimeName: 'next' });
    expect((await version('x')).runtimeName).toBe('next');
  });
});

describe('streams', () => {
  const count = async (channel: RpcChannel, until: number, signal = new AbortController().signal) => {
    const ids: string[] = [];
    for await (const { containerId } of channel.stream<ContainerEventResponse>(EVENTS, {}, signal)) {
      ids.push(containerId);
      if (ids.length === until) break;
    }
    return ids;
  };

  test('bring all messages, then their status', async () => {
    events = async function* () {
      for (let i = 0; i < 1000; i++) yield { containerId: `c${i}` };
    };
    await serve();
    expect(await count(ours(), -1)).toHaveLength(1000);
    events = async function* () {
      yield { containerId: 'only' };
      throw new GrpcStatusError('ABORTED', 'enough');
    };
    await expect(count(ours(), -1)).rejects.toMatchObject({ grpcCode: 'ABORTED', message: 'enough' });
  });

  test('as long as one likes leave no listeners behind', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => void warnings.push(warning);
    process.on('warning', note);
    cleanup.push(() => process.off('warning', note));
    events = async function* () {
      for (let i = 0; i < 30; i++) yield { containerId: 'x'.repeat(256 * 1024) };
    };
    await serve();
    expect(await count(ours(), -1)).toHaveLength(30);
    expect(warnings).toEqual([]);
  });

  test('wait for callers that do not read', async () => {
    let sent = 0;
    const full = Promise.withResolvers<void>();
    const big = 'x'.repeat(256 * 1024);
    events = async function* ({ signal }) {
      let lastSeen = -1;
      const stalled = setInterval(() => {
        if (sent === lastSeen) full.resolve();
        lastSeen = sent;
      }, 200);
      try {
        while (!signal.aborted && sent < 10_000) {
          sent++;
          yield { containerId: big };
        }
      } finally {
        clearInterval(stalled);
      }
    };
    await serve();
    const stream = raw().request({ ...REQUEST, ':path': EVENTS.path });
    stream.on('error', () => {});
    stream.end(grpcFrame(Buffer.alloc(0)));
    await full.promise; // nothing has moved for a while
    expect(sent).toBeLessThan(100);
    stream.destroy();
  });

  test('end when their caller goes', async () => {
    const ended = Promise.withResolvers<void>();
    events = async function* ({ signal }) {
      try {
        yield { containerId: 'first' };
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      } finally {
        ended.resolve();
      }
    };
    await serve();
    expect(await count(ours(), 1)).toEqual(['first']);
    await ended.promise;
  });
});

describe('what is no proper call', () => {
  const half = named('half a message').subarray(0, 7);
  test.each([
    ['another method than POST', { ':method': 'GET' }, undefined, [405, status.INTERNAL]],
    ['another content type', { 'content-type': 'application/json' }, undefined, [415, status.INVALID_ARGUMENT]],
    [
      'a content type that only begins like it',
      { 'content-type': 'application/grpcx' },
      undefined,
      [415, status.INVALID_ARGUMENT],
    ],
    ['no content type', { 'content-type': '' }, undefined, [415, status.INVALID_ARGUMENT]],
    ['a deadline that is none', { 'grpc-timeout': 'soon' }, named('x'), [200, status.INTERNAL]],
    ['a deadline of nine digits', { 'grpc-timeout': '123456789S' }, named('x'), [200, status.INTERNAL]],
    ['compression', { 'grpc-encoding': 'gzip' }, named('x'), [200, status.UNIMPLEMENTED]],
    ['a path without a service', { ':path': '/Version' }, named('x'), [200, status.UNIMPLEMENTED]],
    ['a compressed message', {}, Buffer.concat([Buffer.from([1]), named('x').subarray(1)]), [200, status.INTERNAL]],
    ['no message', {}, Buffer.alloc(0), [200, status.INTERNAL]],
    ['half a message', {}, half, [200, status.INTERNAL]],
    ['two messages', {}, Buffer.concat([named('a'), named('b')]), [200, status.INTERNAL]],
    ['what is no protobuf', {}, grpcFrame(Buffer.from([0xff, 0xff])), [200, status.INTERNAL]],
    ['a message without end', {}, Buffer.from([0, 0xff, 0xff, 0xff, 0xff]), [200, status.RESOURCE_EXHAUSTED]],
  ] as const)('%s is refused', async (_name, headers, body, expected) => {
    await serve();
    expect(statusOf(await exchange(headers, body))).toEqual(expected);
    expect((await version('still there')).runtimeName).toBe('still there');
  });

  test('a request that never comes is not waited for', async () => {
    await serve({ receiveMs: 20 });
    expect(statusOf(await exchange({}, 'open'))).toEqual([200, status.DEADLINE_EXCEEDED]);
  });

  test('a request that is too big is refused before it is there', async () => {
    await serve({ maxRequestBytes: 1000 });
    await expect(callJs(grpcJs(), 'x'.repeat(2000))).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    expect((await version('x'.repeat(900))).runtimeName).toHaveLength(900);
  });

  test('more calls than there may be at a time are refused, others go on', async () => {
    await serve({ maxCalls: 2 });
    const release = Promise.withResolvers<void>();
    let begun = 0;
    const both = Promise.withResolvers<void>();
    answer = async () => {
      if (++begun === 2) both.resolve();
      await release.promise;
      return { runtimeName: 'held' };
    };
    const held = [version('a'), version('b')]; // a connection each: HTTP/2's own limit is per connection
    await both.promise;
    await expect(version('c')).rejects.toMatchObject({ grpcCode: 'RESOURCE_EXHAUSTED' });
    release.resolve();
    expect((await Promise.all(held)).map((v) => v.runtimeName)).toEqual(['held', 'held']);
    expect((await version('d')).runtimeName).toBe('held');
  });

  test('bytes that are no HTTP/2 end their connection alone', async () => {
    await serve();
    await new Promise<void>((resolve) => {
      const plain = createConnection(socket, () => plain.write('GET / HTTP/1.1\r\n\r\n'.repeat(10)));
      plain.on('error', () => {});
      plain.on('close', () => resolve());
      plain.resume();
    });
    expect((await version('x')).runtimeName).toBe('x');
  });
});

describe('the socket', () => {
  test('is the agent’s alone, in a directory of its own', async () => {
    await serve();
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(statSync(path.dirname(socket)).mode & 0o777).toBe(0o750);
    expect(server.listening).toBe(true);
  });

  test('that somebody left is taken away; the mode of a directory that is there stays', async () => {
    await serve();
    const left = path.join(dir, 'left.sock');
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(left, resolve));
    cleanup.push(() => new Promise((resolve) => other.close(resolve)));
    chmodSync(dir, 0o711);
    await using second = new GrpcServer([], { log: silentLog });
    await second.listen(left);
    expect(statSync(dir).mode & 0o777).toBe(0o711);
    const refused = new RpcChannel(left);
    cleanup.push(() => refused.close());
    await expect(refused.call(MISSING, {}, 60_000)).rejects.toMatchObject({ grpcCode: 'UNIMPLEMENTED' });
  });

  test('cannot be made over a file, nor with a path beyond what sockets have', async () => {
    await serve();
    const file = path.join(dir, 'file');
    writeFileSync(file, 'mine');
    const second = new GrpcServer([], { log: silentLog });
    await expect(second.listen(file)).rejects.toMatchObject({ code: 'GRPC_SOCKET_FAILED' });
    expect(existsSync(file)).toBe(true);
    await expect(second.listen(path.join(dir, 'x'.repeat(120)))).rejects.toMatchObject({ code: 'GRPC_SOCKET_FAILED' });
    expect(second.listening).toBe(false);
  });

  test('goes when the server stops; calls end as UNAVAILABLE and their handlers are told', async () => {
    const begun = Promise.withResolvers<void>();
    const told = Promise.withResolvers<void>();
    answer = (_request, { signal }) => {
      signal.addEventListener('abort', () => told.resolve(), { once: true });
      begun.resolve();
      return new Promise(() => {});
    };
    await serve();
    const call = version('x');
    const idle = raw();
    await begun.promise;
    const failed = expect(call).rejects.toMatchObject({ grpcCode: 'UNAVAILABLE', message: 'the server is stopping' });
    const gone = new Promise((resolve) => idle.once('close', resolve));
    await server[Symbol.asyncDispose]();
    await failed;
    await told.promise;
    await gone;
    expect(existsSync(socket)).toBe(false);
    expect(server.listening).toBe(false);
  });
});
