// SIGINT and SIGTERM end a command cleanly through one AbortSignal; a second one ends it at once.

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
