// Writing answers: objects, lists and Status in the form the client asked for.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { stringify as toYaml } from 'yaml';
import { errorMessage } from '../core/errors.ts';
import type { ResponseForm } from './negotiation.ts';
import { isTrue } from './request.ts';
import { internalError, StatusError } from './status-error.ts';

/** Bodies below this are sent as they are: compressing costs more than it saves on a local network. */
const GZIP_FROM_BYTES = 128 * 1024;
const MAX_WARNING_CHARS = 4096;

const gzipAsync = promisify(gzip);

export interface Answer {
  readonly code: number;
  /** JSON text. */
  readonly json: string;
}

export async function sendAnswer(
  request: IncomingMessage,
  response: ServerResponse,
  form: ResponseForm,
  query: URLSearchParams,
  answer: Answer,
): Promise<void> {
  const text = renderText(answer.json, form, wantsPretty(request, query));
  const contentType = form.format === 'yaml' ? 'application/yaml' : 'application/json';
  response.setHeader('Cache-Control', 'no-cache, private');
  await sendText(request, response, answer.code, contentType, text);
}

export async function sendText(
  request: IncomingMessage,
  response: ServerResponse,
  code: number,
  contentType: string,
  text: string | Buffer,
): Promise<void> {
  let body = typeof text === 'string' ? Buffer.from(text) : text;
  response.setHeader('Content-Type', contentType);
  if (body.length >= GZIP_FROM_BYTES && /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''))) {
    body = await gzipAsync(body, { level: 4 });
    response.setHeader('Content-Encoding', 'gzip');
    response.setHeader('Vary', 'Accept-Encoding');
  }
  response.setHeader('Content-Length', body.length);
  response.writeHead(code);
  response.end(request.method === 'HEAD' ? undefined : body);
}

function renderText(json: string, form: ResponseForm, pretty: boolean): string {
  if (form.format === 'yaml') return toYaml(JSON.parse(json));
  return pretty ? `${JSON.stringify(JSON.parse(json), undefined, 2)}\n` : `${json}\n`;
}

/** Asked for, or a person looking: curl, wget and browsers get indented text. */
function wantsPretty(request: IncomingMessage, query: URLSearchParams): boolean {
  if (query.has('pretty')) return isTrue(query.get('pretty'));
  return /^(curl|Wget|Mozilla)\//.test(request.headers['user-agent'] ?? '');
}

/** The StatusError of anything thrown; what is not one is the server's own fault. */
export function asStatusError(err: unknown): StatusError {
  return err instanceof StatusError ? err : internalError(errorMessage(err));
}

/** Answers with a Status, unless an answer was begun: then the connection is cut so that the client sees the failure. */
export function sendError(response: ServerResponse, err: StatusError): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const retryAfter = err.details?.retryAfterSeconds ?? 0;
  if (retryAfter > 0) response.setHeader('Retry-After', retryAfter);
  response.removeHeader('Content-Encoding');
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Cache-Control', 'no-cache, private');
  response.writeHead(err.code);
  response.end(`${JSON.stringify(err.toStatus())}\n`);
}

/** Adds `Warning` headers, up to 4096 characters in all. */
export class Warnings {
  readonly #texts = new Set<string>();

  add(text: string): void {
    this.#texts.add(text.slice(0, MAX_WARNING_CHARS));
  }

  apply(response: ServerResponse): void {
    let room = MAX_WARNING_CHARS;
    const headers: string[] = [];
    for (const text of this.#texts) {
      room -= text.length;
      if (room < 0) break;
      headers.push(`299 - "${headerSafe(text)}"`);
    }
    if (headers.length > 0 && !response.headersSent) response.setHeader('Warning', headers);
  }
}

function headerSafe(text: string): string {
  return text.replaceAll(/["\\]/g, '\\$&').replaceAll(/[^\x20-\x7e]/g, '?');
}
