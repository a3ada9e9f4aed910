// SIGINT and SIGTERM end a command cleanly through one AbortSignal; a second one ends it at once.
import { aborted } from '../core/abort.ts';

/** Aborts at the first SIGINT or SIGTERM. Call once per process. */
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
