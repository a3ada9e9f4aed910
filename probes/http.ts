// HTTP probes: one GET on a connection of its own, redirects to the same host only, any status from 200 to 399 is good
// (pkg/probe/http).
import { isIPv6 } from 'node:net';
import { errnoOf, errorMessage } from '../core/errors.ts';
import { exchange, ResponseCut } from './http-exchange.ts';
import { type HttpResponse, MalformedResponse } from './http-response.ts';
import { PROBE_USER_AGENT, type ProbeOutcome } from './outcome.ts';

const MAX_REDIRECTS = 10;

export interface HttpProbe {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** With its query; '' and a missing leading slash are read as Go's URL parser reads them. */
  readonly path: string;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
}

/** A probe made ready to be sent again and again. */
export class HttpProbeRequest {
  readonly #probe: HttpProbe;
  readonly #url: URL;
  readonly #text: string;

  /** @throws Error when the host is none. */
  constructor(probe: HttpProbe) {
    this.#probe = probe;
    this.#url = urlOf(probe);
    this.#text = renderRequest(this.#url, probe, headerValues(probe, 'host')?.at(-1));
  }

  async send(signal: AbortSignal): Promise<ProbeOutcome> {
    try {
      const first = await exchange(this.#url, this.#text, signal);
      return outcomeOf(await followed(first, this.#url, this.#probe, signal));
    } catch (err) {
      // A body that does not come whole says nothing sure about the server: the attempt is made again.
      if (err instanceof ResponseCut) return { kind: 'error', message: err.message, state: 'failure' };
      return { kind: 'failure', output: transportErrorText(this.#url, err, signal) };
    }
  }
}

function outcomeOf({ status, body }: HttpResponse): ProbeOutcome {
  if (status >= 200 && status < 300) return { kind: 'success', output: body };
  // A redirect that is the last answer was not followed: to whom it leads is not this pod's health.
  if (status >= 300 && status < 400) {
    return { kind: 'warning', output: `Probe terminated redirects, Response body: ${body}` };
  }
  return { kind: 'failure', output: `HTTP probe failed with statuscode: ${status}` };
}

/** The answer at the end of the redirects that stay on the host. @throws the transport's error. */
async function followed(first: HttpResponse, from: URL, probe: HttpProbe, signal: AbortSignal): Promise<HttpResponse> {
  let response = first;
  let url = from;
  let host = headerValues(probe, 'host')?.at(-1);
  for (let redirects = 0; isRedirect(response.status) && response.location !== undefined; redirects++) {
    const next = new URL(response.location, url);
    if (next.hostname !== from.hostname) break;
    if (redirects >= MAX_REDIRECTS) throw new Error(`stopped after ${MAX_REDIRECTS} redirects`);
    if (/^[a-z][a-z0-9+.-]*:/i.test(response.location)) host = undefined; // names its host itself
    url = next;
    response = await exchange(url, renderRequest(url, probe, host), signal);
  }
  return response;
}

/** @throws Error in Go's words. */
function urlOf({ scheme, host, port, path }: HttpProbe): URL {
  const authority = isIPv6(host) ? `[${host}]` : host;
  const text = `${scheme}://${authority}:${port}${path.startsWith('/') ? '' : '/'}${path}`;
  const url = URL.parse(text);
  if (url === null) throw new Error(`parse ${JSON.stringify(text)}: invalid character in host name`);
  return url;
}

/** Repeated names are sent repeatedly; an empty Accept or User-Agent takes the default away. */
function renderRequest(url: URL, probe: HttpProbe, host: string | undefined): string {
  const lines = [`GET ${url.pathname}${url.search} HTTP/1.1`, `Host: ${clean(host || addressOf(url))}`];
  const defaults = [
    ['User-Agent', PROBE_USER_AGENT],
    ['Accept', '*/*'],
  ] as const;
  for (const [name, value] of defaults) {
    const given = headerValues(probe, name.toLowerCase());
    if (given === undefined) lines.push(`${name}: ${value}`);
    else if (given.some((v) => v !== '')) lines.push(...given.map((v) => `${name}: ${clean(v)}`));
  }
  for (const { name, value } of probe.headers) {
    if (!OWN_HEADERS.has(name.toLowerCase())) lines.push(`${clean(canonicalHeader(name))}: ${clean(value)}`);
  }
  lines.push('Connection: close', '', '');
  return lines.join('\r\n');
}

/** Headers that are written apart; the connection ends with the answer, whatever the pod asks for. */
const OWN_HEADERS: ReadonlySet<string> = new Set(['host', 'user-agent', 'accept', 'connection']);

function headerValues({ headers }: HttpProbe, lowerName: string): string[] | undefined {
  if (headers.length === 0) return undefined;
  const values = headers.filter((h) => h.name.toLowerCase() === lowerName).map((h) => h.value);
  return values.length === 0 ? undefined : values;
}

/** A line end in a header would start a line of its own. */
function clean(text: string): string {
  return text.replaceAll(/[\r\n\0]+/g, ' ');
}

function canonicalHeader(name: string): string {
  return name.replaceAll(/[^-]+/g, (word) => word[0]!.toUpperCase() + word.slice(1).toLowerCase());
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/** The text that a Go client would give, since users and tests look for it in Events. */
export function transportErrorText(url: URL, err: unknown, signal: AbortSignal): string {
  const { protocol, pathname, search, hash } = url;
  const text = `Get "${protocol}//${addressOf(url)}${pathname}${search}${hash}"`;
  if (signal.aborted) return `${text}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)`;
  if (err instanceof MalformedResponse) return `${text}: ${err.message}`;
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
  const message = errorMessage(err).trim();
  if (/wrong version number|packet length too long/.test(message)) {
    return 'http: server gave HTTP response to HTTPS client';
  }
  return texts[errnoOf(err) ?? ''] ?? message;
}
