// How a command that cannot go on says so: one line that names the thing and one that says what to do.
import { AgentError, errorMessage } from '../core/errors.ts';

export function printFailure(err: unknown): void {
  if (err instanceof DOMException && err.name === 'AbortError') {
    process.stderr.write(`nodelet: ${err.message}\n`); // asked for, no fault
    return;
  }
  process.stderr.write(`nodelet: ${errorMessage(err)}\n`);
  if (err instanceof AgentError && err.hint !== undefined) process.stderr.write(`  ${err.hint}\n`);
  if (!(err instanceof AgentError) && err instanceof Error && err.stack !== undefined) {
    process.stderr.write(`${err.stack}\n`); // a fault of ours: whoever reports it needs the place
  }
}
