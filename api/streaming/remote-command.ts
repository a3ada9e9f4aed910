// exec and attach for WebSocket clients: `v5.channel.k8s.io` on the client's side, SPDY with `v4.channel.k8s.io` on the
// runtime's. Runtimes up to containerd 2.1 speak SPDY v1–v4 and WebSocket v1–v4, but not v5, which alone can close stdin
// over a WebSocket; so somebody between has to translate. After apiserver pkg/util/proxy/streamtranslator.go.
import type { IncomingMessage } from 'node:http';
import type { Duplex, Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SpdySession, type SpdyStream } from './spdy-session.ts';
import { type Upgraded, UpgradeRefused } from './upgrade-client.ts';
import {
  acceptWebSocket,
  isWebSocketRequest,
  messageWriter,
  offeredProtocols,
  readMessages,
  type WebSocket,
} from './websocket.ts';

const REMOTE_COMMAND_V5 = 'v5.channel.k8s.io';
/** What is asked of the runtime: the oldest that tells exit codes apart, and the newest that all runtimes know. */
export const REMOTE_COMMAND_V4 = 'v4.channel.k8s.io';

/** First byte of each message. */
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

/** Which streams the client asked for. */
export interface RemoteCommandStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface ClientUpgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** Opens a SPDY connection to the runtime or to the kubelet before it, offering these stream protocols. */
export type DialSpdy = (protocols: readonly string[]) => Promise<Upgraded>;

/** A Status is a few hundred bytes. */
const MAX_STATUS_BYTES = 64 * 1024;
/** As clients do: keeps proxies between from closing a silent connection. */
const PING_INTERVAL_MS = 5000;

export function wantsV5(request: IncomingMessage): boolean {
  return isWebSocketRequest(request) && offeredProtocols(request).includes(REMOTE_COMMAND_V5);
}

/**
 * Serves one exec or attach until it ends. Like upstream's translator it answers 101 first, and whatever goes wrong then,
 * a runtime that refuses among it, is told as a Status on the error channel.
 * @throws {HandshakeFailed} with nothing answered.
 */
export async function translateRemoteCommand(
  client: ClientUpgrade,
  streams: RemoteCommandStreams,
  dial: DialSpdy,
): Promise<void> {
  const ws = await acceptWebSocket(client.request, client.socket, client.head, REMOTE_COMMAND_V5);
  ws.on('error', () => ws.terminate()); // a client that breaks the protocol; `close` follows
  const status = await serve(ws, streams, dial);
  if (ws.readyState !== ws.OPEN) return;
  ws.send(Buffer.concat([Buffer.of(CHANNEL.error), Buffer.from(status)]), { binary: true });
  ws.resume(); // when nothing was dialled nobody has read yet, and the client's answer to the close is to be seen
  ws.close(1000);
}

/** @returns the Status that ends the session, as JSON. Never rejects. */
async function serve(ws: WebSocket, streams: RemoteCommandStreams, dial: DialSpdy): Promise<string> {
  let backend: Upgraded;
  try {
    backend = await dial([REMOTE_COMMAND_V4]);
  } catch (err) {
    return dialFailure(err);
  }
  const session = new SpdySession(backend.socket, backend.head, { role: 'client' });
  ws.on('close', () => session.destroy());
  if (ws.readyState !== ws.OPEN) session.destroy(); // it went while the runtime was dialled
  const pings = setInterval(() => session.ping(), PING_INTERVAL_MS);
  try {
    return await run(ws, session, streams);
  } finally {
    clearInterval(pings);
    session.close();
  }
}

