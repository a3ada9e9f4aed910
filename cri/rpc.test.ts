// Calls against servers that misbehave: what breaks below gRPC. What a proper server answers is in remote-runtime.test.ts.
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { grpcFrame } from '../api/grpc-wire.ts';
import { encodeMessage } from './codec.ts';
import { type GrpcCode, isCriError } from './errors.ts';
import type * as msg from './gen/messages.ts';
import { methodOf, RpcChannel } from './rpc.ts';

const VERSION = methodOf('runtime.v1.RuntimeService', 'Version');
const EVENTS = methodOf(
  'runtime.v1.RuntimeService',
  'GetContainerEvents',
  'GetEventsRequest',
  'ContainerEventResponse',
);
const GRPC = { ':status': 200, 'content-type': 'application/grpc' };

let dir: string;
let socket: string;
let server: Http2Server;
let sessions: Set<ServerHttp2Session>;
let channel: RpcChannel;
let answer: (stream: ServerHttp2Stream) => void;

beforeEach(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'nodelet-rpc-'));
  socket = path.join(dir, 'cri.sock');
  channel = new RpcChannel(`unix://${socket}`);
  await listen();
});

afterEach(async () => {
  channel.close();
  await stop();
  rmSync(dir, { recursive: true });
});

async function listen(): Promise<void> {
  sessions = new Set();
  server = createServer();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream) => {
    stream.on('error', () => {}); // clients go
    answer(stream as ServerHttp2Stream);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
}

/** As a runtime that was killed: its connections break. */
async function stop(): Promise<void> {
  for (const session of sessions) session.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

const version = (timeoutMs?: number, signal?: AbortSignal) =>
  channel.call<msg.VersionResponse>(VERSION, {}, timeoutMs, signal);
const named = (runtimeName: string): Buffer => grpcFrame(encodeMessage('VersionResponse', { runtimeName }));

/** Bytes, then a status. */
function finish(stream: ServerHttp2Stream, bytes: Uint8Array, status = '0'): void {
  stream.respond(GRPC, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status }));
  stream.end(bytes);
}

const rejectsWith = (call: Promise<unknown>, code: GrpcCode, message: string | RegExp) =>
  expect(call).rejects.toSatisfy((err) => isCriError(err, code) && err.message.search(message) >= 0);

describe('a call', () => {
  test.each([
    ['no message', Buffer.alloc(0), 'INTERNAL', '0 messages'],
    ['two messages', Buffer.concat([named('a'), named('b')]), 'INTERNAL', '2 messages'],
    ['half a message', named('whole').subarray(0, 7), 'INTERNAL', '0 messages'],
    ['a compressed message', Buffer.concat([Buffer.from([1]), named('a').subarray(1)]), 'INTERNAL', 'compressed'],
    ['a message without end', Buffer.from([0, 0xff, 0xff, 0xff, 0xff]), 'RESOURCE_EXHAUSTED', 'larger than max'],
    ['what is no such message', grpcFrame(Buffer.from([0xff, 0xff])), 'INTERNAL', 'cannot be read'],
  ] as const)('that is answered with %s', async (_name, bytes, code, text) => {
    answer = (stream) => finish(stream, bytes);
    await rejectsWith(version(), code, text);
  });

  test.each([
    [constants.NGHTTP2_REFUSED_STREAM, 'UNAVAILABLE'],
    [constants.NGHTTP2_CANCEL, 'CANCELLED'],
    [constants.NGHTTP2_ENHANCE_YOUR_CALM, 'RESOURCE_EXHAUSTED'],
    [constants.NGHTTP2_INTERNAL_ERROR, 'INTERNAL'],
  ] as const)('whose stream is reset with %i is %s', async (reset, code) => {
    answer = (stream) => stream.close(reset);
    await rejectsWith(version(), code, `RST_STREAM with error code: ${reset}`);
    answer = (stream) => finish(stream, named('still there'));
    expect((await version()).runtimeName).toBe('still there');
  });

  test('that a server of plain HTTP/2 answers', async () => {
    answer = (stream) => {
      stream.respond({ ':status': 404 });
      stream.end('not here');
    };
    await rejectsWith(version(), 'UNIMPLEMENTED', '404');
  });

  test('that fails with a message too long for HTTP/2 harms no other call', async () => {
    // As grpc-go does: what the client does not take is not sent.
    const refuse = (stream: ServerHttp2Stream, text: string) => {
      const taken = stream.session!.remoteSettings.maxHeaderListSize ?? Number.POSITIVE_INFINITY;
      if (text.length + 200 > taken) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      else stream.respond({ ...GRPC, 'grpc-status': '5', 'grpc-message': text }, { endStream: true });
    };
    const waiting = Promise.withResolvers<ServerHttp2Stream>();
    answer = waiting.resolve;
    const other = version();
    const stream = await waiting.promise;
    answer = (failing) => refuse(failing, 'm'.repeat(60_000));
    await rejectsWith(version(), 'NOT_FOUND', /^m{60000}$/);
    answer = (failing) => refuse(failing, 'm'.repeat(100_000));
    await rejectsWith(version(), 'INTERNAL', 'RST_STREAM');
    finish(stream, named('unharmed'));
    expect((await other).runtimeName).toBe('unharmed');
    expect(sessions.size).toBe(1);
  });

  test('while nobody is there says so as Go does; the next one finds who came', async () => {
    await stop();
    const text = `connection error: desc = "transport: Error while dialing: dial unix ${socket}: connect: no such file or directory"`;
    await expect(version()).rejects.toMatchObject({ grpcCode: 'UNAVAILABLE', message: text });
    await listen();
    answer = (stream) => finish(stream, named('late'));
    expect((await version()).runtimeName).toBe('late');
  });

  test('on a connection that breaks fails; the next one gets another', async () => {
    answer = () => void stop();
    await rejectsWith(version(), 'UNAVAILABLE', 'error reading from server');
    await listen();
    answer = (stream) => finish(stream, named('again'));
    expect((await version()).runtimeName).toBe('again');
  });

  test('in flight ends well on a connection that the server is about to close, new ones take another', async () => {
    const first = Promise.withResolvers<ServerHttp2Stream>();
    answer = first.resolve;
    const call = version();
    const stream = await first.promise;
    const { session } = stream;
    const goneAway = new Promise((resolve) => session!.once('close', resolve));
    session!.goaway();
    await new Promise((resolve) => session!.ping(resolve)); // it has been read
    answer = (second) => finish(second, named('second'));
    expect((await version()).runtimeName).toBe('second');
    finish(stream, named('first'));
    expect((await call).runtimeName).toBe('first');
    await goneAway;
  });

  test('with a deadline tells it to the server', async () => {
    const timeouts: unknown[] = [];
    server.on('stream', (_stream, headers) => timeouts.push(headers['grpc-timeout']));
    answer = (stream) => finish(stream, named('x'));
    for (const ms of [60_000.5, 120_000, 2e8, 3e9, 1e15, undefined]) await version(ms);
    expect(timeouts).toEqual(['60001m', '120000m', '200000S', '3000000S', '99999999S', undefined]);
  });

  test('that is given up, by time or by its caller, is reset at the server', async () => {
    const aborts: Promise<void>[] = [];
    const stopIt = new AbortController();
    answer = (stream) => {
      aborts.push(new Promise((resolve) => stream.once('aborted', resolve)));
      if (aborts.length === 2) stopIt.abort();
    };
    await rejectsWith(version(1), 'DEADLINE_EXCEEDED', /^context deadline exceeded$/);
    await rejectsWith(version(undefined, stopIt.signal), 'CANCELLED', /^context canceled$/);
    await Promise.all(aborts);
  });

  test('carries long messages both ways, many at once', async () => {
    const long = 'n'.repeat(3 << 20);
    answer = (stream) => {
      let bytes = 0;
      stream.on('data', (part: Buffer) => {
        bytes += part.length;
      });
      stream.on('end', () => finish(stream, named(`${bytes} ${long}`)));
    };
    const calls = Array.from({ length: 20 }, () =>
      channel.call<msg.VersionResponse>(VERSION, { version: long }, undefined),
    );
    const sent = grpcFrame(encodeMessage('VersionRequest', { version: long })).length;
    for (const { runtimeName } of await Promise.all(calls)) expect(runtimeName).toBe(`${sent} ${long}`);
  });

  test('too long to send is refused here', async () => {
    const call = channel.call(VERSION, { version: 'n'.repeat(17 << 20) }, undefined);
    await rejectsWith(call, 'RESOURCE_EXHAUSTED', 'trying to send message larger than max');
  });
});

