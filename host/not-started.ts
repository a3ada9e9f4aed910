// Programs that cannot be started.
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';

/** What a failed start of `program` is told as: EXEC_NOT_FOUND, or EXEC_FAILED. */
export function notStarted(program: string, cause: unknown): AgentError {
  const isMissing = errnoOf(cause) === 'ENOENT';
  return new AgentError(`cannot run ${program}: ${isMissing ? 'no such program on PATH' : errorMessage(cause)}`, {
    code: isMissing ? 'EXEC_NOT_FOUND' : 'EXEC_FAILED',
    cause,
  });
}
