// Keeps one certificate of the node valid: asks for another in time, stores what it is given, tells who uses it. After
// client-go util/certificate/certificate_manager.go. A process that is killed while a request is open asks again with
// another key: a key is on disk only together with its certificate, so none is ever in doubt.
import type { CertUsage, KeyPair } from '../../api/pki.ts';
import { certificateSigningRequests } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { ApiError } from '../../client/errors.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { CertificateStore } from './certificate-store.ts';
import { type CertificateTemplate, rotationDueMs, sameTemplate, satisfies } from './certificate-template.ts';
import { createKeyPem, type LoadedPair, loadPair } from './key-pair.ts';
import { signingRequest, waitForCertificate } from './signing-request.ts';

export interface CertificateManagerOptions {
  /** `client` or `serving`, for the log. */
  readonly name: string;
  readonly signerName: string;
  readonly usages: readonly CertUsage[];
  /** What to ask for now; undefined while that is not known. */
  readonly template: () => CertificateTemplate | undefined;
  /** A pair from elsewhere, to begin with when the store has none that is valid; it is replaced at once. */
  readonly initial?: KeyPair;
}

export interface CertificateManagerDeps {
  readonly store: CertificateStore;
  /** Whom to ask, given whether there is a valid certificate. */
  readonly client: (hasCertificate: boolean) => ApiClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** A try to get a certificate failed. */
  readonly onFailure?: () => void;
  /** A certificate was replaced that had been in use for so long, seconds. */
  readonly onRotated?: (ageSeconds: number) => void;
  readonly random?: () => number;
}

const ISSUE_TIMEOUT_MS = 15 * 60_000;
const RETRY_INITIAL_MS = 2000;
const RETRY_DOUBLINGS = 4;
const RETRY_JITTER = 0.1;
/** Between two rotations: a signer that gives certificates already due must not be asked without end. */
const MIN_PAUSE_MS = 1000;
/** Due times are of the wall clock, which can be set: it is looked at this often at least. */
const RECHECK_MS = 10 * 60_000;

export class CertificateManager {
  readonly #opts: CertificateManagerOptions;
  readonly #deps: CertificateManagerDeps;
  readonly #log: Logger;
  readonly #listeners = new Set<(pair: LoadedPair) => void>();
  #pair: LoadedPair | undefined;
  /** Where in its window the present certificate is replaced, from [0, 1). */
  #spread: number;
  #rotateAtOnce = false;
  #requested: CertificateTemplate | undefined;
  #wake: (() => void) | undefined;
  #serverHealthy = false;

