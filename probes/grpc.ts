// gRPC probes: one Check call of the health service, plaintext (pkg/probe/grpc, grpc.health.v1). The two messages are
// one field each, so they are written and read here rather than through a codec.
import { Client, credentials, status as grpcStatus, type ServiceError } from '@grpc/grpc-js';
import { formatGoDuration, PROBE_USER_AGENT, type ProbeOutcome } from './outcome.ts';

/** HealthCheckResponse.ServingStatus. */
const STATUS_NAMES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;

export async function probeGrpc(
  address: string,
  service: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.primary_user_agent': PROBE_USER_AGENT,
    'grpc.enable_http_proxy': 0,
    'grpc.use_local_subchannel_pool': 1,
  });
  try {
    const deadlineMs = Date.now() + timeoutMs;
    const connectError = await waitForReady(client, deadlineMs, signal);
    if (connectError !== undefined) {
      return {
        kind: 'failure',
        output: `timeout: failed to connect service "${address}" within ${formatGoDuration(timeoutMs)}: ${connectError}`,
      };
    }
    return await check(client, address, service, timeoutMs, deadlineMs, signal);
  } finally {
    client.close();
  }
}

function waitForReady(client: Client, deadlineMs: number, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve('context deadline exceeded'), { once: true });
    client.waitForReady(deadlineMs, (err) => resolve(err === undefined ? undefined : 'context deadline exceeded'));
  });
}

function check(
  client: Client,
  address: string,
  service: string,
  timeoutMs: number,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  return new Promise((resolve) => {
    const call = client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      encodeRequest,
      decodeStatus,
      service,
      { deadline: deadlineMs },
      (err, status) => resolve(err === null ? verdictOf(status ?? 0) : failureOf(err, address, timeoutMs)),
    );
    signal.addEventListener('abort', () => call.cancel(), { once: true });
  });
}

function verdictOf(status: number): ProbeOutcome {
  const name = STATUS_NAMES[status] ?? String(status);
  if (name === 'SERVING') return { kind: 'success', output: 'service healthy' };
  return { kind: 'failure', output: `service unhealthy (responded with "${name}")` };
}

function failureOf(err: ServiceError, address: string, timeoutMs: number): ProbeOutcome {
  const text = `rpc error: code = ${goCodeName(err.code)} desc = ${err.details}`;
  switch (err.code) {
    case grpcStatus.UNIMPLEMENTED:
      return {
        kind: 'failure',
        output: `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${err.details}`,
      };
    case grpcStatus.DEADLINE_EXCEEDED:
    case grpcStatus.CANCELLED:
      return { kind: 'failure', output: `timeout: health rpc did not complete within ${formatGoDuration(timeoutMs)}` };
    case grpcStatus.UNAVAILABLE:
      return { kind: 'failure', output: `error: failed to connect service at "${address}": ${text}` };
    default:
      return { kind: 'failure', output: `error: health rpc probe failed: ${text}` };
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
