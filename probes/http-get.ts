// The GET that a manifest asks for, of probes and of lifecycle hooks: on a connection of its own, following redirects to the
// same host only (pkg/probe/http/request.go).
import { domainToASCII } from 'node:url';
import { errnoOf, errorMessage } from '../core/errors.ts';
import { formatGoUrl, type GoUrl, hostnameOf, parseGoUrl, pathOnly, requestTarget, resolveGoUrl } from './go-url.ts';
import { exchange, ResponseCut } from './http-exchange.ts';
import { type HttpResponse, MalformedResponse } from './http-response.ts';

const MAX_REDIRECTS = 10;
/** What is said of a server that answers a TLS handshake with HTTP. */
export const PLAIN_HTTP_ANSWER = 'http: server gave HTTP response to HTTPS client';

export interface HttpGet {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** With its query, as the manifest has it: see `urlOf`. */
  readonly path: string;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
}

/** Made ready to be sent again and again. */
export class HttpGetRequest {
  readonly #get: HttpGet;
  readonly #userAgent: string;
  readonly #url: GoUrl;
  readonly #text: string;
  /** Why it cannot be sent, for which the pod is to blame. */
  readonly #fault: string | undefined;

  /** @throws Error when the host is none. */
  constructor(get: HttpGet, userAgent: string) {
    this.#get = get;
    this.#userAgent = userAgent;
    this.#url = urlOf(get);
    this.#text = this.#render(this.#url, headerValues(get, 'host')?.[0]);
    this.#fault = faultOf(this.#url, get);
  }

  /** Host and port. */
  get address(): string {
    return this.#url.host;
  }

  /**
   * The answer at the end of the redirects that stay on the host.
   * @throws {ResponseCut}, and Error with the text that Go's client would give
   */
  async send(signal: AbortSignal): Promise<HttpResponse> {
    try {
      if (this.#fault !== undefined) throw new Error(this.#fault);
      return await this.#followed(await exchange(this.#url, this.#text, signal), signal);
    } catch (err) {
      if (err instanceof ResponseCut) throw err;
      throw new Error(transportErrorText(this.#url, err, signal), { cause: err });
    }
  }

  async #followed(first: HttpResponse, signal: AbortSignal): Promise<HttpResponse> {
    let response = first;
    let url = this.#url;
    let host = headerValues(this.#get, 'host')?.[0];
    for (let redirects = 0; isRedirect(response.status) && response.location; redirects++) {
      const next = redirected(url, response.location);
      if (hostnameOf(next) !== hostnameOf(this.#url)) break;
      if (redirects >= MAX_REDIRECTS) throw new Error(`stopped after ${MAX_REDIRECTS} redirects`);
      if (next.scheme !== 'http' && next.scheme !== 'https') {
        throw new Error(`unsupported protocol scheme ${JSON.stringify(next.scheme)}`);
      }
      if (/^[a-z][a-z0-9+.-]*:/i.test(response.location)) host = undefined; // names its host itself
      url = next;
      response = await exchange(url, this.#render(url, host), signal);
    }
    return response;
  }

  /** Repeated names are sent repeatedly; an empty Accept or User-Agent takes the default away. */
  #render(url: GoUrl, host: string | undefined): string {
    const lines = [`GET ${requestTarget(url)} HTTP/1.1`, `Host: ${hostHeader(host || url.host)}`];
    const defaults = [
      ['User-Agent', this.#userAgent],
      ['Accept', '*/*'],
    ] as const;
    for (const [name, value] of defaults) {
      const given = headerValues(this.#get, name.toLowerCase());
      if (given === undefined) lines.push(`${name}: ${value}`);
      else if (given.some((v) => v !== '')) lines.push(...given.map((v) => `${name}: ${v}`));
    }
    for (const { name, value } of this.#get.headers) {
      if (!OWN_HEADERS.has(name.toLowerCase())) lines.push(`${canonicalHeader(name)}: ${value}`);
    }
    lines.push('Connection: close', '', '');
    return lines.join('\r\n');
  }
}

/** What Go's client refuses to send. */
function faultOf({ host }: GoUrl, { headers }: HttpGet): string | undefined {
  if (host === '') return 'http: no Host in request URL';
  const wrong = headers.find(({ value }) => UNSENDABLE.test(value));
  return wrong && `net/http: invalid header field value for ${JSON.stringify(canonicalHeader(wrong.name))}`;
}

/** @throws Error in Go's words. */
function redirected(from: GoUrl, location: string): GoUrl {
  try {
    return resolveGoUrl(from, location);
  } catch (err) {
    throw new Error(`failed to parse Location header ${JSON.stringify(location)}: ${errorMessage(err)}`);
  }
}

/**
 * A path is read as a URL, of which scheme and host do not count; one that is none is sent as the path that it is, escaped.
 * @throws Error in Go's words.
 */
function urlOf({ scheme, host, port, path }: HttpGet): GoUrl {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return parseGoUrl(formatGoUrl({ ...urlOfPath(path), scheme, host: address }));
}

function urlOfPath(path: string): GoUrl {
  try {
    return parseGoUrl(path);
  } catch {
    return pathOnly(path);
  }
}

/** Headers that are written apart; the connection ends with the answer, whatever the pod asks for. */
const OWN_HEADERS: ReadonlySet<string> = new Set(['host', 'user-agent', 'accept', 'connection']);

function headerValues({ headers }: HttpGet, lowerName: string): string[] | undefined {
  if (headers.length === 0) return undefined;
  const values = headers.filter((h) => h.name.toLowerCase() === lowerName).map((h) => h.value);
  return values.length === 0 ? undefined : values;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: a line end in a header would start a line of its own
const UNSENDABLE = /[\x00-\x08\x0a-\x1f\x7f]/;
const SENDABLE_HOST = /^[A-Za-z0-9!$%&'()*+,.:;=[\]_~-]*$/;

/** What cannot be the name of a host is not told, as Go's client leaves it out. */
function hostHeader(host: string): string {
  if (SENDABLE_HOST.test(host)) return host;
  if (!SENDABLE_HOST.test(host.replaceAll(/[\u{80}-\u{10ffff}]/gu, 'x'))) return '';
  const [, name = '', port = ''] = /^(.*?)(:\d*)?$/.exec(host)!;
  const ascii = domainToASCII(name);
  return ascii === '' ? '' : ascii + port;
}

function canonicalHeader(name: string): string {
  return name.replaceAll(/[^-]+/g, (word) => word[0]!.toUpperCase() + word.slice(1).toLowerCase());
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/** The text that a Go client would give, since users and tests look for it in Events. */
export function transportErrorText(url: GoUrl, err: unknown, signal: AbortSignal): string {
  const text = getText(url);
  if (signal.aborted) return `${text}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)`;
  if (err instanceof MalformedResponse) return `${text}: ${err.message}`;
  return `${text}: ${dialErrorText(url.host, err)}`;
}

const getText = (url: GoUrl): string => `Get ${JSON.stringify(formatGoUrl(url))}`;

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
  if (/wrong version number|packet length too long/.test(message)) return PLAIN_HTTP_ANSWER;
  return texts[errnoOf(err) ?? ''] ?? message;
}
