// How Go's gRPC prints a failed call: what kubelets tell plugins and users, and what scripts look for.
import { goCodeName } from '../../api/grpc-wire.ts';
import { errorMessage } from '../../core/errors.ts';
import { isCriError } from '../../cri/errors.ts';

/** `rpc error: code = DeadlineExceeded desc = context deadline exceeded` */
export function rpcErrorText(err: unknown): string {
  if (!isCriError(err)) return errorMessage(err);
  return `rpc error: code = ${goCodeName(err.grpcCode)} desc = ${err.message}`;
}
