// What systemd is told of a service of type notify: that it has started, that it is alive, that it stops. sd_notify(3),
// by way of systemd-notify (docs/decisions/0014-systemd-without-libraries.md).

import { aborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Task } from '../core/tasks.ts';
import type { Exec } from '../host/exec.ts';

export interface ServiceManagerDeps {
  /** Why the service should be started again; undefined while all is well. */
  readonly healthError: () => string | undefined;
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
}

type Environment = Readonly<Record<string, string | undefined>>;

const NOTIFY_MS = 10_000;
/** Something may be wrong for a moment: it counts when it still is at the third look. */
const LOOKS = 3;
const LOOK_AGAIN_MS = 500;

/** Undefined when nobody asked to be told. Begin it when the service has started. */
export function serviceManagerTask(env: Environment, pid: number, deps: ServiceManagerDeps): Task | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: watched } = env;
  if (socket === undefined || socket === '') return undefined;
  const log = deps.log.child({ component: 'service-manager' });
  const notify = async (state: string) => {
    try {
      const child = { PATH: env.PATH, NOTIFY_SOCKET: socket };
      const r = await deps.exec('systemd-notify', [state], { env: child, timeoutMs: NOTIFY_MS });
      if (r.code !== 0) log.warn({ state, exitCode: r.code, stderr: r.stderr.trim() }, 'systemd was not told');
    } catch (err) {
      log.warn({ err, state }, 'systemd was not told');
    }
  };
  const isWatched = watched === undefined || Number(watched) === pid;
  const watchdogMs = isWatched ? Number(usec ?? 0) / 1000 : 0;
  return async (signal) => {
    await notify('READY=1');
    if (watchdogMs > 0) await keepAlive(watchdogMs / 2, () => notify('WATCHDOG=1'), { ...deps, log }, signal);
    else await aborted(signal);
    await notify('STOPPING=1');
  };
}

/** Says twice in each interval that we are alive, unless we are not well: then systemd starts us again. */
async function keepAlive(
  periodMs: number,
  tell: () => Promise<void>,
  deps: ServiceManagerDeps,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const error = await lastingError(deps, signal);
    if (error === undefined) await tell();
    else if (!signal.aborted) deps.log.error({ error }, 'not well: systemd is not told that we are alive');
    await deps.clock.sleep(periodMs, signal);
  }
}

async function lastingError(
  { healthError, clock }: ServiceManagerDeps,
  signal: AbortSignal,
): Promise<string | undefined> {
  for (let look = 1; ; look++) {
    const error = healthError();
    if (error === undefined || look === LOOKS || signal.aborted) return error;
    await clock.sleep(LOOK_AGAIN_MS, signal);
  }
}
