// gRPC probes: one Check call of the health service, plaintext (pkg/probe/grpc, grpc.health.v1). Spoken over HTTP/2
// directly: a client of @grpc/grpc-js for each probe costs 0.5 ms more, and the two messages have one field each.
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { status as grpcStatus } from '@grpc/grpc-js';
import { formatGoDuration, PROBE_USER_AGENT, type ProbeOutcome } from './outcome.ts';

/** HealthCheckResponse.ServingStatus. */
const STATUS_NAMES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
/** Between two tries to connect, ms: the first wait of gRPC's back-off. */
const RECONNECT_MS = 1000;
/** Of an answer; a health answer has seven bytes with its frame. */
const MAX_ANSWER_BYTES = 64 * 1024;
/** A gRPC frame's head: one byte for compression, four for the length. */
const FRAME_HEAD_BYTES = 5;

interface Answer {
  readonly code: number;
  readonly details: string;
  readonly message: Buffer;
}

/** `signal` ends with the probe's timeout, `timeoutMs`, which the texts name. */
export async function probeGrpc(
  address: string,
  service: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const session = await connected(address, signal);
  if (session === undefined) {
    const within = formatGoDuration(timeoutMs);
    const output = `timeout: failed to connect service "${address}" within ${within}: context deadline exceeded`;
    return { kind: 'failure', output };
  }
  try {
    return outcomeOf(await check(session, service, signal), address, timeoutMs);
  } finally {
    session.destroy();
  }
}

/** Tries until there is a server that speaks HTTP/2, undefined when the time is over before. */
async function connected(address: string, signal: AbortSignal): Promise<ClientHttp2Session | undefined> {
  while (!signal.aborted) {
    const session = connect(`http://${address}`);
    const isReady = await new Promise<boolean>((resolve) => {
      session.once('remoteSettings', () => resolve(true));
      session.on('error', () => resolve(false)); // stays: what comes later is told by the call
      session.once('close', () => resolve(false));
      whenAborted(signal, session, () => resolve(false));
    });
    if (isReady) return session;
    session.destroy();
    await pause(RECONNECT_MS, signal);
  }
  return undefined;
}

function check(session: ClientHttp2Session, service: string, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const end = (code: number, details: string, message: Buffer = Buffer.alloc(0)) =>
      resolve({ code, details, message });
    const call = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      'user-agent': PROBE_USER_AGENT,
      te: 'trailers',
    });
    const parts: Buffer[] = [];
    let bytes = 0;
    let head: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    call.once('response', (headers) => {
      head = headers;
    });
    call.once('trailers', (headers) => {
      trailers = headers;
    });
    call.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes <= MAX_ANSWER_BYTES) parts.push(part);
      else call.destroy(new Error('the answer is too long'));
    });
    call.once('end', () => {
      const { code, details } = statusOf(head, trailers);
      end(code, details, Buffer.concat(parts));
    });
    call.on('error', (err) => end(grpcStatus.UNAVAILABLE, err.message));
    call.once('close', () => end(grpcStatus.UNAVAILABLE, 'the connection was closed'));
    whenAborted(signal, call, () => end(grpcStatus.DEADLINE_EXCEEDED, ''));
    call.end(frame(encodeRequest(service)));
  });
}

/** An answer without a message carries its status in the only headers it has. */
function statusOf(head: IncomingHttpHeaders, trailers: IncomingHttpHeaders): { code: number; details: string } {
  const from = trailers['grpc-status'] === undefined ? head : trailers;
  const code = from['grpc-status'];
  if (code !== undefined) return { code: Number(code), details: decoded(String(from['grpc-message'] ?? '')) };
  const status = Number(head[':status']);
  // How HTTP's answers read in gRPC: a server of plain HTTP/2 has no such method.
  if (status === 404) return { code: grpcStatus.UNIMPLEMENTED, details: 'unexpected HTTP status code received: 404' };
  return { code: grpcStatus.UNKNOWN, details: `unexpected HTTP status code received: ${status}` };
}

/** grpc-message is percent-encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not ours to mend
  }
}

function outcomeOf({ code, details, message }: Answer, address: string, timeoutMs: number): ProbeOutcome {
  const failure = (output: string): ProbeOutcome => ({ kind: 'failure', output });
  const text = `rpc error: code = ${goCodeName(code)} desc = ${details}`;
  switch (code) {
    case grpcStatus.OK: {
      const status = decodeStatus(message.subarray(FRAME_HEAD_BYTES));
      const name = STATUS_NAMES[status] ?? String(status);
      if (name === 'SERVING') return { kind: 'success', output: 'service healthy' };
      return failure(`service unhealthy (responded with "${name}")`);
    }
    case grpcStatus.UNIMPLEMENTED:
      return failure(
        `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${details}`,
      );
    case grpcStatus.DEADLINE_EXCEEDED:
    case grpcStatus.CANCELLED:
      return failure(`timeout: health rpc did not complete within ${formatGoDuration(timeoutMs)}`);
    case grpcStatus.UNAVAILABLE:
      return failure(`error: failed to connect service at "${address}": ${text}`);
    default:
      return failure(`error: health rpc probe failed: ${text}`);
  }
}

/** `NOT_FOUND` → `NotFound`, as Go prints codes. */
function goCodeName(code: number): string {
  const name = grpcStatus[code] ?? 'UNKNOWN';
  return name
    .split('_')
    .map((word) => word[0]! + word.slice(1).toLowerCase())
    .join('');
}

/** HealthCheckRequest: 1 service:string. */
function encodeRequest(service: string): Buffer {
  const text = Buffer.from(service, 'utf8');
  if (text.length === 0) return Buffer.alloc(0);
  const length: number[] = [];
  for (let n = text.length; ; n >>>= 7) {
    if (n < 0x80) {
      length.push(n);
      break;
    }
    length.push((n & 0x7f) | 0x80);
  }
  return Buffer.concat([Buffer.from([0x0a, ...length]), text]);
}

/** HealthCheckResponse: 1 status:enum. Absent means 0, UNKNOWN. */
function decodeStatus(bytes: Buffer): number {
  return bytes.length >= 2 && bytes[0] === 0x08 ? (bytes[1] ?? 0) : 0;
}

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Runs `handler` when `signal` aborts, unless `owner` has closed before. */
function whenAborted(
  signal: AbortSignal,
  owner: { once(event: 'close', listener: () => void): unknown },
  handler: () => void,
): void {
  if (signal.aborted) {
    handler();
    return;
  }
  signal.addEventListener('abort', handler, { once: true });
  owner.once('close', () => signal.removeEventListener('abort', handler));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    signal.addEventListener('abort', finish, { once: true });
    if (signal.aborted) finish();
  });
}
