// gRPC probes: one Check call of the health service, plaintext (pkg/probe/grpc, grpc.health.v1). Spoken over HTTP/2
// directly: a client of @grpc/grpc-js for each probe costs 0.5 ms more, and the two messages have one field each.
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { type GrpcCode, type GrpcStatus, goCodeName, grpcFrame, grpcStatusOf } from '../api/grpc-wire.ts';
import { systemClock } from '../core/clock.ts';
import { formatGoDuration } from '../core/go-duration.ts';
import { PROBE_USER_AGENT, type ProbeOutcome } from './outcome.ts';

/** HealthCheckResponse.ServingStatus. */
const STATUS_NAMES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
/** Between two tries to connect, ms: the first wait of gRPC's back-off. */
const RECONNECT_MS = 1000;
/** Of an answer; a health answer has seven bytes with its frame. */
const MAX_ANSWER_BYTES = 64 * 1024;
/** A gRPC frame's head: one byte for compression, four for the length. */
const FRAME_HEAD_BYTES = 5;

interface Answer extends GrpcStatus {
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
    await systemClock.sleep(RECONNECT_MS, signal);
  }
  return undefined;
}

function check(session: ClientHttp2Session, service: string, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const end = (code: GrpcCode, details: string, message: Buffer = Buffer.alloc(0)) =>
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
      const { code, details } = grpcStatusOf(head, trailers);
      end(code, details, Buffer.concat(parts));
    });
    call.on('error', (err) => end('UNAVAILABLE', err.message));
    call.once('close', () => end('UNAVAILABLE', 'the connection was closed'));
    whenAborted(signal, call, () => end('DEADLINE_EXCEEDED', ''));
    call.end(grpcFrame(encodeRequest(service)));
  });
}

function outcomeOf({ code, details, message }: Answer, address: string, timeoutMs: number): ProbeOutcome {
  const failure = (output: string): ProbeOutcome => ({ kind: 'failure', output });
  const text = `rpc error: code = ${goCodeName(code)} desc = ${details}`;
  switch (code) {
    case 'OK': {
      const status = decodeStatus(message.subarray(FRAME_HEAD_BYTES));
      const name = STATUS_NAMES[status] ?? String(status);
      if (name === 'SERVING') return { kind: 'success', output: 'service healthy' };
      return failure(`service unhealthy (responded with "${name}")`);
    }
    case 'UNIMPLEMENTED':
      return failure(
        `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${details}`,
      );
    case 'DEADLINE_EXCEEDED':
    case 'CANCELLED':
      return failure(`timeout: health rpc did not complete within ${formatGoDuration(timeoutMs)}`);
    case 'UNAVAILABLE':
      return failure(`error: failed to connect service at "${address}": ${text}`);
    default:
      return failure(`error: health rpc probe failed: ${text}`);
  }
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
