// The node's own registry credentials, from the docker config files an operator laid down. Read when an image is pulled
// and kept for five minutes. After pkg/credentialprovider/config.go and defaults.go.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { Keyring, parseDockerConfig, type RegistryCredential } from '../runtime/registry-auth.ts';

const KEEP_MS = 300_000;

export interface NodeKeyringPlaces {
  /** The kubelet's. */
  readonly rootDir: string;
  readonly workingDir: string;
  /** $HOME, '' when unset. */
  readonly homeDir: string;
}

/** Pure: the files in the order in which they are tried; the first that is valid counts. */
export function nodeConfigFiles({ rootDir, workingDir, homeDir }: NodeKeyringPlaces): string[] {
  const newForm = [rootDir, workingDir, path.join(homeDir || '/', '.docker'), '/.docker'];
  const oldForm = [rootDir, workingDir, homeDir || '/', '/'];
  const files = [...newForm.map((d) => path.join(d, 'config.json')), ...oldForm.map((d) => path.join(d, '.dockercfg'))];
  return [...new Set(files)];
}

export class NodeKeyring {
  readonly #files: readonly string[];
  readonly #deps: { readonly clock: Clock; readonly log: Logger };
  #keyring = new Keyring([]);
  #readMs: number | undefined;

  constructor(places: NodeKeyringPlaces, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#files = nodeConfigFiles(places);
    this.#deps = deps;
  }

  async lookup(image: string): Promise<RegistryCredential[]> {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#readMs === undefined || nowMs - this.#readMs >= KEEP_MS) {
      this.#keyring = new Keyring(await this.#read());
      this.#readMs = nowMs;
    }
    return this.#keyring.lookup(image);
  }

  async #read() {
    for (const file of this.#files) {
      try {
        const config: unknown = JSON.parse(await readFile(file, 'utf8'));
        if (typeof config !== 'object' || config === null) continue;
        const auths = file.endsWith('.json') ? ((config as { auths?: unknown }).auths ?? {}) : config;
        return parseDockerConfig(auths as Record<string, unknown>);
      } catch (err) {
        // The parser's text is kept out of the log: it quotes what may be a password.
        if (errnoOf(err) !== 'ENOENT') this.#deps.log.warn({ file }, 'registry credentials of the node not readable');
      }
    }
    return [];
  }
}
