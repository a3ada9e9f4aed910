// One request and its response over HTTP/2, for the few servers that speak nothing else.
import { connect, type IncomingHttpHeaders } from 'node:http2';
import type { GoUrl } from './go-url.ts';
import type { HttpResponse } from './http-response.ts';
import { MAX_OUTPUT_BYTES } from './outcome.ts';

/** Of HTTP/1.1 alone; HTTP/2 refuses them (RFC 9113 8.2.2). */
const CONNECTION_HEADERS: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/** `request` is the text that was meant for HTTP/1.1. @throws what the connection or the stream says. */
export function exchangeOverHttp2(url: GoUrl, request: string, signal: AbortSignal): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const session = connect(`${url.scheme}://${url.host}`, { rejectUnauthorized: false });
    const finish = (settle: () => void) => {
      signal.removeEventListener('abort', onAbort);
      session.destroy();
      settle();
    };
    const fail = (err: Error) => finish(() => reject(err));
    const onAbort = () => fail(new Error('aborted'));
    signal.addEventListener('abort', onAbort, { once: true });
    session.on('error', fail);
    const stream = session.request(headersOf(request), { endStream: true });
    let head: IncomingHttpHeaders = {};
    const body: Buffer[] = [];
    let bytes = 0;
    const done = () =>
      finish(() =>
        resolve({
          status: Number(head[':status']),
          location: head.location,
          body: Buffer.concat(body).toString('utf8', 0, MAX_OUTPUT_BYTES),
        }),
      );
    stream.once('response', (headers) => {
      head = headers;
    });
    stream.on('data', (part: Buffer) => {
      body.push(part);
      bytes += part.length;
      if (bytes >= MAX_OUTPUT_BYTES) done();
    });
    stream.once('end', () => (head[':status'] === undefined ? fail(new Error('EOF')) : done()));
    stream.on('error', fail);
    if (signal.aborted) onAbort();
  });
}

function headersOf(request: string): Record<string, string | string[]> {
  const [first = '', ...lines] = request.split('\r\n');
  const headers: Record<string, string | string[]> = { ':method': 'GET', ':path': first.split(' ')[1] ?? '/' };
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 2);
    if (name === 'host') headers[':authority'] = value;
    else if (!CONNECTION_HEADERS.has(name)) headers[name] = [...[headers[name] ?? []].flat(), value];
  }
  return headers;
}