  constructor(opts: CertificateManagerOptions, deps: CertificateManagerDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'certificates', certificate: opts.name });
    this.#spread = this.#random();
  }

  /** Reads what there is. Call before anything else. @throws {AgentError} CERTIFICATE_UNREADABLE, CERTIFICATE_STORE */
  async open(): Promise<void> {
    const { store, clock } = this.#deps;
    const stored = await store.current();
    this.#pair = stored;
    if (stored !== undefined && stored.notAfterMs > clock.now()) return;
    const { initial } = this.#opts;
    if (initial === undefined) return;
    this.#pair = await store.update(loadPair(initial.cert, initial.key), clock.now());
    this.#rotateAtOnce = true;
  }

  /** Undefined when there is none, or when it has expired. */
  current(): LoadedPair | undefined {
    return this.#pair !== undefined && this.#deps.clock.now() <= this.#pair.notAfterMs ? this.#pair : undefined;
  }

  /** Wall ms at which the last certificate ends or ended, undefined when there never was one. */
  get expiresMs(): number | undefined {
    return this.#pair?.notAfterMs;
  }

  /**
   * The server signed the last certificate, or refused the last request as one does that works. A request that waits for
   * somebody to approve it is no sign: ending would only take away what is to be approved.
   */
  get serverHealthy(): boolean {
    return this.#serverHealthy;
  }

  /** `listener` is called with each new pair, after it is stored. Must not throw. */
  onChange(listener: (pair: LoadedPair) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** What the template is made of may have changed. */
  templateChanged(): void {
    const template = this.#opts.template();
    if (template !== undefined && !this.#isEnough(template) && !sameTemplate(template, this.#requested)) this.#wake?.();
  }

  /** Rotates until `signal` aborts. A failure is logged and retried, never thrown. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    for (let failures = 0; !signal.aborted; ) {
      await this.#untilDue(signal);
      if (signal.aborted) return;
      const outcome = await this.#rotate(signal);
      if (outcome === 'failed') {
        const delayMs = retryDelayMs(failures++, this.#random());
        this.#log.debug({ retryInMs: delayMs }, 'will ask for a certificate again');
        await this.#waitOrWake(delayMs, signal);
      } else {
        failures = 0;
        await clock.sleep(MIN_PAUSE_MS, signal);
      }
    }
  }

  async #untilDue(signal: AbortSignal): Promise<void> {
    for (;;) {
      const waitMs = this.#dueInMs();
      if (waitMs <= 0 || signal.aborted) return;
      await this.#waitOrWake(Math.min(waitMs, RECHECK_MS), signal);
    }
  }

  #dueInMs(): number {
    const template = this.#opts.template();
    if (template === undefined) return Number.POSITIVE_INFINITY;
    const pair = this.current();
    if (pair === undefined || this.#rotateAtOnce || !satisfies(pair.leaf, template)) return 0;
    return rotationDueMs(pair, this.#spread) - this.#deps.clock.now();
  }

  #isEnough(template: CertificateTemplate): boolean {
    const pair = this.current();
    return pair !== undefined && satisfies(pair.leaf, template);
  }

  async #waitOrWake(ms: number, signal: AbortSignal): Promise<void> {
    using waiting = linkedSignal(signal);
    this.#wake = () => waiting.abort();
    await this.#deps.clock.sleep(ms, waiting.signal);
    this.#wake = undefined;
  }

  /** `superseded`: the node's addresses changed while the request was open. */
  async #rotate(signal: AbortSignal): Promise<'done' | 'failed' | 'superseded'> {
    const template = this.#opts.template();
    if (template === undefined) return 'superseded';
    this.#requested = template;
    using open = linkedSignal(signal);
    let superseded = false;
    this.#wake = () => {
      superseded = true;
      open.abort();
    };
    try {
      await this.#obtain(template, open.signal);
      return 'done';
    } catch (err) {
      if (superseded || signal.aborted) return 'superseded';
      this.#deps.onFailure?.();
      this.#log.warn({ err }, 'no certificate obtained, will try again');
      return 'failed';
    } finally {
      this.#wake = undefined;
    }
  }

  async #obtain(template: CertificateTemplate, signal: AbortSignal): Promise<void> {
    const { clock, store } = this.#deps;
    const client = this.#deps.client(this.current() !== undefined);
    const { signerName, usages } = this.#opts;
    const key = createKeyPem();
    const object = signingRequest({ signerName, usages, template, key });
    const request = await this.#judged(client.create(certificateSigningRequests, {}, object, { signal }));
    this.#log.info({ csr: request.metadata?.name, signer: signerName }, 'asked for a certificate');
    const cert = await waitForCertificate(request, ISSUE_TIMEOUT_MS, { client, clock }, signal);
    const before = this.#pair;
    this.#pair = await store.update({ cert, key }, clock.now());
    this.#serverHealthy = true;
    this.#rotateAtOnce = false;
    this.#spread = this.#random();
    if (before !== undefined) this.#deps.onRotated?.((clock.now() - before.notBeforeMs) / 1000);
    this.#log.info({ csr: request.metadata?.name, notAfter: this.#pair.leaf.validTo }, 'certificate stored');
    for (const listener of this.#listeners) listener(this.#pair);
  }

  /** Remembers of a request that fails whether the server works: one that refuses us does. */
  async #judged<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (err) {
      this.#serverHealthy = err instanceof ApiError && [401, 403, 404].includes(err.httpStatus);
      throw err;
    }
  }

  #random(): number {
    return (this.#deps.random ?? Math.random)();
  }
}

/** 2 s doubling to 32 s, then 32 s for ever. */
function retryDelayMs(failures: number, random: number): number {
  return RETRY_INITIAL_MS * 2 ** Math.min(failures, RETRY_DOUBLINGS) * (1 + RETRY_JITTER * random);
}
