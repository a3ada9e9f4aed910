// Unary calls and streams over one gRPC channel, with our codec and our errors.
import { Client, credentials, status as grpcStatus, Metadata, type ServiceError } from '@grpc/grpc-js';
import { linkedSignal } from '../core/abort.ts';
import { decodeMessage, encodeMessage } from './codec.ts';
import { CriError, type GrpcCode } from './errors.ts';

/** Largest message either way, as upstream: a node with many images answers long lists. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

export interface Method {
  /** `/runtime.v1.RuntimeService/Version` */
  readonly path: string;
  readonly request: string;
  readonly response: string;
}

export function methodOf(
  service: string,
  name: string,
  request = `${name}Request`,
  response = `${name}Response`,
): Method {
  return { path: `/${service}/${name}`, request, response };
}

export class RpcChannel {
  readonly #client: Client;

  /** `endpoint`: `unix:///run/containerd/containerd.sock` or a path. */
  constructor(endpoint: string) {
    const target = endpoint.startsWith('/') ? `unix://${endpoint}` : endpoint;
    this.#client = new Client(target, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 3_000,
      'grpc.enable_http_proxy': 0,
      'grpc.default_authority': 'localhost', // containerd refuses a socket path as authority
    });
  }

  /** `headers`: further gRPC metadata. @throws {CriError} */
  call<T>(
    method: Method,
    request: object,
    timeoutMs: number | undefined,
    signal?: AbortSignal,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(new CriError(method.path, 'CANCELLED', 'the call was cancelled', signal.reason));
        return;
      }
      const call = this.#client.makeUnaryRequest<object, T>(
        method.path,
        (value) => encodeMessage(method.request, value),
        (bytes) => decodeMessage<T>(method.response, bytes),
        request,
        metadata,
        timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs },
        (err, response) => {
          signal?.removeEventListener('abort', cancel);
          if (err !== null) reject(toCriError(method.path, err));
          else resolve(response!);
        },
      );
      const cancel = () => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** Messages of a server stream until it ends, `signal` aborts (then it returns) or it fails. @throws {CriError} */
  async *stream<T>(method: Method, request: object, signal: AbortSignal): AsyncIterable<T> {
    if (signal.aborted) return;
    using linked = linkedSignal(signal);
    const call = this.#client.makeServerStreamRequest<object, T>(
      method.path,
      (value) => encodeMessage(method.request, value),
      (bytes) => decodeMessage<T>(method.response, bytes),
      request,
    );
    linked.signal.addEventListener('abort', () => call.cancel(), { once: true });
    try {
      for await (const message of call) yield message as T;
    } catch (err) {
      if (signal.aborted) return;
      throw toCriError(method.path, err as ServiceError);
    } finally {
      linked.abort(); // the consumer may have left the loop
    }
  }

  close(): void {
    this.#client.close();
  }
}

function toCriError(method: string, err: ServiceError): CriError {
  const code = (grpcStatus[err.code] ?? 'UNKNOWN') as GrpcCode;
  return new CriError(method, code, err.details || err.message, err);
}
