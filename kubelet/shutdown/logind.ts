// What systemd-logind tells of a shutdown of the node, and the time that it gives us for it. After
// pkg/kubelet/nodeshutdown/systemd/inhibit_linux.go.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { aborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { DBusConnection } from '../../host/dbus.ts';
import type { Variant } from '../../host/dbus-wire.ts';
import { writeFileAtomic } from '../../host/files.ts';
import { type Inhibitor, takeInhibitor } from './inhibitor.ts';

export interface LogindOptions {
  /** Socket of the system bus. */
  readonly busSocket: string;
  /** How long a shutdown is to be held up, s. */
  readonly delaySeconds: number;
  /** Where logind is told so, when it gives less. */
  readonly configDir?: string;
  readonly takeLock?: () => Promise<Inhibitor>;
}

export interface LogindHandlers {
  /** The node goes down: it is held up until this resolves. `signal` aborts when it does not after all. */
  onShutdown(signal: AbortSignal): Promise<void>;
  onCancelled(): void;
}

const LOGIN = {
  destination: 'org.freedesktop.login1',
  path: '/org/freedesktop/login1',
  interface: 'org.freedesktop.login1.Manager',
};
const SYSTEMD = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
};
const BUS = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };
const PREPARE = 'PrepareForShutdown';
const MATCH = `type='signal',interface='${LOGIN.interface}',path='${LOGIN.path}',member='${PREPARE}'`;
const CONFIG_DIR = '/etc/systemd/logind.conf.d';
const SIGHUP = 1;
const RETRY_MS = 1000;
const REREAD_FIRST_MS = 100;
const REREADS = 5;

/** Watches until `signal` aborts. What fails is logged and tried again. */
export async function watchLogind(
  opts: LogindOptions,
  handlers: LogindHandlers,
  deps: { readonly clock: Clock; readonly log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const log = deps.log.child({ component: 'shutdown' });
  let told = false;
  while (!signal.aborted) {
    try {
      await new Session(opts, handlers, { ...deps, log }).run(signal, () => {
        if (told) log.info('watching for a shutdown of the node again');
        told = false;
      });
    } catch (err) {
      // Once: without logind it would be said each second.
      if (!told) log.warn({ err, retryInMs: RETRY_MS }, 'a shutdown of the node would not be noticed, will try again');
      told = true;
    }
    await deps.clock.sleep(RETRY_MS, signal);
  }
}

/** One connection to the bus. */
class Session {
  readonly #opts: LogindOptions;
  readonly #handlers: LogindHandlers;
  readonly #deps: { readonly clock: Clock; readonly log: Logger };
  #lock: Inhibitor | undefined;
  /** Of the shutdown that is under way. */
  #shutdown: AbortController | undefined;
  /** Nothing is left to be held up: the pods have ended. */
  #mayGoDown = false;
  #isOver = false;

  constructor(opts: LogindOptions, handlers: LogindHandlers, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#opts = opts;
    this.#handlers = handlers;
    this.#deps = deps;
  }

  /** Resolves when the bus or the lock is gone. @throws {AgentError} DBUS_UNREACHABLE, DBUS_CALL_FAILED, SHUTDOWN_LOCK, LOGIND_DELAY */
  async run(signal: AbortSignal, onReady: () => void): Promise<void> {
    const lost = Promise.withResolvers<void>();
    using bus = await DBusConnection.open(this.#opts.busSocket);
    using _signals = bus.onSignal(({ member, body }) => {
      if (member === PREPARE) void this.#prepare(body[0] === true, lost.resolve);
    });
    try {
      await ensureDelay(bus, this.#opts, this.#deps.clock);
      await bus.call({ ...BUS, member: 'AddMatch', signature: 's', body: [MATCH] }); // before the lock: what is announced in between is not missed
      // Started again in the middle of a shutdown: it is too late for a lock, not for the pods.
      if ((await property(bus, 'PreparingForShutdown')) === true) void this.#prepare(true, lost.resolve);
      else await this.#hold(lost.resolve);
      onReady();
      await Promise.race([bus.closed, lost.promise, aborted(signal)]);
    } finally {
      this.#isOver = true;
      this.#shutdown?.abort();
      this.#lock?.release();
    }
  }

  async #hold(onLost: () => void): Promise<void> {
    const lock = await (this.#opts.takeLock ?? takeInhibitor)();
    if (this.#isOver || this.#mayGoDown || this.#lock !== undefined) return lock.release();
    this.#lock = lock;
    void lock.gone.then(() => {
      if (this.#lock === lock) onLost(); // else we let it go ourselves
    });
  }

  /** Never throws: nobody waits for it. */
  async #prepare(active: boolean, onLost: () => void): Promise<void> {
    try {
      if (active) await this.#goDown();
      else await this.#stayUp(onLost);
    } catch (err) {
      this.#deps.log.error({ err, active }, 'the shutdown of the node is not handled');
      onLost();
    }
  }

  async #goDown(): Promise<void> {
    if (this.#shutdown !== undefined) return; // told twice
    const shutdown = new AbortController();
    this.#shutdown = shutdown;
    try {
      await this.#handlers.onShutdown(shutdown.signal);
    } finally {
      if (!shutdown.signal.aborted) this.#letGo();
    }
  }

  async #stayUp(onLost: () => void): Promise<void> {
    if (this.#shutdown === undefined) return;
    this.#shutdown.abort();
    this.#shutdown = undefined;
    this.#mayGoDown = false;
    this.#handlers.onCancelled();
    if (this.#lock === undefined) await this.#hold(onLost);
  }

  #letGo(): void {
    this.#mayGoDown = true; // a lock may still be on its way
    const lock = this.#lock;
    this.#lock = undefined;
    lock?.release();
  }
}

/** @throws {AgentError} LOGIND_DELAY when logind cannot be brought to wait as long as pods may take. */
async function ensureDelay(
  bus: DBusConnection,
  { delaySeconds, configDir = CONFIG_DIR }: LogindOptions,
  clock: Clock,
): Promise<void> {
  if ((await delayOf(bus)) >= delaySeconds) return;
  await mkdir(configDir, { recursive: true, mode: 0o755 });
  const text = `# Kubelet logind override\n[Login]\nInhibitDelayMaxSec=${delaySeconds}\n`;
  await writeFileAtomic(path.join(configDir, '99-kubelet.conf'), text, 0o644);
  const body = ['systemd-logind.service', 'all', SIGHUP];
  await bus.call({ ...SYSTEMD, member: 'KillUnit', signature: 'ssi', body });
  for (let attempt = 0; attempt < REREADS; attempt++) {
    if ((await delayOf(bus)) >= delaySeconds) return;
    await clock.sleep(REREAD_FIRST_MS * 2 ** attempt);
  }
  throw new AgentError(`logind holds up a shutdown by ${await delayOf(bus)} s at most, ${delaySeconds} s are needed`, {
    code: 'LOGIND_DELAY',
    retryable: true,
    hint: `see that no other file overrides ${configDir}/99-kubelet.conf: systemd-analyze cat-config systemd/logind.conf`,
  });
}

async function delayOf(bus: DBusConnection): Promise<number> {
  return Number((await property(bus, 'InhibitDelayMaxUSec')) as bigint) / 1e6;
}

async function property(bus: DBusConnection, name: string): Promise<unknown> {
  const [variant] = await bus.call({
    ...LOGIN,
    interface: 'org.freedesktop.DBus.Properties',
    member: 'Get',
    signature: 'ss',
    body: [LOGIN.interface, name],
  });
  return (variant as Variant).value;
}
