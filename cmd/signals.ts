// SIGINT, SIGTERM and SIGHUP end a command cleanly through one AbortSignal; a second one ends it at once.
import { aborted } from '../core/abort.ts';

/** Aborts at the first of them. Call once per process. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  let asked = false;
  const stop = (name: NodeJS.Signals) => {
    if (asked) process.exit(130);
    asked = true;
    controller.abort(new DOMException(`stopped by ${name}`, 'AbortError'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', stop);
  return controller.signal;
}

/** Resolves when `signal` aborts. Listening for signals alone does not keep Node running; this does. */
export async function untilStopped(signal: AbortSignal): Promise<void> {
  const keepAlive = setInterval(() => {}, 2 ** 30);
  try {
    await aborted(signal);
  } finally {
    clearInterval(keepAlive);
  }
}

/**
 * Lets a command that must still clean up outlive the terminal or pipe that it writes to. Without it the first line that
 * cannot be written ends the process, just when SIGHUP has told it to take everything down.
 */
export function surviveLostOutput(): void {
  for (const out of [process.stdout, process.stderr]) out.on('error', () => {});
}
