// The bundle against which client certificates are verified, read again when its file changes. After apiserver
// pkg/server/dynamiccertificates (gate ReloadKubeletClientCAFile).
import { X509Certificate } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { SyncRunner } from '../../core/sync-runner.ts';

/** A change that was not told, e.g. on a network file system, is seen after this, ms. */
const RECHECK_MS = 60_000;
/** What is written in several steps is one change, ms. */
const SETTLE_MS = 200;

export class ClientCaFile {
  readonly #file: string;
  readonly #log: Logger;
  readonly #runner: SyncRunner;
  #pem: string;
  #use: (pem: string) => void = () => {};

  /** `pem` is what the file holds now. */
  constructor(file: string, pem: string, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#file = file;
    this.#pem = pem;
    this.#log = deps.log.child({ component: 'client-ca' });
    const intervals = { minIntervalMs: SETTLE_MS, retryIntervalMs: RECHECK_MS, maxIntervalMs: RECHECK_MS };
    this.#runner = new SyncRunner(() => this.#look(), { name: 'client CA', ...intervals }, deps);
  }

  /** Hands each other bundle to `use` until `signal` aborts. One that cannot be read leaves the old one in force. */
  async run(use: (pem: string) => void, signal: AbortSignal): Promise<void> {
    this.#use = use;
    const watcher = this.#watch();
    try {
      await this.#runner.run(signal);
    } finally {
      watcher?.close();
    }
  }

  /** The directory: the file is replaced, and with it the one that was watched. Undefined where the host has no watch left. */
  #watch(): FSWatcher | undefined {
    try {
      const watcher = watch(path.dirname(path.resolve(this.#file)), { persistent: false });
      watcher.on('change', () => this.#runner.request());
      watcher.on('error', (err) => this.#log.warn({ err }, 'directory of the client CA not watched any more'));
      return watcher;
    } catch (err) {
      this.#log.warn({ err }, 'cannot watch the directory of the client CA, looking once a minute');
      return undefined;
    }
  }

  async #look(): Promise<void> {
    const pem = await readFile(this.#file, 'utf8');
    if (pem === this.#pem) return;
    new X509Certificate(pem); // throws for what is no certificate
    this.#pem = pem;
    this.#log.info({ file: this.#file }, 'client CA changed');
    this.#use(pem);
  }
}