describe('a stream', () => {
  const event = (containerId: string) => grpcFrame(encodeMessage('ContainerEventResponse', { containerId }));
  const events = (signal: AbortSignal) => channel.stream<msg.ContainerEventResponse>(EVENTS, {}, signal);
  const never = new AbortController().signal;

  test('gives what comes and ends with the server', async () => {
    answer = (stream) => finish(stream, Buffer.concat([event('a'), event('b')]));
    const ids: string[] = [];
    for await (const { containerId } of events(never)) ids.push(containerId);
    expect(ids).toEqual(['a', 'b']);
  });

  test('fails after what came before', async () => {
    answer = (stream) => finish(stream, event('a'), '14');
    const ids: string[] = [];
    const reading = (async () => {
      for await (const { containerId } of events(never)) ids.push(containerId);
    })();
    await rejectsWith(reading, 'UNAVAILABLE', '');
    expect(ids).toEqual(['a']);
  });

  test('breaks with its connection', async () => {
    answer = (stream) => {
      stream.respond(GRPC);
      stream.write(event('a'), () => void stop());
    };
    const reading = (async () => {
      for await (const _ of events(never));
    })();
    await rejectsWith(reading, 'UNAVAILABLE', 'error reading from server');
    await listen();
  });

  test('ends with the signal while nothing comes', async () => {
    const stopIt = new AbortController();
    const reset = Promise.withResolvers<void>();
    answer = (stream) => {
      stream.once('aborted', reset.resolve);
      stopIt.abort();
    };
    for await (const _ of events(stopIt.signal)) expect.unreachable();
    await reset.promise;
  });

  test('cannot be filled by a server that sends faster than is read', async () => {
    const blocked = Promise.withResolvers<void>();
    let written = 0;
    answer = (stream) => {
      stream.respond(GRPC);
      const big = event('x'.repeat(1 << 20));
      const write = (): void => {
        while (stream.write(big)) written++;
        written++;
        const timer = setImmediate(() => blocked.resolve());
        stream.once('drain', () => {
          clearImmediate(timer);
          if (written < 200) write();
        });
      };
      write();
    };
    for await (const { containerId } of events(never)) {
      await blocked.promise;
      expect(containerId.length).toBe(1 << 20);
      expect(written).toBeLessThan(20);
      break;
    }
  });
});
