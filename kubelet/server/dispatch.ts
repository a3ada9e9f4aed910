// One request of the node's HTTP servers from its head to its answer: who asks, may they, what for, who answers.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from '../../core/log.ts';
import type { Gate } from './auth.ts';
import type { Handlers } from './endpoints.ts';
import { asHttpError, HttpError, NOT_FOUND_TEXT, refuseUpgrade, sendHttpError } from './http-error.ts';
import type { HttpMetrics } from './http-metrics.ts';
import { type EndpointSwitches, parseRoute, splitTarget } from './routes.ts';
import { isStreaming, refuseStream, type StreamingDeps, serveStream } from './streaming.ts';

export interface DispatchDeps {
  /** Undefined on the read-only port, where everybody may ask. */
  readonly gate: Gate | undefined;
  readonly switches: EndpointSwitches;
  readonly handlers: Handlers;
  readonly streaming: StreamingDeps;
  readonly metrics: HttpMetrics;
  /** streamingConnectionIdleTimeout, ms; 0: none. */
  readonly streamIdleMs: number;
  readonly log: Logger;
}

/** What a client may still send of a body that nobody reads, bytes; as Go's server has it. */
const MAX_UNREAD_BYTES = 256 * 1024;
/** TLS, HTTP, the gate and two pipelines listen on a relayed connection: more than Node takes for ordinary. */
const RELAY_LISTENERS = 32;
/** Only these are handed to `upgrade`; whoever offers another protocol elsewhere is answered in HTTP/1.1. */
const UPGRADES = /^\/+(exec|attach|portForward)\//;

export class Dispatcher {
  readonly #deps: DispatchDeps;

  constructor(deps: DispatchDeps) {
    this.#deps = deps;
  }

  /** Whether `upgrade` is to get the request instead of `serve`. */
  readonly takesUpgrade = ({ url = '' }: IncomingMessage): boolean => UPGRADES.test(url);

  /** Never rejects. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    using _measured = this.#deps.metrics.observe(request);
    const finished = new Promise<void>((resolve) => response.once('close', resolve));
    try {
      await this.#answer(request, response);
    } catch (err) {
      const answer = asHttpError(err);
      if (answer.code >= 500) this.#deps.log.warn({ err, path: request.url?.split('?')[0] }, 'request failed');
      sendHttpError(response, answer);
    }
    dropBody(request, response);
    await finished;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { gate, switches, handlers, streaming } = this.#deps;
    const { path, query } = splitTarget(request.url ?? '/');
    await gate?.admit(request, path);
    const route = parseRoute(request.method ?? 'GET', path, switches);
    if (isStreaming(route)) return refuseStream(route, query, streaming);
    const handler = handlers[route.endpoint.kind];
    if (handler === undefined) throw new HttpError(404, NOT_FOUND_TEXT);
    await handler({ request, response, query, params: route.params });
  }

  /** Takes the connection over. Resolves when the session is over; never rejects. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { gate, switches, streaming, streamIdleMs, log } = this.#deps;
    using _measured = this.#deps.metrics.observe(request);
    socket.on('error', (err) => log.debug({ err }, 'upgraded connection failed'));
    socket.setMaxListeners(RELAY_LISTENERS);
    request.socket.setTimeout(streamIdleMs, () => socket.destroy());
    try {
      const { path, query } = splitTarget(request.url ?? '/');
      await gate?.admit(request, path);
      const route = parseRoute(request.method ?? 'GET', path, switches);
      if (!isStreaming(route)) throw new HttpError(404, NOT_FOUND_TEXT);
      await serveStream({ request, socket, head }, route, query, streaming);
    } catch (err) {
      const answer = asHttpError(err);
      if (answer.code >= 500) log.warn({ err, path: request.url?.split('?')[0] }, 'stream failed');
      refuseUpgrade(socket, answer);
    }
  }
}

/** An unread body would stall the connection; one without end is cut off with it. */
function dropBody(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete) return;
  let unread = 0;
  request.on('data', (chunk: Buffer) => {
    unread += chunk.length;
    if (unread > MAX_UNREAD_BYTES) request.destroy();
  });
  request.on('error', () => response.destroy());
}
