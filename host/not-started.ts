// Programs that cannot be started.
import type { ChildProcess } from 'node:child_process';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';

/** What a failed start of `program` is told as: EXEC_NOT_FOUND, or EXEC_FAILED. */
export function notStarted(program: string, cause: unknown): AgentError {
  const isMissing = errnoOf(cause) === 'ENOENT';
  return new AgentError(`cannot run ${program}: ${isMissing ? 'no such program on PATH' : errorMessage(cause)}`, {
    code: isMissing ? 'EXEC_NOT_FOUND' : 'EXEC_FAILED',
    cause,
  });
}

/**
 * `child` as `spawn` has just returned it. Out of descriptors it has no streams at all, and the error comes only after
 * whoever reached for them has failed: it is thrown here. @throws {AgentError} EXEC_FAILED
 */
export function withStreams<C extends ChildProcess>(program: string, child: C): C {
  if ((child.stdio as unknown) !== undefined) return child;
  child.once('error', () => {}); // it says the same
  throw notStarted(program, new Error('too many open files'));
}
