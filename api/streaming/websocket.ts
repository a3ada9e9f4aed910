// WebSockets of clients as streams with back-pressure.
import type { IncomingMessage } from 'node:http';
import { type Duplex, Writable } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';

export type { WebSocket } from 'ws';

/** Clients send what they read at once, 32 KB; more than this in one message is refused. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

export function isWebSocketRequest(request: IncomingMessage): boolean {
  return (request.headers.upgrade ?? '').toLowerCase() === 'websocket';
}

/** What the client offers, in its order. */
export function offeredProtocols(request: IncomingMessage): string[] {
  const header = request.headers['sec-websocket-protocol'] ?? '';
  return header
    .split(',')
    .map((p) => p.trim())
    .filter((p) => p !== '');
}

/** The client's handshake is malformed, or the client is gone. Nothing has been answered. */
export class HandshakeFailed extends Error {
  override readonly name = 'HandshakeFailed';
}

/** Answers 101 with `protocol`, '' for none. Nothing is read before `readMessages`: no message comes too early. @throws {HandshakeFailed} */
export function acceptWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  protocol: string,
): Promise<WebSocket> {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
  });
  // `SPDY/3.1+…` is no token by RFC 6455, and ws is strict: it neither sees what is offered nor what is chosen.
  const { 'sec-websocket-protocol': _offered, ...headers } = request.headers;
  const plain = Object.create(request, { headers: { value: headers } }) as IncomingMessage;
  return new Promise((resolve, reject) => {
    if (protocol !== '') server.on('headers', (lines) => lines.push(`Sec-WebSocket-Protocol: ${protocol}`));
    const fail = (err?: Error) => reject(new HandshakeFailed(err?.message ?? 'the client is gone', { cause: err }));
    server.on('wsClientError', fail);
    // ws says nothing when the client has hung up: who waited would wait for ever, with a session of the runtime.
    if (socket.destroyed) fail();
    socket.once('close', () => fail());
    server.handleUpgrade(plain, socket, head, (ws) => {
      ws.pause();
      resolve(ws);
    });
  });
}

/** Behind this much, a chunk goes as several messages. */
const MESSAGE_BYTES = 64 * 1024;

/**
 * Sends chunks as binary messages, each behind `channel` when one is given, and is done with one when it has gone to the
 * kernel. Ending it leaves the WebSocket open.
 */
export function messageWriter(ws: WebSocket, channel?: number): Writable {
  if (channel === undefined) {
    return new Writable({ write: (chunk: Buffer, _encoding, done) => ws.send(chunk, { binary: true }, done) });
  }
  // One buffer for all: a gigabyte of output must not become a gigabyte of garbage.
  let message: Buffer | undefined;
  const send = (chunk: Buffer, done: (err?: Error | null) => void): void => {
    message ??= Buffer.allocUnsafeSlow(1 + MESSAGE_BYTES);
    message[0] = channel;
    const copied = chunk.copy(message, 1);
    const rest = chunk.subarray(copied);
    const next = (err?: Error | null) => (err || rest.length === 0 ? done(err) : send(rest, done));
    ws.send(message.subarray(0, 1 + copied), { binary: true }, next);
  };
  return new Writable({ write: (chunk: Buffer, _encoding, done) => send(chunk, done) });
}

/** Hands every message to `sink`; while it returns false, none is read until `resume` is called. */
export function readMessages(ws: WebSocket, sink: (message: Buffer, resume: () => void) => boolean): void {
  const resume = (): void => ws.resume();
  ws.on('message', (message: Buffer) => {
    if (!sink(message, resume)) ws.pause();
  });
  resume();
}