/** @returns the Status that ends the command, as JSON. Never rejects. */
async function run(ws: WebSocket, session: SpdySession, asked: RemoteCommandStreams): Promise<string> {
  try {
    const open = openStreams(session, asked);
    listen(ws, open);
    const outputs = [copyOut(open.stdout, ws, CHANNEL.stdout), copyOut(open.stderr, ws, CHANNEL.stderr)];
    for (const output of outputs) output.catch(() => {}); // a connection that breaks fails them all; one is told
    await Promise.all(open.all.map((s) => s.accepted));
    const status = await readAll(open.error);
    await Promise.all(outputs);
    return status === '' ? internalError('the connection to the container ended without a status') : status;
  } catch (err) {
    return internalError(err instanceof Error ? err.message : String(err));
  }
}

interface OpenStreams {
  readonly error: SpdyStream;
  readonly stdin: SpdyStream | undefined;
  readonly stdout: SpdyStream | undefined;
  readonly stderr: SpdyStream | undefined;
  readonly resize: SpdyStream | undefined;
  readonly all: readonly SpdyStream[];
}

/** In the order in which servers expect them: the error stream first. */
function openStreams(session: SpdySession, asked: RemoteCommandStreams): OpenStreams {
  const all: SpdyStream[] = [];
  const open = (type: string): SpdyStream => {
    const stream = session.createStream({ streamtype: type });
    stream.on('error', () => {}); // whoever reads or writes it sees the error too
    all.push(stream);
    return stream;
  };
  const error = open('error');
  const stdin = asked.stdin ? open('stdin') : undefined;
  const stdout = asked.stdout ? open('stdout') : undefined;
  const stderr = asked.stderr && !asked.tty ? open('stderr') : undefined;
  const resize = asked.tty ? open('resize') : undefined;
  stdin?.resume(); // servers say nothing on their inputs
  resize?.resume();
  return { error, stdin, stdout, stderr, resize, all };
}

/** Client → runtime. Messages for streams that were not asked for are dropped. */
function listen(ws: WebSocket, { stdin, resize }: OpenStreams): void {
  readMessages(ws, (message, resume) => {
    const [channel, argument] = message;
    if (channel === CHANNEL.stdin && stdin !== undefined) return writeTo(stdin, message.subarray(1), resume);
    if (channel === CHANNEL.resize && resize !== undefined) return writeTo(resize, message.subarray(1), resume);
    if (channel === CHANNEL.close && argument === CHANNEL.stdin) stdin?.end();
    return true;
  });
}

function writeTo(stream: Writable, data: Buffer, resume: () => void): boolean {
  if (!stream.writable || data.length === 0) return true;
  if (stream.write(data)) return true;
  const goOn = (): void => {
    stream.off('drain', goOn).off('close', goOn);
    resume();
  };
  stream.on('drain', goOn).on('close', goOn); // closed it will never drain; what follows is dropped
  return false;
}

async function copyOut(stream: Readable | undefined, ws: WebSocket, channel: number): Promise<void> {
  if (stream === undefined) return;
  // Reading only: the other half of the stream stays open until the command ends.
  await pipeline(readHalf(stream), messageWriter(ws, channel));
}

async function* readHalf(stream: Readable): AsyncGenerator<Buffer> {
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
}

async function readAll(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_STATUS_BYTES) throw new Error('the runtime sent a status that is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** In the words of client-go's SPDY client. A Status of the backend's own is passed on as it is. */
function dialFailure(err: unknown): string {
  if (!(err instanceof UpgradeRefused)) {
    return internalError(`error sending request: ${err instanceof Error ? err.message : String(err)}`);
  }
  return isStatus(err.body) ? err.body : internalError(`unable to upgrade connection: ${err.body.trim()}`);
}

function isStatus(body: string): boolean {
  try {
    return (JSON.parse(body) as { kind?: unknown } | null)?.kind === 'Status';
  } catch {
    return false; // plain text, as kubelets and runtimes answer
  }
}

function internalError(cause: string): string {
  const message = `Internal error occurred: ${cause}`;
  const details = { causes: [{ message: cause }] };
  return JSON.stringify({ metadata: {}, status: 'Failure', message, reason: 'InternalError', details, code: 500 });
}
