// The certificate of the node's HTTPS server over time: from files that somebody else renews, or signed by the cluster
// for the node's addresses of now. After pkg/kubelet/certificate/kubelet.go.
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { KeyPair } from '../../api/pki.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { loadPair } from './key-pair.ts';

export interface ServingCertificates {
  /** Undefined while there is none: connections to the server fail until then. */
  readonly current: () => KeyPair | undefined;
  /** Watches for another one until `signal` aborts, and hands each to `use`, which must not throw. */
  run(use: (pair: KeyPair) => void, signal: AbortSignal): Promise<void>;
}

export interface ServingFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Both files are written one after the other: what comes within this is one change, ms. */
const SETTLE_MS = 200;
/** A change that was not told, e.g. on a network file system, is seen after this, ms. */
const RECHECK_MS = 60_000;

export class ServingCertificateFiles implements ServingCertificates {
  readonly #files: ServingFiles;
  readonly #clock: Clock;
  readonly #log: Logger;
  #pair: KeyPair;

  /** `pair` is what the files hold now. */
  constructor(files: ServingFiles, pair: KeyPair, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#files = files;
    this.#pair = pair;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'certificates', certificate: 'serving' });
  }

  readonly current = (): KeyPair => this.#pair;

  async run(use: (pair: KeyPair) => void, signal: AbortSignal): Promise<void> {
    let changed = Promise.withResolvers<void>();
    const watchers = this.#watch(() => changed.resolve());
    try {
      while (!signal.aborted) {
        using wait = linkedSignal(signal);
        await Promise.race([changed.promise, this.#clock.sleep(RECHECK_MS, wait.signal)]);
        wait.abort();
        await this.#clock.sleep(SETTLE_MS, signal);
        changed = Promise.withResolvers<void>(); // before the look: a change during it is another one
        if (!signal.aborted) await this.#look(use);
      }
    } finally {
      for (const watcher of watchers) watcher.close();
    }
  }

  /** Directories, not files: files are replaced, and with them the ones that were watched. */
  #watch(onChange: () => void): FSWatcher[] {
    const dirs = new Set([this.#files.certFile, this.#files.keyFile].map((file) => path.dirname(path.resolve(file))));
    return [...dirs].flatMap((dir) => {
      try {
        const watcher = watch(dir, { persistent: false }, onChange);
        watcher.on('error', (err) => this.#log.warn({ err, dir }, 'directory of the certificate not watched any more'));
        return [watcher];
      } catch (err) {
        this.#log.warn({ err, dir }, 'cannot watch the directory of the certificate, looking once a minute');
        return [];
      }
    });
  }

  async #look(use: (pair: KeyPair) => void): Promise<void> {
    const { certFile, keyFile } = this.#files;
    try {
      const [cert, key] = [await readFile(certFile, 'utf8'), await readFile(keyFile, 'utf8')];
      if (cert === this.#pair.cert && key === this.#pair.key) return;
      loadPair(cert, key);
      this.#pair = { cert, key };
    } catch (err) {
      this.#log.warn({ err, certFile, keyFile }, 'the new serving certificate is not in order, the old one stays');
      return;
    }
    this.#log.info({ certFile }, 'serving certificate changed');
    use(this.#pair);
  }
}
