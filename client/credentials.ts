// What a ClientConfig's secrets are right now: files are read again when they change on disk (certificates rotate,
// projected tokens expire), exec plugins are asked again when what they gave expires.
import { readFile, stat } from 'node:fs/promises';
import type { Clock } from '../core/clock.ts';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';
import { type ExecCredential, type RunPlugin, requestExecCredential, runPlugin } from './exec-credential.ts';
import type { ClientConfig, PemSource } from './kubeconfig.ts';

/** Files are looked at again at most this often, ms. A rotated certificate stays valid far longer than that. */
const RECHECK_MS = 1_000;
/** A plugin's credential is renewed this long before it expires, ms: it must outlive the request. */
const EXPIRY_MARGIN_MS = 10_000;

export interface TlsMaterial {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

interface CachedFile {
  readonly stamp: string;
  readonly text: string;
  readonly checkedMs: number;
}

export class Credentials {
  readonly #config: ClientConfig;
  readonly #clock: Clock;
  readonly #run: RunPlugin;
  readonly #files = new Map<string, CachedFile>();
  #tls: TlsMaterial = { ca: undefined, cert: undefined, key: undefined };
  #exec: Promise<ExecCredential> | undefined;
  #execExpiresMs = Number.POSITIVE_INFINITY;

  constructor(config: ClientConfig, deps: { clock: Clock; runPlugin?: RunPlugin }) {
    this.#config = config;
    this.#clock = deps.clock;
    this.#run = deps.runPlugin ?? runPlugin;
  }

  /** The same object as long as nothing changed. @throws {AgentError} CREDENTIALS_UNREADABLE, EXEC_CREDENTIAL_FAILED */
  async tls(): Promise<TlsMaterial> {
    const next: TlsMaterial = { ca: await this.#pem(this.#config.ca), ...(await this.#clientPair()) };
    const { ca, cert, key } = this.#tls;
    if (next.ca !== ca || next.cert !== cert || next.key !== key) this.#tls = next;
    return this.#tls;
  }

  /** The bearer token, undefined when certificates alone identify us. */
  async token(): Promise<string | undefined> {
    const { token, tokenFile } = this.#config;
    if (tokenFile !== undefined) return (await this.#read(tokenFile, isToken)).trim();
    return token ?? (await this.#execCredential())?.token;
  }

  /** The server said 401: whatever is cached is no good. */
  invalidate(): void {
    this.#files.clear();
    this.#exec = undefined;
  }

  async #clientPair(): Promise<Omit<TlsMaterial, 'ca'>> {
    const { clientPair, clientCert, clientKey } = this.#config;
    if (clientPair !== undefined) {
      const pair = await clientPair();
      return { cert: pair?.cert, key: pair?.key };
    }
    const exec = await this.#execCredential();
    return {
      cert: exec?.clientCertificate ?? (await this.#pem(clientCert)),
      key: exec?.clientKey ?? (await this.#pem(clientKey)),
    };
  }

  async #pem(source: PemSource | undefined): Promise<string | undefined> {
    if (source === undefined) return undefined;
    return 'data' in source ? source.data : this.#read(source.file, isPem);
  }

  async #read(file: string, isWhole: (text: string) => boolean): Promise<string> {
    const nowMs = this.#clock.monotonicMs();
    const cached = this.#files.get(file);
    if (cached !== undefined && nowMs - cached.checkedMs < RECHECK_MS) return cached.text;
    try {
      const { mtimeMs, size, ino } = await stat(file);
      const stamp = `${ino}:${size}:${mtimeMs}`;
      if (cached?.stamp === stamp) {
        this.#files.set(file, { ...cached, checkedMs: nowMs });
        return cached.text;
      }
      const text = await readFile(file, 'utf8');
      // In the middle of a rotation the file may be empty or missing for a moment; the old content is still good then.
      // Without it the token would be none, and an empty authority stands for all public ones.
      if (cached !== undefined && !isWhole(text)) return cached.text;
      this.#files.set(file, { stamp, text, checkedMs: nowMs });
      return text;
    } catch (cause) {
      if (cached !== undefined && errnoOf(cause) === 'ENOENT') return cached.text;
      throw new AgentError(
        `cannot read ${file}, which the kubeconfig names: ${errnoOf(cause) ?? errorMessage(cause)}`,
        {
          code: 'CREDENTIALS_UNREADABLE',
          cause,
          hint: 'check the path in the kubeconfig and the permissions of the file',
        },
      );
    }
  }

  #execCredential(): Promise<ExecCredential | undefined> {
    const { exec } = this.#config;
    if (exec === undefined) return Promise.resolve(undefined);
    if (this.#exec !== undefined && this.#clock.now() < this.#execExpiresMs - EXPIRY_MARGIN_MS) return this.#exec;
    this.#execExpiresMs = Number.POSITIVE_INFINITY; // calls made meanwhile share this run of the plugin
    const asked = requestExecCredential(exec, this.#config, this.#run);
    this.#exec = asked;
    asked.then(
      (credential) => {
        if (this.#exec === asked) this.#execExpiresMs = credential.expiresMs ?? Number.POSITIVE_INFINITY;
      },
      () => {
        if (this.#exec === asked) this.#exec = undefined; // the callers get the error; the next call asks again
      },
    );
    return asked;
  }
}

function isPem(text: string): boolean {
  return text.lastIndexOf('-----END ') > text.lastIndexOf('-----BEGIN ');
}

function isToken(text: string): boolean {
  return text.trim() !== '';
}
