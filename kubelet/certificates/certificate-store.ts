// Where the node keeps the certificates that it was given: a file per pair, named after its time, and a link to the one
// in use. The layout is client-go's (util/certificate/certificate_store.go): kubeconfigs name the link, and a kubelet
// that is put in the agent's place goes on with the same files.
import { lstat, mkdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import type { KeyPair } from '../../api/pki.ts';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import { writeFileAtomic } from '../../host/files.ts';
import { type LoadedPair, loadPair } from './key-pair.ts';

export interface CertificateStoreOptions {
  readonly dir: string;
  /** `kubelet-client` or `kubelet-server`. */
  readonly prefix: string;
  /** Read while the store has no pair of its own. Both or neither. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

export class CertificateStore {
  readonly #opts: CertificateStoreOptions;

  constructor(opts: CertificateStoreOptions) {
    this.#opts = opts;
  }

  /** The link to the pair in use. */
  get currentFile(): string {
    return this.#file('current.pem');
  }

  /** The pair in use, undefined when there is none. @throws {AgentError} CERTIFICATE_UNREADABLE */
  async current(): Promise<LoadedPair | undefined> {
    await this.#recover();
    const { dir, prefix, certFile, keyFile } = this.#opts;
    const places: [cert: string, key: string][] = [[this.currentFile, this.currentFile]];
    if (certFile !== undefined && keyFile !== undefined) places.push([certFile, keyFile]);
    places.push([path.join(dir, `${prefix}.crt`), path.join(dir, `${prefix}.key`)]);
    for (const [cert, key] of places) {
      const pair = await readPair(cert, key);
      if (pair !== undefined) return pair;
    }
    return undefined;
  }

  /**
   * Puts `pair` in use. Killed at any point, the pair in use is the earlier one or this one, whole.
   * @throws {AgentError} CERTIFICATE_STORE when a file is in the place of the link; what the file system throws.
   */
  async update(pair: KeyPair, nowMs: number): Promise<LoadedPair> {
    const { dir, prefix } = this.#opts;
    const loaded = loadPair(pair.cert, pair.key);
    await mkdir(dir, { recursive: true, mode: 0o755 });
    const file = path.join(path.resolve(dir), `${prefix}-${localStamp(new Date(nowMs))}.pem`);
    await writeFileAtomic(file, loaded.cert + loaded.key, 0o600);
    await this.#refuseFileAsLink();
    const updated = this.#file('updated.pem');
    await rm(updated, { force: true });
    await symlink(file, updated);
    await rename(updated, this.currentFile); // replaces the link in one step: there is always one
    return loaded;
  }

  /** client-go removes the link before it renames the new one: it may have been killed in between. */
  async #recover(): Promise<void> {
    if ((await lstatOf(this.currentFile)) !== undefined) return;
    const updated = this.#file('updated.pem');
    if ((await lstatOf(updated))?.isSymbolicLink() === true) await rename(updated, this.currentFile);
  }

  async #refuseFileAsLink(): Promise<void> {
    const stat = await lstatOf(this.currentFile);
    if (stat === undefined || stat.isSymbolicLink()) return;
    throw new AgentError(`expected ${JSON.stringify(this.currentFile)} to be a symlink but it is a file`, {
      code: 'CERTIFICATE_STORE',
      hint: 'move the file away: the link to the newest certificate is kept in its place',
    });
  }

  #file(name: string): string {
    return path.join(this.#opts.dir, `${this.#opts.prefix}-${name}`);
  }
}

/** Undefined when one of the files is not there; a link that leads nowhere counts so too. */
async function readPair(certFile: string, keyFile: string): Promise<LoadedPair | undefined> {
  try {
    const cert = await readFile(certFile, 'utf8');
    return loadPair(cert, certFile === keyFile ? cert : await readFile(keyFile, 'utf8'));
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return undefined;
    throw new AgentError(`cannot use the certificate in ${certFile}: ${errorMessage(cause)}`, {
      code: 'CERTIFICATE_UNREADABLE',
      cause,
      hint: 'put a certificate and its key there, or remove the file: another certificate is then asked for',
    });
  }
}

async function lstatOf(file: string) {
  try {
    return await lstat(file);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ENOTDIR') return undefined;
    throw err;
  }
}

/** `2026-11-21-14-05-09`, in local time. */
function localStamp(date: Date): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())];
  return [...day, two(date.getHours()), two(date.getMinutes()), two(date.getSeconds())].join('-');
}
