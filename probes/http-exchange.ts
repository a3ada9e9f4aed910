// One request and its response over a connection of its own: keep-alive would hide a server that accepts no more.
import { connect, isIP, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { errorMessage } from '../core/errors.ts';
import { type GoUrl, hostnameOf, portOf } from './go-url.ts';
import { type HttpResponse, ResponseReader } from './http-response.ts';

/** The connection ended within the body. */
export class ResponseCut extends Error {}

/** Read into by one socket at a time: the kernel fills it and the reader copies it within one turn. */
const READ_BUFFER = Buffer.allocUnsafeSlow(16 * 1024);

/** The server has no protocol that was offered when TLS was agreed on (RFC 7301): it speaks HTTP/2 alone. */
const NO_HTTP1 = /alert no application protocol/;

/** @throws what the socket or the response says, or an error when `signal` aborts. */
export async function exchange(url: GoUrl, request: string, signal: AbortSignal): Promise<HttpResponse> {
  try {
    return await exchangeOverHttp1(url, request, signal);
  } catch (err) {
    if (!NO_HTTP1.test(errorMessage(err))) throw err; // the code is EPROTO or another, as the write or the read fails
    const { exchangeOverHttp2 } = await import('./http2-exchange.ts'); // hardly ever needed
    return await exchangeOverHttp2(url, request, signal);
  }
}

function exchangeOverHttp1(url: GoUrl, request: string, signal: AbortSignal): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const reader = new ResponseReader();
    const finish = (settle: () => void) => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      settle();
    };
    const fail = (err: Error) => finish(() => reject(err));
    const onAbort = () => (reader.hasHead ? fail(new ResponseCut(BODY_TIMEOUT)) : fail(new Error('aborted')));
    const onBytes = (bytes: Buffer) => {
      try {
        if (reader.push(bytes)) finish(() => resolve(reader.response()));
      } catch (err) {
        fail(err as Error);
      }
    };
    const onEnd = () => {
      if (reader.isWhole) finish(() => resolve(reader.response()));
      else fail(reader.hasHead ? new ResponseCut('unexpected EOF') : new Error('EOF'));
    };
    const socket = open(url, onBytes);
    socket.on('error', fail); // stays: destroying a connection that fails may tell so afterwards
    socket.once('end', onEnd);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else socket.write(request);
  });
}

const BODY_TIMEOUT = 'context deadline exceeded (Client.Timeout or context cancellation while reading body)';

function open(url: GoUrl, onBytes: (bytes: Buffer) => void): Socket {
  const host = hostnameOf(url);
  const port = portOf(url);
  if (url.scheme === 'https') {
    const socket = connectTls({
      host,
      port,
      servername: isIP(host) === 0 ? host : '',
      rejectUnauthorized: false, // a pod's certificate is seldom made for its address
      ALPNProtocols: ['http/1.1'],
    });
    socket.on('data', onBytes);
    return socket;
  }
  const onread: OnReadOpts = {
    buffer: READ_BUFFER,
    callback: (size, buffer) => {
      onBytes(buffer.subarray(0, size) as Buffer);
      return true;
    },
  };
  return connect({ host, port, onread });
}
