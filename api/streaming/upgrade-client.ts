// HTTP/1.1 upgrade requests: to a kubelet, or from there to the runtime's streaming server. The bytes behind the 101 are
// whatever the two ends agreed on.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';

/** The connection after a 101. */
export interface Upgraded {
  readonly socket: Duplex;
  /** Bytes that came with the answer. */
  readonly head: Buffer;
  /** Names and values in turn, as received. */
  readonly rawHeaders: readonly string[];
  /** The protocol that a SPDY server chose; '' when it named none. */
  readonly streamProtocol: string;
}

/** PEM. Without `ca` the server's certificate is not verified. */
export interface ClientTls {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
}

export interface UpgradeRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

/** The server answered, but not with 101. */
export class UpgradeRefused extends Error {
  override readonly name = 'UpgradeRefused';
  readonly statusCode: number;
  readonly contentType: string;
  /** The answer's first bytes as text. */
  readonly body: string;

  constructor(statusCode: number, contentType: string, body: string) {
    super(body.trim() || `the server answered ${statusCode} to the upgrade request`);
    this.statusCode = statusCode;
    this.contentType = contentType;
    this.body = body;
  }
}

/** An error text; a server that sends more has lost its mind. */
const MAX_REFUSAL_BYTES = 64 * 1024;

/**
 * Asks `url` (http or https) for an upgrade. Redirects are refusals.
 * @throws {UpgradeRefused} for any answer but 101, and Node's errors when there is none.
 */
export function requestUpgrade(
  url: URL,
  { method, headers }: UpgradeRequest,
  signal: AbortSignal,
  tls: ClientTls = {},
): Promise<Upgraded> {
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const { promise, resolve, reject } = Promise.withResolvers<Upgraded>();
  const request = send(url, {
    method,
    headers: { ...headers } as Record<string, string | string[]>,
    agent: false,
    signal,
    ...tls,
    rejectUnauthorized: tls.ca !== undefined,
  });
  request.on('upgrade', (response, socket, head) => {
    socket.setNoDelay(true);
    const streamProtocol = [response.headers['x-stream-protocol-version'] ?? ''].flat()[0] ?? '';
    resolve({ socket, head, rawHeaders: response.rawHeaders, streamProtocol });
  });
  request.on('response', (response) => void readRefusal(response).then(reject, reject));
  request.on('error', reject);
  request.end();
  return promise;
}

/** The header fields that ask for a SPDY connection with one of these stream protocols. */
export function spdyUpgradeHeaders(protocols: readonly string[]): Record<string, string | readonly string[]> {
  return { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': protocols };
}

/** Answers the client with the backend's own 101 and joins the two until either ends. Never rejects. */
export async function spliceUpgrade(client: Duplex, clientHead: Buffer, backend: Upgraded): Promise<void> {
  const lines = ['HTTP/1.1 101 Switching Protocols'];
  for (let i = 0; i + 1 < backend.rawHeaders.length; i += 2) {
    lines.push(`${backend.rawHeaders[i]}: ${backend.rawHeaders[i + 1]}`);
  }
  client.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  if (backend.head.length > 0) client.write(backend.head);
  if (clientHead.length > 0) backend.socket.write(clientHead);
  await splice(client, backend.socket);
}

/** How long a peer may take to hang up after it was told that there is nothing more, ms. */
const LINGER_MS = 5000;

/**
 * Copies both ways. A half that ends is ended on the other side; a connection that is gone, even by a reset, takes the
 * other along once what it had sent is delivered. Never rejects; resolves when both are closed.
 */
export async function splice(a: Duplex, b: Duplex): Promise<void> {
  noDelay(a);
  noDelay(b);
  a.pipe(b);
  b.pipe(a);
  await Promise.all([follow(a, b), follow(b, a)]);
}

async function follow(gone: Duplex, other: Duplex): Promise<void> {
  // Runtimes hang up with our last frames unread, which resets the connection: `close` comes behind the error, and what
  // was read before it counts.
  gone.on('error', () => {});
  if (!gone.closed) await new Promise((resolve) => gone.once('close', resolve)); // it may have gone while dialling
  if (other.closed) return;
  const linger = setTimeout(() => other.destroy(), LINGER_MS);
  other.once('close', () => clearTimeout(linger));
  other.end();
  // Closing with bytes unread would reset the connection and take from the peer what it has not read yet.
  other.resume();
}

function noDelay(stream: Duplex): void {
  if ('setNoDelay' in stream && typeof stream.setNoDelay === 'function') stream.setNoDelay(true);
}

async function readRefusal(response: IncomingMessage): Promise<UpgradeRefused> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_REFUSAL_BYTES) break; // leaving the loop destroys the response
  }
  const body = Buffer.concat(chunks).subarray(0, MAX_REFUSAL_BYTES).toString('utf8');
  return new UpgradeRefused(response.statusCode ?? 500, response.headers['content-type'] ?? '', body);
}
