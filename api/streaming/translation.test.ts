import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { Duplex, duplexPair } from 'node:stream';
import { text } from 'node:stream/consumers';
import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { FakeRuntimeServer, type ServedCommand } from './fake-runtime-server.ts';
import { tunnelledProtocols, tunnelPortForward } from './port-forward.ts';
import { type RemoteCommandStreams, translateRemoteCommand, wantsV5 } from './remote-command.ts';
import { SpdySession } from './spdy-session.ts';
import { requestUpgrade, spdyUpgradeHeaders, splice } from './upgrade-client.ts';

// A client, a translator on a real socket, and a runtime on another.
let runtime: FakeRuntimeServer;
let front: Server;
let url: string;
let streams: RemoteCommandStreams;
let refusal: unknown;
const sockets = new Set<Duplex>();

beforeEach(async () => {
  runtime = new FakeRuntimeServer();
  const port = await runtime.listen();
  streams = { stdin: true, stdout: true, stderr: true, tty: false };
  refusal = undefined;
  front = createServer();
  front.on('upgrade', (request, socket, head) => {
    sockets.add(socket);
    const dial = (protocols: readonly string[]) =>
      requestUpgrade(
        new URL(`http://127.0.0.1:${port}/exec`),
        { method: 'POST', headers: spdyUpgradeHeaders(protocols) },
        new AbortController().signal,
      );
    const client = { request, socket, head };
    const served = wantsV5(request) ? translateRemoteCommand(client, streams, dial) : tunnelPortForward(client, dial);
    served.catch((err: unknown) => {
      refusal = err;
      socket.end('HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    });
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  url = `ws://127.0.0.1:${(front.address() as AddressInfo).port}/`;
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  front.closeAllConnections();
  await new Promise<void>((resolve) => front.close(() => resolve()));
  await runtime.close();
});

interface Outcome {
  readonly out: string;
  readonly err: string;
  readonly status: { status: string; reason?: string };
  readonly code: number;
}

/** What kubectl keeps of a session. */
function collect(ws: WebSocket): Promise<Outcome> {
  const channels = new Map<number, Buffer[]>();
  ws.on('message', (message: Buffer) => {
    const list = channels.get(message[0]!) ?? [];
    channels.set(message[0]!, [...list, message.subarray(1)]);
  });
  const textOf = (channel: number): string => Buffer.concat(channels.get(channel) ?? []).toString();
  return new Promise((resolve, reject) => {
    ws.on('error', reject);
    ws.on('close', (code) => resolve({ out: textOf(1), err: textOf(2), status: JSON.parse(textOf(3) || '{}'), code }));
  });
}

const client = (): WebSocket => new WebSocket(url, ['v5.channel.k8s.io']);
const opened = (ws: WebSocket): Promise<void> => new Promise((resolve) => ws.once('open', () => resolve()));

function finish({ streams: s, session }: ServedCommand, status: object): void {
  s.get('stdout')?.end();
  s.get('stderr')?.end();
  s.get('error')!.end(JSON.stringify(status));
  void finished(s.get('error')!, { readable: false }).then(() => session.close());
}

test('stdin is half-closed, output and exit status come back', async () => {
  runtime.onCommand = async (command) => {
    const input = await text(command.streams.get('stdin')!);
    command.streams.get('stdout')!.write(input.toUpperCase());
    command.streams.get('stderr')!.write('warning');
    finish(command, { status: 'Failure', reason: 'NonZeroExitCode' });
  };
  const ws = client();
  const outcome = collect(ws);
  await opened(ws);
  ws.send(Buffer.from('\0hello '));
  ws.send(Buffer.from('\0world'));
  ws.send(Buffer.of(255, 0));
  expect(await outcome).toEqual({
    out: 'HELLO WORLD',
    err: 'warning',
    status: { status: 'Failure', reason: 'NonZeroExitCode' },
    code: 1000,
  });
  expect(runtime.requests[0]!.headers['x-stream-protocol-version']).toBe('v4.channel.k8s.io');
  expect(runtime.requests[0]!.method).toBe('POST');
});

test('a terminal has a resize stream and no stderr', async () => {
  streams = { stdin: true, stdout: true, stderr: true, tty: true };
  runtime.onCommand = (command) => {
    expect([...command.streams.keys()]).toEqual(['error', 'stdin', 'stdout', 'resize']);
    command.streams.get('resize')!.once('data', (size: Buffer) => {
      command.streams.get('stdout')!.write(size);
      finish(command, { status: 'Success' });
    });
  };
  const ws = client();
  const outcome = collect(ws);
  await opened(ws);
  ws.send(Buffer.from('\x04{"Width":80,"Height":24}'));
  expect(await outcome).toMatchObject({ out: '{"Width":80,"Height":24}', status: { status: 'Success' } });
});

test.each([
  ['in words', 'cannot find container\n', 'unable to upgrade connection: cannot find container'],
  ['with a list', '[1]', 'unable to upgrade connection: [1]'],
  ['with nothing', '', 'unable to upgrade connection: '],
])('a runtime that refuses %s is told on the error channel', async (_how, body, cause) => {
  runtime.refuseWith = { code: 404, body };
  expect(await collect(client())).toEqual({
    out: '',
    err: '',
    status: {
      metadata: {},
      status: 'Failure',
      message: `Internal error occurred: ${cause}`,
      reason: 'InternalError',
      details: { causes: [{ message: cause }] },
      code: 500,
    },
    code: 1000,
  });
  expect(refusal).toBeUndefined();
});

test('a refusal that is a Status is passed on as it is', async () => {
  const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Forbidden', message: 'no', code: 403 };
  runtime.refuseWith = { code: 403, body: JSON.stringify(status) };
  expect((await collect(client())).status).toEqual(status);
});

test('a runtime that is not there is told on the error channel, although the client writes at once', async () => {
  await runtime.close();
  const ws = client();
  const outcome = collect(ws);
  await opened(ws);
  ws.send(Buffer.alloc(1024 ** 2)); // stdin that nobody will read
  expect((await outcome).status).toMatchObject({
    reason: 'InternalError',
    message: expect.stringMatching(/^Internal error occurred: error sending request: .*ECONNREFUSED/),
  });
  runtime = new FakeRuntimeServer(); // for what comes after each test
  await runtime.listen();
});

test('a connection to the runtime that is reset before or behind its streams fails the session, nothing else', async () => {
  const unhandled: unknown[] = [];
  const note = (err: unknown) => unhandled.push(err);
  process.on('unhandledRejection', note);
  try {
    runtime.onCommand = ({ request, streams: s }) => {
      s.get('stdout')!.write('some');
      setImmediate(() => request.socket.resetAndDestroy());
    };
    expect((await collect(client())).status).toMatchObject({ status: 'Failure', reason: 'InternalError' });
    runtime.onStream = (stream) => {
      stream.resume();
      runtime.requests.at(-1)!.socket.resetAndDestroy();
    };
    expect((await collect(client())).status).toMatchObject({ status: 'Failure', reason: 'InternalError' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', note);
  }
});

test('a client that goes away while the runtime is dialled leaves no session behind', async () => {
  const dialled = Promise.withResolvers<void>();
  runtime.server.removeAllListeners('upgrade');
  const ended = Promise.withResolvers<void>();
  runtime.server.on('upgrade', async (_request, socket) => {
    socket.resume().on('error', () => {});
    socket.on('end', () => socket.end()).on('close', () => ended.resolve());
    dialled.resolve();
    await gone;
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n');
  });
  const ws = client();
  const gone = once(ws, 'close');
  await dialled.promise;
  ws.terminate();
  await ended.promise;
});

test('a runtime that dies in the middle ends with InternalError, not with silence', async () => {
  runtime.onCommand = ({ streams: s, session }) => {
    s.get('stdout')!.write('some');
    setImmediate(() => session.destroy());
  };
  const outcome = await collect(client());
  expect(outcome.status).toMatchObject({ status: 'Failure', reason: 'InternalError' });
});

test('a client that goes away takes the command along', async () => {
  const gone = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  runtime.onCommand = ({ session }) => {
    started.resolve();
    void session.closed.then(gone.resolve);
  };
  const ws = client();
  await started.promise;
  ws.terminate();
  await gone.promise;
});

/** Far more than what is held on the way; the server in a process of its own is measured in the integration tests. */
const OUTPUT_BYTES = 256 * 1024 ** 2;

test('output of any length passes a slow client without gathering', async () => {
  streams = { stdin: false, stdout: true, stderr: false, tty: false };
  runtime.expected = 2;
  const chunk = Buffer.alloc(64 * 1024, 'x');
  runtime.onCommand = async (command) => {
    const stdout = command.streams.get('stdout')!;
    for (let sent = 0; sent < OUTPUT_BYTES; sent += chunk.length) {
      if (!stdout.write(chunk)) await new Promise((resolve) => stdout.once('drain', resolve));
    }
    finish(command, { status: 'Success' });
  };
  const before = process.memoryUsage().rss;
  let received = 0;
  let most = 0;
  const ws = client();
  ws.on('message', (message: Buffer) => {
    if (message[0] !== 1) return;
    received += message.length - 1;
    if (received % (64 * chunk.length) !== 0) return;
    most = Math.max(most, process.memoryUsage().rss);
    ws.pause(); // everybody behind must wait, too
    setImmediate(() => ws.resume());
  });
  await new Promise((resolve) => ws.on('close', resolve));
  expect(received).toBe(OUTPUT_BYTES);
  expect((most - before) / 1024 ** 2).toBeLessThan(200);
});

/** kubectl's side of a tunnel. Written here because ws refuses the protocol's name. */
async function openTunnel(): Promise<{ readonly protocol: string; readonly stream: Duplex }> {
  const key = 'dGhlIHNhbXBsZSBub25jZQ==';
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': key,
    'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io',
  };
  const target = new URL(url.replace('ws:', 'http:'));
  const { socket, rawHeaders } = await requestUpgrade(target, { method: 'GET', headers }, new AbortController().signal);
  const protocol = rawHeaders[rawHeaders.findIndex((h) => /^sec-websocket-protocol$/i.test(h)) + 1]!;
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      const head = Buffer.alloc(14); // a binary message, masked with zeros
      head[0] = 0x82;
      head[1] = 0x80 | 127;
      head.writeBigUInt64BE(BigInt(chunk.length), 2);
      socket.write(Buffer.concat([head, chunk]), done);
    },
    destroy(err, done) {
      socket.destroy();
      done(err);
    },
  });
  let pending = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    for (let frame = firstFrame(pending); frame !== undefined; frame = firstFrame(pending)) {
      stream.push(pending.subarray(frame.start, frame.end));
      pending = pending.subarray(frame.end);
    }
  });
  return { protocol, stream };
}

function firstFrame(bytes: Buffer): { readonly start: number; readonly end: number } | undefined {
  if (bytes.length < 10) return undefined;
  const short = bytes[1]! & 0x7f;
  const start = short === 127 ? 10 : short === 126 ? 4 : 2;
  const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  return bytes.length < start + length ? undefined : { start, end: start + length };
}

test('a tunnel carries the SPDY connection of port-forward', async () => {
  runtime.onStream = (stream) => {
    if (stream.headers.streamtype === 'data') stream.pipe(stream);
    else stream.end();
  };
  const { protocol, stream } = await openTunnel();
  expect(protocol).toBe('SPDY/3.1+portforward.k8s.io');
  expect(runtime.requests[0]!.headers['x-stream-protocol-version']).toBe('portforward.k8s.io');
  const session = new SpdySession(stream, Buffer.alloc(0), { role: 'client' });
  const error = session.createStream({ streamtype: 'error', port: '80', requestid: '0' });
  const data = session.createStream({ streamtype: 'data', port: '80', requestid: '0' });
  data.end('ping '.repeat(100_000));
  expect(await text(error)).toBe('');
  expect((await text(data)).length).toBe(500_000);
  session.destroy();
});

test('a broken handshake is refused without dialling on', async () => {
  const socket = connect((front.address() as AddressInfo).port, '127.0.0.1');
  const head = [
    'GET / HTTP/1.1',
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Protocol: v5.channel.k8s.io',
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  expect(await text(socket)).toMatch(/^HTTP\/1.1 500/);
  expect(refusal).toBeInstanceOf(Error);
  expect(runtime.requests).toEqual([]);
});

test('what was read of a backend before it reset the connection is still delivered', async () => {
  const [client, clientFar] = duplexPair();
  const [backend, backendFar] = duplexPair();
  const spliced = splice(client, backend);
  const payload = Buffer.alloc(200_000, 'x');
  backendFar.write(payload);
  await new Promise((resolve) => setImmediate(resolve)); // the client has not read a byte yet
  const read = backend.readableLength;
  expect(read).toBe(0);
  backend.destroy(new Error('ECONNRESET'));
  expect((await text(clientFar)).length).toBe(payload.length - read);
  clientFar.end();
  await spliced;
});

test('which protocols are a tunnel', () => {
  const request = (protocols: string) => ({ headers: { upgrade: 'websocket', 'sec-websocket-protocol': protocols } });
  expect(tunnelledProtocols(request('SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io') as never)).toEqual([
    'portforward.k8s.io',
  ]);
  expect(tunnelledProtocols(request('SPDY/3.1+evil.example') as never)).toEqual([]);
});
