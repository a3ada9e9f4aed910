// Static pods from a URL, asked from time to time. An answer that cannot be used leaves what runs alone.
import type { Pod } from '../../api/pod.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';

export interface UrlSourceOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly checkFrequencyMs: number;
}

export interface UrlSourceDeps {
  /** @throws {AgentError} STATIC_POD_INVALID */
  readonly decode: (text: string, url: string) => Pod[];
  /** Told of each answer that cannot be used. Must not throw. */
  readonly onBroken: (err: unknown) => void;
  /** Takes the complete set. Must not throw. */
  readonly publish: (pods: readonly Pod[]) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const TIMEOUT_MS = 10_000;
const MAX_BODY_BYTES = 10 << 20;

export class UrlSource {
  readonly #opts: UrlSourceOptions;
  readonly #deps: UrlSourceDeps;
  readonly #log: Logger;
  #last: string | undefined;

  constructor(opts: UrlSourceOptions, deps: UrlSourceDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'static-pods', url: opts.url });
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#check(signal);
      } catch (err) {
        if (signal.aborted) return;
        this.#log.error({ err }, 'static pods cannot be read from their URL, will retry');
        this.#deps.onBroken(err);
      }
      await this.#deps.clock.sleep(this.#opts.checkFrequencyMs, signal);
    }
  }

  async #check(signal: AbortSignal): Promise<void> {
    const text = await this.#fetch(signal);
    if (text === this.#last) return;
    if (text.trim() === '') {
      // Seen, so that nothing waits for this source; but an empty answer ends no pod.
      if (this.#last === undefined) this.#deps.publish([]);
      throw new AgentError(`zero-length data received from ${this.#opts.url}`, { code: 'STATIC_POD_INVALID' });
    }
    this.#deps.publish(this.#deps.decode(text, this.#opts.url));
    this.#last = text;
  }

  async #fetch(signal: AbortSignal): Promise<string> {
    using scope = linkedSignal(signal, TIMEOUT_MS);
    const headers = new Headers();
    for (const [name, values] of Object.entries(this.#opts.headers)) {
      for (const value of values) headers.append(name, value);
    }
    const response = await fetch(this.#opts.url, { headers, signal: scope.signal });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new AgentError(`${this.#opts.url}: ${response.status} ${response.statusText}`, {
        code: 'STATIC_POD_INVALID',
      });
    }
    return readLimited(response);
  }
}

async function readLimited(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) {
      throw new AgentError(`the answer has more than ${MAX_BODY_BYTES} bytes`, { code: 'STATIC_POD_INVALID' });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
