// gRPC status → errors the program can decide on. Nobody above cri/ looks at gRPC numbers.
import type { GrpcStatus } from '../api/grpc-wire.ts';
import { AgentError } from '../core/errors.ts';

/** How a call can fail. */
export type GrpcCode = Exclude<GrpcStatus['code'], 'OK'>;

/** A runtime call that failed. `message` is the runtime's own text, since it reaches users in container states. */
export class CriError extends AgentError {
  readonly grpcCode: GrpcCode;
  readonly method: string;

  constructor(method: string, grpcCode: GrpcCode, message: string, cause?: unknown) {
    super(message, {
      code: `CRI_${grpcCode}`,
      cause,
      retryable: grpcCode === 'UNAVAILABLE' || grpcCode === 'DEADLINE_EXCEEDED' || grpcCode === 'UNKNOWN',
      details: { method },
    });
    this.grpcCode = grpcCode;
    this.method = method;
  }
}

export function isCriError(err: unknown, code?: GrpcCode): err is CriError {
  return err instanceof CriError && (code === undefined || err.grpcCode === code);
}
