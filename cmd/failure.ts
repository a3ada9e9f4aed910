// How a command that cannot go on says so: one line that names the thing and one that says what to do.
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';

/** What the host refuses is nobody's fault in here; Node.js names the call and the path. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'free some space or inodes on that file system (df -h, df -i)',
  EDQUOT: 'free some space there, or raise the quota',
  EROFS: 'mount that file system read-write, or name a directory on another one',
  EACCES: 'run as root, and see who may use that path',
  EPERM: 'run as root, with all capabilities',
  ENOTDIR: 'a part of that path is a file: move it away, or name another directory',
  EMFILE: 'raise the limit of open files (LimitNOFILE= of the service, ulimit -n)',
  EIO: 'see what the kernel says of that disk (dmesg)',
};

export function printFailure(err: unknown): void {
  process.stderr.write(failureText(err));
}

/** Lines for people. Pure. */
export function failureText(err: unknown): string {
  if (err instanceof DOMException && err.name === 'AbortError') return `nodelet: ${err.message}\n`; // asked for, no fault
  const lines = [`nodelet: ${errorMessage(err)}`];
  const remedy = err instanceof AgentError ? err.hint : REMEDIES[errnoOf(err) ?? ''];
  if (remedy !== undefined) lines.push(`  ${remedy}`);
  // A fault of ours: whoever reports it needs the place.
  else if (!(err instanceof AgentError) && err instanceof Error && err.stack !== undefined) lines.push(err.stack);
  return lines.map((line) => `${line}\n`).join('');
}
