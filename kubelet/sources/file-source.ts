// Static pods from a directory of manifests, or from one file: followed by inotify, listed again from time to time. A
// manifest that cannot be used is reported once and leaves the others, and its own last good pod, alone. One that was
// deleted and written anew is another one, even with the same text: its pod ends and runs again.
import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Pod } from '../../api/pod.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';

export interface FileSourceOptions {
  /** A directory, or one manifest. It may be missing, and come later. */
  readonly path: string;
  /** Everything is read again after so long, ms. */
  readonly checkFrequencyMs: number;
}

export interface FileSourceDeps {
  /** @throws {AgentError} STATIC_POD_INVALID */
  readonly decode: (text: string, file: string, changedAtMs: number) => Pod;
  /** Told once of each content that cannot be used. Must not throw. */
  readonly onBroken: (err: unknown) => void;
  /** Takes the complete set. Must not throw. */
  readonly publish: (pods: readonly Pod[]) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Writers write in several steps: what comes this soon after a change is read together with it, ms. */
const SETTLE_MS = 25;
const MAX_MANIFEST_BYTES = 10 << 20;

/** What happened in the directory since the watch began. */
interface DirectoryWatch extends Disposable {
  /** Names that went and came back. Replacing a file by a rename, as careful writers do, is not that. */
  remade(): ReadonlySet<string>;
}

interface Known {
  /** Size and times of the file: the same ones mean the same content. */
  readonly stamp: string;
  readonly pod: Pod | undefined;
}

export class FileSource {
  readonly #opts: FileSourceOptions;
  readonly #deps: FileSourceDeps;
  readonly #log: Logger;
  #known = new Map<string, Known>();

  constructor(opts: FileSourceOptions, deps: FileSourceDeps) {
    this.#opts = { ...opts, path: path.resolve(opts.path) };
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'static-pods', path: this.#opts.path });
  }

  /** Publishes what is there, and again after every change, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let remade: ReadonlySet<string> = new Set();
    while (!signal.aborted) {
      using round = linkedSignal(signal);
      using watching = this.#watch(() => round.abort());
      // After the watch began: what changes from here on ends the round.
      await this.#readAll((name) => remade.has(name) || watching.remade().has(name));
      await this.#deps.clock.sleep(this.#opts.checkFrequencyMs, round.signal);
      if (!signal.aborted) await this.#deps.clock.sleep(SETTLE_MS, signal);
      remade = watching.remade();
    }
  }

  /** A path that is not there cannot be watched: the next look at it comes after the check frequency. */
  #watch(onChange: () => void): DirectoryWatch {
    let watcher: FSWatcher | undefined;
    /** By name: how often it came or went. */
    const moves = new Map<string, number>();
    try {
      watcher = watch(this.#opts.path, { persistent: false }, (event, name) => {
        if (name?.startsWith('.')) return;
        if (event === 'rename' && name !== null) moves.set(name, (moves.get(name) ?? 0) + 1);
        onChange();
      });
      watcher.on('error', onChange);
    } catch (err) {
      if (errnoOf(err) !== 'ENOENT') this.#log.warn({ err }, 'static pods cannot be watched, only listed');
    }
    const remade = () => new Set([...moves].filter(([, times]) => times > 1).map(([name]) => name));
    return { remade, [Symbol.dispose]: () => watcher?.close() };
  }

  /** `isRemade` is asked of names when all was read: a file may go and come back meanwhile. */
  async #readAll(isRemade: (name: string) => boolean): Promise<void> {
    const files = await this.#listFiles();
    if (files === undefined) return; // what ran goes on running
    const known = new Map<string, Known>();
    for (const file of files) {
      const entry = await this.#read(file);
      if (entry !== undefined) known.set(file, entry);
    }
    const isNew = (file: string) =>
      isRemade(path.basename(file)) && this.#known.get(file)?.stamp !== known.get(file)?.stamp;
    const kept = new Map([...known].filter(([file]) => !isNew(file)));
    this.#known = known;
    if (kept.size < known.size) this.#deps.publish(podsOf(kept)); // first without those that were gone for a moment
    this.#deps.publish(podsOf(known));
  }

  /** In lexical order; undefined when it cannot be known. */
  async #listFiles(): Promise<string[] | undefined> {
    const { path: root } = this.#opts;
    try {
      if (!(await stat(root)).isDirectory()) return [root];
      const names = (await readdir(root)).filter((name) => !name.startsWith('.')).sort();
      return names.map((name) => path.join(root, name));
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return [];
      this.#log.error({ err }, 'static pods cannot be listed');
      return undefined;
    }
  }

  /** Undefined for what is no file. A file that became unreadable or broken keeps the pod that it had. */
  async #read(file: string): Promise<Known | undefined> {
    const before = this.#known.get(file);
    let stamp = '';
    try {
      const info = await stat(file);
      if (!info.isFile()) {
        this.#log.debug({ file }, 'not a regular file, skipped');
        return undefined;
      }
      stamp = `${info.ino} ${info.size} ${info.mtimeMs} ${info.ctimeMs}`;
      if (before?.stamp === stamp) return before;
      if (info.size > MAX_MANIFEST_BYTES) throw tooLarge(file, info.size);
      return { stamp, pod: this.#deps.decode(await readFile(file, 'utf8'), file, info.ctimeMs) };
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return undefined; // it went after it was listed
      const isKnown = stamp === '' && before?.stamp === ''; // e.g. a link that leads round in circles
      if (!isKnown) {
        this.#log.error({ err, file }, 'manifest of a static pod cannot be used');
        this.#deps.onBroken(err);
      }
      return { stamp, pod: before?.pod };
    }
  }
}

function podsOf(known: ReadonlyMap<string, Known>): Pod[] {
  return [...known.values()].flatMap(({ pod }) => (pod === undefined ? [] : [pod]));
}

function tooLarge(file: string, bytes: number): AgentError {
  return new AgentError(`static pod file ${file} has ${bytes} bytes, more than ${MAX_MANIFEST_BYTES}`, {
    code: 'STATIC_POD_INVALID',
  });
}
