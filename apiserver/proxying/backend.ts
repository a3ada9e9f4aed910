// Requests passed on to a kubelet, pod or service, and what comes back. After apimachinery pkg/util/proxy and apiserver
// pkg/util/proxy/upgradeaware.go.
import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { type ClientTls, requestUpgrade, type Upgraded, UpgradeRefused } from '../../api/streaming/upgrade-client.ts';
import { errnoOf, errorMessage } from '../../core/errors.ts';
import { withoutTokenProtocol } from '../auth/bearer-tokens.ts';
import { StatusError } from '../status-error.ts';

/** Of one connection, not of the message (RFC 9110, 7.6.1). */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];
/** What the caller proved itself with is for this server only. */
const PRIVATE = /^(authorization|host|impersonate-.*)$/;
/** An error text of a kubelet; longer ones are cut. */
const MAX_ERROR_BYTES = 64 * 1024;

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  409: 'Conflict',
  422: 'Invalid',
  429: 'TooManyRequests',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

export class Backend {
  readonly #tls: ClientTls;
  readonly #http = new HttpAgent({ keepAlive: true, maxFreeSockets: 4 });
  readonly #https: HttpsAgent;

  /** `tls`: with what to prove itself over https, and with which CA to verify the other side; not at all without. */
  constructor(tls: ClientTls) {
    this.#tls = tls;
    this.#https = new HttpsAgent({
      keepAlive: true,
      maxFreeSockets: 4,
      ...tls,
      rejectUnauthorized: tls.ca !== undefined,
    });
  }

  /** Sends a request and resolves with the head of the answer. @throws {StatusError} 500 when there is none. */
  async request(
    url: URL,
    method: string,
    headers: IncomingHttpHeaders,
    body: IncomingMessage | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const agent = url.protocol === 'https:' ? this.#https : this.#http;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = send(url, { method, headers, agent, signal });
    let hasAnswered = false;
    request.on('response', (answer) => {
      hasAnswered = true;
      resolve(answer);
    });
    request.on('error', (err) => {
      // Sent on an idle connection that the other side was closing: a question is asked again, as Go's client does.
      const isStale = request.reusedSocket && errnoOf(err) === 'ECONNRESET' && !hasAnswered && !signal.aborted;
      const isQuestion = body === undefined && (method === 'GET' || method === 'HEAD');
      if (isStale && isQuestion) resolve(this.request(url, method, headers, body, signal));
      else reject(unreachable(url, method, err));
    });
    if (body === undefined) request.end();
    else pipeline(body, request).catch(reject); // after the answer has come this has no effect
    return await promise;
  }

  /** @throws {StatusError} with the backend's own words when it refuses. */
  async upgrade(
    url: URL,
    method: string,
    headers: Readonly<Record<string, string | readonly string[]>>,
    signal: AbortSignal,
  ): Promise<Upgraded> {
    try {
      return await requestUpgrade(url, { method, headers }, signal, url.protocol === 'https:' ? this.#tls : {});
    } catch (err) {
      if (err instanceof UpgradeRefused) throw backendError(err.statusCode, err.body);
      throw new StatusError(500, 'InternalError', `error dialing backend: ${errorMessage(err)}`);
    }
  }
}

/** Pure: the header fields to pass on. For an upgrade those that ask for it stay. */
export function forwardedHeaders(request: IncomingMessage, upgrading: boolean): Record<string, string | string[]> {
  const named = String(request.headers.connection ?? '')
    .toLowerCase()
    .split(',')
    .map((n) => n.trim());
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value === undefined || PRIVATE.test(name) || HOP_BY_HOP.includes(name) || named.includes(name)) continue;
    headers[name] = value;
  }
  if (!upgrading) return headers;
  headers.connection = 'Upgrade';
  headers.upgrade = request.headers.upgrade ?? '';
  const protocols = withoutTokenProtocol(request.headers['sec-websocket-protocol']);
  if (protocols === '') delete headers['sec-websocket-protocol'];
  else headers['sec-websocket-protocol'] = protocols;
  return headers;
}

/**
 * Passes the backend's answer to the client as it comes: no waiting for more, no reading ahead of a slow client.
 * A backend that breaks off ends the client's connection, so that it does not take the part for the whole.
 */
export async function passAnswer(
  answer: IncomingMessage,
  response: ServerResponse,
  change: (headers: IncomingHttpHeaders) => void = () => {},
): Promise<void> {
  const headers = { ...answer.headers };
  for (const name of HOP_BY_HOP) delete headers[name];
  change(headers);
  response.writeHead(answer.statusCode ?? 502, headers);
  response.flushHeaders();
  // Either end may go away at any time; pipeline has closed the other one then.
  await pipeline(answer, response).catch(() => {});
}

/** Reads the error that a kubelet answered as text. */
export async function answeredError(answer: IncomingMessage): Promise<StatusError> {
  let text = '';
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    text += chunk.toString('utf8');
    if (text.length > MAX_ERROR_BYTES) break; // leaving the loop destroys the answer
  }
  return backendError(answer.statusCode ?? 500, text);
}

/** Pure: a backend's refusal as a Status, in its own words. */
function backendError(code: number, body: string): StatusError {
  const text = body.trim();
  // A success is no answer to what was asked; redirects are not followed: they could lead anywhere.
  const status = code >= 400 ? code : 500;
  const message = text === '' ? `the backend answered ${code}` : text;
  return new StatusError(status, REASONS[status] ?? 'InternalError', messageOf(message));
}

/** A kubelet behind another API server, or a proxy, may answer a Status itself. */
function messageOf(text: string): string {
  if (!text.startsWith('{')) return text;
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === 'string' ? message : text;
  } catch {
    return text; // not JSON after all
  }
}

function unreachable(url: URL, method: string, err: unknown): StatusError {
  const verb = `${method.charAt(0)}${method.slice(1).toLowerCase()}`;
  return new StatusError(500, 'InternalError', `${verb} "${url.href}": ${errorMessage(err)}`);
}
