// The node's health port (10248): plain HTTP on loopback, for whoever supervises the agent on this machine.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { aborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { answerCheck, answerHealthz, pingCheck } from './healthz.ts';
import { sendText } from './http-error.ts';
import { listen } from './listen.ts';

export interface HealthzServerOptions {
  readonly address: string;
  readonly port: number;
}

const RETRY_MS = 5_000;
const CHECKS = [pingCheck];

export class HealthzServer {
  readonly #options: HealthzServerOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #server: Server;

  constructor(options: HealthzServerOptions, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#server = createServer((request, response) => {
      const [path = '', query] = (request.url ?? '/').split('?', 2);
      request.resume();
      const answer = path === '/healthz' ? answerHealthz(CHECKS, new URLSearchParams(query)) : answerNamed(path);
      sendText(response, answer.code, answer.text);
    });
    this.#server.on('error', (err) => {
      if (this.#server.listening) this.#log.warn({ err }, 'cannot accept a connection on the health port');
    });
  }

  /** The port listened on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** @throws {AgentError} LISTEN_FAILED */
  listen(): Promise<void> {
    return listen(this.#server, this.#options.address, this.#options.port);
  }

  /** Serves until `signal` aborts. A taken port is no reason to stop the node: it is tried again. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.#server.listening) {
      try {
        await this.listen();
      } catch (err) {
        this.#log.warn({ err, retryInMs: RETRY_MS }, 'cannot open the health port, will retry');
        await this.#clock.sleep(RETRY_MS, signal);
      }
    }
    await aborted(signal);
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

function answerNamed(path: string) {
  const check = /^\/healthz\/(\w+)$/.exec(path)?.[1];
  const answer = check === undefined ? undefined : answerCheck(CHECKS, check);
  return answer ?? { code: 404, text: '404 page not found\n' };
}
