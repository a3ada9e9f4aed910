// HTTP probes: one GET, redirects to the same host only, any status from 200 to 399 is good (pkg/probe/http).
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIPv6 } from 'node:net';
import { errnoOf } from '../core/errors.ts';
import { MAX_OUTPUT_BYTES, PROBE_USER_AGENT, type ProbeOutcome } from './outcome.ts';

const MAX_REDIRECTS = 10;

export interface HttpProbe {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** With its query; '' and a missing leading slash are read as Go's URL parser reads them. */
  readonly path: string;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  /** Other callers of the same rules (lifecycle hooks) name themselves. Default kube-probe. */
  readonly userAgent?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
  /** True when a redirect to another host was met: its response is the answer. */
  readonly stoppedAtRedirect: boolean;
}

/** One probe, within `signal`; `timedOut` tells whether an abort of it was the probe's own timeout. */
export async function probeHttp(probe: HttpProbe, signal: AbortSignal): Promise<ProbeOutcome> {
  try {
    const answer = await httpGet(probe, signal);
    if (answer.stoppedAtRedirect) {
      return { kind: 'warning', output: `Probe terminated redirects, Response body: ${answer.body}` };
    }
    if (answer.status >= 200 && answer.status < 400) return { kind: 'success', output: answer.body };
    return { kind: 'failure', output: `HTTP probe failed with statuscode: ${answer.status}` };
  } catch (err) {
    return { kind: 'failure', output: transportErrorText(urlOf(probe), err, signal) };
  }
}

/** The GET itself, with redirects followed. @throws the transport's error. */
export async function httpGet(probe: HttpProbe, signal: AbortSignal): Promise<HttpAnswer> {
  let url = urlOf(probe);
  for (let redirects = 0; ; redirects++) {
    const response = await send(url, probe, signal);
    const location = response.headers.location;
    const status = response.statusCode ?? 0;
    if (!isRedirect(status) || location === undefined) {
      return { status, body: await readBody(response), stoppedAtRedirect: false };
    }
    const next = new URL(location, url);
    if (next.hostname !== url.hostname) return { status, body: await readBody(response), stoppedAtRedirect: true };
    if (redirects >= MAX_REDIRECTS) throw new Error(`stopped after ${MAX_REDIRECTS} redirects`);
    response.destroy();
    url = next;
  }
}

function urlOf({ scheme, host, port, path }: HttpProbe): URL {
  const authority = isIPv6(host) ? `[${host}]` : host;
  return new URL(`${scheme}://${authority}:${port}${path.startsWith('/') ? '' : '/'}${path}`);
}

function send(url: URL, probe: HttpProbe, signal: AbortSignal): Promise<IncomingMessage> {
  const { headers, hostHeader } = requestHeaders(probe);
  const options: RequestOptions & { rejectUnauthorized: boolean } = {
    agent: false, // a connection of its own: keep-alive would hide a server that accepts no more
    insecureHTTPParser: true, // as lenient as Go's parser: small servers end their lines with a mere \n
    method: 'GET',
    headers: { Host: hostHeader ?? addressOf(url), ...headers },
    signal,
    rejectUnauthorized: false,
  };
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, resolve);
    request.once('error', reject);
    request.end();
  });
}

/** Repeated names are sent repeatedly; an empty Accept or User-Agent takes the default away. */
function requestHeaders(probe: HttpProbe): {
  headers: Record<string, string | string[]>;
  hostHeader: string | undefined;
} {
  const headers: Record<string, string | string[]> = {
    'User-Agent': probe.userAgent ?? PROBE_USER_AGENT,
    Accept: '*/*',
    Connection: 'close',
  };
  const given = Map.groupBy(probe.headers, (h) => canonicalHeader(h.name));
  const hostHeader = given.get('Host')?.at(-1)?.value;
  given.delete('Host');
  for (const [name, entries] of given) {
    const values = entries.map((e) => e.value);
    if ((name === 'Accept' || name === 'User-Agent') && values.every((v) => v === '')) delete headers[name];
    else headers[name] = values;
  }
  return { headers, hostHeader };
}

function canonicalHeader(name: string): string {
  return name.replaceAll(/[^-]+/g, (word) => word[0]!.toUpperCase() + word.slice(1).toLowerCase());
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MAX_OUTPUT_BYTES) break; // leaving the loop destroys the response
  }
  return Buffer.concat(chunks).subarray(0, MAX_OUTPUT_BYTES).toString('utf8');
}

/** The text that a Go client would give, since users and tests look for it in Events. */
export function transportErrorText(url: URL, err: unknown, signal: AbortSignal): string {
  const { protocol, pathname, search, hash } = url;
  const text = `Get "${protocol}//${addressOf(url)}${pathname}${search}${hash}"`;
  if (signal.aborted) return `${text}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)`;
  return `${text}: ${dialErrorText(addressOf(url), err)}`;
}

/** Host and port, also the scheme's own port, which `URL` leaves out and Go does not. */
function addressOf(url: URL): string {
  if (url.port !== '') return url.host;
  return `${url.host}:${url.protocol === 'https:' ? 443 : 80}`;
}

/** `dial tcp 10.0.0.1:80: connect: connection refused` and its kin. */
export function dialErrorText(address: string, err: unknown): string {
  const texts: Readonly<Record<string, string>> = {
    ECONNREFUSED: `dial tcp ${address}: connect: connection refused`,
    EHOSTUNREACH: `dial tcp ${address}: connect: no route to host`,
    ENETUNREACH: `dial tcp ${address}: connect: network is unreachable`,
    ETIMEDOUT: `dial tcp ${address}: i/o timeout`,
    ECONNRESET: 'read: connection reset by peer',
  };
  return texts[errnoOf(err) ?? ''] ?? (err instanceof Error ? err.message : String(err));
}
