// A process whose output goes on as it comes, at the pace of whoever takes it; nothing of it is kept.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { linkedSignal } from '../core/abort.ts';

/**
 * Writes what the program says on both outputs to `sink`, which stays open.
 * @returns its exit code, -1 when a signal ended it or it could not be started. Never rejects.
 */
export type ExecStream = (
  program: string,
  args: readonly string[],
  sink: Writable,
  opts: { readonly signal: AbortSignal; readonly timeoutMs: number },
) => Promise<number>;

export const systemExecStream: ExecStream = async (program, args, sink, { signal, timeoutMs }) => {
  using limit = linkedSignal(signal, timeoutMs);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  if ((child.stdio as unknown) === undefined) {
    child.once('error', () => {}); // out of descriptors
    return -1;
  }
  const kill = () => child.kill('SIGKILL');
  limit.signal.addEventListener('abort', kill, { once: true });
  if (limit.signal.aborted) kill();
  sink.once('close', kill); // a reader that is gone would hold up the program for ever
  child.stdout.pipe(sink, { end: false });
  child.stderr.pipe(sink, { end: false });
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return code ?? -1;
  } catch {
    return -1; // no such program
  } finally {
    sink.off('close', kill);
  }
};
