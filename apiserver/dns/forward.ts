// Names outside the cluster: asked of the machine's own servers, one after the other, and remembered for a while.
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { AnswerCache } from './answer-cache.ts';
import { serverFailure } from './message-writer.ts';
import { type Exchange, exchange, type Upstream } from './upstream.ts';
import { FLAG, type Query } from './wire.ts';

/** One server's time, ms, and that of all together. */
const SERVER_TIMEOUT_MS = 2000;
const TOTAL_TIMEOUT_MS = 5000;
/** Each holds a socket; beyond it the client is told at once instead of being kept waiting. */
const MAX_CONCURRENT = 1000;

export interface ForwarderOptions {
  /** Servers in the order to ask them. Must leave out this server itself. */
  readonly upstreams: () => Promise<readonly Upstream[]>;
  readonly exchange?: Exchange;
}

export class Forwarder {
  readonly #opts: ForwarderOptions;
  readonly #exchange: Exchange;
  readonly #log: Logger;
  readonly #cache: AnswerCache;
  #underway = 0;

  constructor(opts: ForwarderOptions, deps: { clock: Clock; log: Logger }) {
    this.#opts = opts;
    this.#exchange = opts.exchange ?? exchange;
    this.#log = deps.log;
    this.#cache = new AnswerCache(deps.clock);
  }

  /** The answer's bytes, of whatever length; SERVFAIL when no server gives one. Never rejects. */
  async resolve(query: Query, signal: AbortSignal): Promise<Buffer> {
    const known = this.#cache.get(query);
    if (known !== undefined) return known;
    if (this.#underway >= MAX_CONCURRENT) return serverFailure(query);
    this.#underway++;
    try {
      const answer = await this.#ask(query, signal);
      if (answer === undefined) return serverFailure(query);
      this.#cache.set(query, answer);
      return answer;
    } finally {
      this.#underway--;
    }
  }

  async #ask(query: Query, signal: AbortSignal): Promise<Buffer | undefined> {
    using all = linkedSignal(signal, TOTAL_TIMEOUT_MS);
    let refusal: Buffer | undefined;
    for (const server of await this.#opts.upstreams()) {
      if (all.signal.aborted) break;
      using one = linkedSignal(all.signal, SERVER_TIMEOUT_MS);
      try {
        const answer = await this.#exchange(server, query, one.signal);
        if (!isServerTrouble(answer)) return answer;
        refusal ??= answer;
      } catch (err) {
        if (signal.aborted) return undefined;
        this.#log.debug({ server: server.address, err: errorMessage(err) }, 'name server did not answer');
      }
    }
    return refusal;
  }
}

/** SERVFAIL, NOTIMP, REFUSED: another server may know better. */
function isServerTrouble(answer: Buffer): boolean {
  return [2, 4, 5].includes(answer.readUInt16BE(2) & 0x0f);
}

/** `answer` if it fits, else its header and question with TC set: the client comes back over TCP. */
export function limitAnswer(query: Query, answer: Buffer, limit: number): Buffer {
  if (answer.length <= limit) return answer;
  const cut = Buffer.from(answer.subarray(0, query.questionEnd));
  cut.writeUInt16BE(cut.readUInt16BE(2) | FLAG.truncated, 2);
  cut.fill(0, 6, 12);
  return cut;
}
