// Which unix sockets there are below a directory, told again after each change. After
// pkg/kubelet/pluginmanager/pluginwatcher, but looking at what is there rather than trusting single events: an event
// only says that it is time to look.
import { type FSWatcher, watch } from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { SyncRunner } from '../../core/sync-runner.ts';

/** Deeper ones are not looked into: nobody registers there, and a plugin must not keep the agent walking. */
const MAX_DEPTH = 8;
/** Watches at once; the host's limit for all processes together may be 8192. */
const MAX_DIRS = 256;
const RETRY_MS = 1000;
/** The kernel drops events when a queue overflows, and libuv does not say so. */
const SAFETY_NET_MS = 600_000;
/** Where the host has no watch left (fs.inotify.max_user_watches) it is looked so often, ms. */
const UNWATCHED_MS = 10_000;

/** Path of a socket → what tells it from a later socket of the same name. */
export type Sockets = ReadonlyMap<string, string>;

export class SocketWatcher {
  readonly #root: string;
  readonly #onSockets: (sockets: Sockets) => void;
  readonly #log: Logger;
  readonly #watches = new Map<string, { readonly id: string; readonly watcher: FSWatcher }>();
  readonly #runner: SyncRunner;
  readonly #clock: Clock;
  #unwatched: { readonly err: unknown } | undefined;
  #nextLook: Disposable | undefined;

  /** `onSockets` gets all sockets below `root`, whose names and directories do not begin with a dot. */
  constructor(root: string, onSockets: (sockets: Sockets) => void, deps: { clock: Clock; log: Logger }) {
    this.#root = root;
    this.#onSockets = onSockets;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'socket-watcher' });
    const opts = {
      name: 'plugin sockets',
      minIntervalMs: 0,
      retryIntervalMs: RETRY_MS,
      maxIntervalMs: SAFETY_NET_MS,
    };
    this.#runner = new SyncRunner(() => this.#look(), opts, deps);
  }

  /** Watches until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.#runner.run(signal);
    } finally {
      for (const dir of [...this.#watches.keys()]) this.#unwatch(dir);
      this.#nextLook?.[Symbol.dispose]();
    }
  }

  async #look(): Promise<void> {
    this.#nextLook?.[Symbol.dispose]();
    const wasUnwatched = this.#unwatched !== undefined;
    this.#unwatched = undefined;
    await mkdir(this.#root, { recursive: true, mode: 0o750 });
    const sockets = new Map<string, string>();
    const dirs = new Set<string>();
    await this.#walk(this.#root, 0, sockets, dirs);
    for (const dir of [...this.#watches.keys()]) if (!dirs.has(dir)) this.#unwatch(dir);
    this.#onSockets(sockets);
    if (this.#unwatched === undefined) return;
    const { err } = this.#unwatched;
    if (!wasUnwatched) this.#log.warn({ err }, 'cannot watch the directories of plugins, looking every 10 s');
    this.#nextLook = this.#clock.setTimer(UNWATCHED_MS, () => this.#runner.request());
  }

  async #walk(dir: string, depth: number, sockets: Map<string, string>, dirs: Set<string>): Promise<void> {
    if (depth > MAX_DEPTH || dirs.size >= MAX_DIRS) {
      this.#log.warn({ dir }, 'not looking for plugins in more directories');
      return;
    }
    try {
      const id = await identityOf(dir);
      dirs.add(dir);
      this.#watch(dir, id); // before it is read: what comes meanwhile makes another look
      for (const entry of await readdir(dir, { withFileTypes: true })) {
        if (entry.name.startsWith('.')) continue;
        const file = path.join(dir, entry.name);
        if (entry.isDirectory()) await this.#walk(file, depth + 1, sockets, dirs);
        else if (entry.isSocket()) await addIfThere(sockets, file);
      }
    } catch (err) {
      if (errnoOf(err) !== 'ENOENT' && errnoOf(err) !== 'ENOTDIR') throw err;
      dirs.delete(dir); // went meanwhile
      this.#runner.request();
    }
  }

  #watch(dir: string, id: string): void {
    if (this.#watches.get(dir)?.id === id) return;
    this.#unwatch(dir); // another directory of that name
    let watcher: FSWatcher;
    try {
      watcher = watch(dir, { persistent: false }, () => this.#runner.request());
    } catch (err) {
      if (errnoOf(err) !== 'ENOSPC' && errnoOf(err) !== 'EMFILE') throw err;
      this.#unwatched = { err };
      return;
    }
    watcher.on('error', (err) => {
      this.#log.warn({ err, dir }, 'cannot watch a directory of plugins any more');
      this.#unwatch(dir);
      this.#runner.request();
    });
    this.#watches.set(dir, { id, watcher });
  }

  #unwatch(dir: string): void {
    this.#watches.get(dir)?.watcher.close();
    this.#watches.delete(dir);
  }
}

async function addIfThere(sockets: Map<string, string>, file: string): Promise<void> {
  try {
    sockets.set(file, await identityOf(file));
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') throw err;
  }
}

/** Inode numbers are given again soon, so the time of birth goes with it. */
async function identityOf(file: string): Promise<string> {
  const { ino, birthtimeNs } = await lstat(file, { bigint: true });
  return `${ino}.${birthtimeNs}`;
}
