// Answers of the node's HTTPS server that are not a success. They are plain text: kube-apiserver makes a Status of them.
import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { isCriError } from '../../cri/errors.ts';
import { rpcErrorText } from '../plugins/rpc-text.ts';

export const NOT_FOUND_TEXT = '404: Page Not Found';

/** Ends a request with a status code; `message` is the whole body. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly code: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.code = code;
    this.headers = headers;
  }
}

/** Pure: what a failed request is answered with. A runtime's refusal keeps its meaning, the rest is 500. */
export function asHttpError(err: unknown): HttpError {
  if (err instanceof HttpError) return err;
  if (isCriError(err, 'NOT_FOUND')) return new HttpError(404, rpcErrorText(err));
  if (isCriError(err, 'RESOURCE_EXHAUSTED')) {
    return new HttpError(429, rpcErrorText(err), { 'Retry-After': '60' });
  }
  return new HttpError(500, rpcErrorText(err));
}

export function sendText(response: ServerResponse, code: number, text: string, headers = {}): void {
  response.writeHead(code, {
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}

/** Once the body has begun the code cannot change any more: the connection is cut, so that nobody takes it for whole. */
export function sendHttpError(response: ServerResponse, err: HttpError): void {
  if (response.headersSent) response.destroy();
  else sendText(response, err.code, err.message, err.headers);
}

/** Answers an upgrade request that is not going to be upgraded, and closes. */
export function refuseUpgrade(socket: Duplex, err: HttpError): void {
  if (socket.destroyed || !socket.writable) return;
  const head = [
    `HTTP/1.1 ${err.code} ${STATUS_CODES[err.code] ?? 'Error'}`,
    'Content-Type: text/plain; charset=utf-8',
    'X-Content-Type-Options: nosniff',
    `Content-Length: ${Buffer.byteLength(err.message)}`,
    'Connection: close',
    ...Object.entries(err.headers).map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${err.message}`);
}
