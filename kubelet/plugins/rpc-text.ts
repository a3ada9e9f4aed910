// How Go's gRPC prints a failed call: what kubelets tell plugins and users, and what scripts look for.

import { errorMessage } from '../../core/errors.ts';
import { isCriError } from '../../cri/errors.ts';

/** `rpc error: code = DeadlineExceeded desc = context deadline exceeded` */
export function rpcErrorText(err: unknown): string {
  if (!isCriError(err)) return errorMessage(err);
  return `rpc error: code = ${goCodeName(err.grpcCode)} desc = ${err.message}`;
}

/** `NOT_FOUND` → `NotFound` */
function goCodeName(code: string): string {
  if (code === 'CANCELLED') return 'Canceled'; // Go has one l
  return code
    .split('_')
    .map((word) => word.charAt(0) + word.slice(1).toLowerCase())
    .join('');
}
