// Files of one directory over HTTP: listings, ranges, what has not changed. After net/http FileServer, but that links
// do not lead out, and that no content is taken for a page: what pods write into logs is text.
import type { Stats } from 'node:fs';
import { type FileHandle, readdir } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { openBelow } from '../../host/open-below.ts';
import { HttpError } from './http-error.ts';

const NOT_FOUND = '404 page not found\n';
const GZIP = Buffer.from([0x1f, 0x8b, 0x08]);
const SNIFFED_BYTES = 512;

/** Answers with what stands at `relative` below `root`. @throws {HttpError} 404, 416 */
export async function serveFile(
  root: string,
  relative: string,
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
): Promise<void> {
  const handle = await openBelow(root, relative.replace(/\/+$/, ''));
  if (handle === undefined) throw new HttpError(404, NOT_FOUND);
  await using _closed = { [Symbol.asyncDispose]: () => handle.close() };
  const stats = await handle.stat();
  const asDirectory = relative === '' || relative.endsWith('/');
  const name = relative.split('/').findLast((s) => s !== '') ?? '';
  if (stats.isDirectory()) {
    if (!asDirectory) return redirect(response, `${encodeURIComponent(name)}/`);
    return sendHtml(response, await renderDirectory(handle));
  }
  if (asDirectory) return redirect(response, `../${encodeURIComponent(name)}`);
  await sendFile(handle, stats, { request, response });
}

/** Relative, so that it is right behind the API server's proxy, too. */
function redirect(response: ServerResponse, location: string): void {
  response.writeHead(301, { Location: location, 'Content-Length': 0 }).end();
}

function sendHtml(response: ServerResponse, html: string): void {
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': Buffer.byteLength(html),
  });
  response.end(html);
}

/** By its descriptor: the directory that was opened, whatever has its name now. */
async function renderDirectory(handle: FileHandle): Promise<string> {
  const entries = await readdir(`/proc/self/fd/${handle.fd}`, { withFileTypes: true });
  const names = entries.map((e) => (e.isDirectory() ? `${e.name}/` : e.name)).sort();
  const lines = names.map((n) => `<a href="${hrefOf(n)}">${escapeHtml(n)}</a>\n`);
  const head = '<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n';
  return `${head}${lines.join('')}</pre>\n`;
}

/** A name with a colon must not become the scheme of an address. */
function hrefOf(name: string): string {
  const encoded = name.split('/').map(encodeURIComponent).join('/');
  return /^[^/]*%3A/.test(encoded) ? `./${encoded}` : encoded;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => ENTITIES[c]!);
}

async function sendFile(
  handle: FileHandle,
  stats: Stats,
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
): Promise<void> {
  const modified = Math.trunc(stats.mtimeMs / 1000) * 1000;
  response.setHeader('Last-Modified', new Date(modified).toUTCString());
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  const since = Date.parse(request.headers['if-modified-since'] ?? '');
  if (since >= modified) {
    response.writeHead(304).end();
    return;
  }
  const range = parseRange(request.headers.range, stats.size);
  if (range === 'unsatisfiable') {
    throw new HttpError(416, 'invalid range: failed to overlap\n', { 'Content-Range': `bytes */${stats.size}` });
  }
  const { start, end } = range ?? { start: 0, end: stats.size - 1 };
  response.writeHead(range === undefined ? 200 : 206, {
    'Content-Type': await contentType(handle),
    'Content-Length': end - start + 1,
    ...(range === undefined ? {} : { 'Content-Range': `bytes ${start}-${end}/${stats.size}` }),
  });
  if (end < start) {
    response.end();
    return;
  }
  // A log that is cut meanwhile gives less than was promised: pipeline then ends the response, which must not be
  // taken for whole.
  const content = handle.createReadStream({ start, end, autoClose: false });
  let sent = 0;
  content.on('data', (chunk) => {
    sent += chunk.length;
  });
  await pipeline(content, response, { end: false });
  if (sent < end - start + 1) response.destroy();
  else response.end();
}

/** Pure: one range, first and last byte included; undefined for all, as for several ranges and what is no range. */
export function parseRange(
  header: string | undefined,
  size: number,
): { readonly start: number; readonly end: number } | 'unsatisfiable' | undefined {
  const m = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (m === null || (m[1] === '' && m[2] === '')) return undefined;
  const last = size - 1;
  if (m[1] === '') return size === 0 ? 'unsatisfiable' : { start: Math.max(0, size - Number(m[2])), end: last };
  const start = Number(m[1]);
  const end = m[2] === '' ? last : Math.min(Number(m[2]), last);
  if (start > last || end < start) return 'unsatisfiable';
  return { start, end };
}

async function contentType(handle: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(SNIFFED_BYTES), 0, SNIFFED_BYTES, 0);
  const begin = buffer.subarray(0, bytesRead);
  if (begin.subarray(0, GZIP.length).equals(GZIP)) return 'application/x-gzip';
  const isBinary = begin.some((b) => b < 0x20 && (b < 0x09 || b > 0x0d) && b !== 0x1b);
  return isBinary ? 'application/octet-stream' : 'text/plain; charset=utf-8';
}
