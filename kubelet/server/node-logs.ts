// /logs/: the files of the node's log directory, and with a query the journal or the files of services.
// After pkg/kubelet/server/server.go InstallSystemLogHandler and pkg/kubelet/kubelet_server_journal.go.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { linkedSignal } from '../../core/abort.ts';
import { drained } from '../../core/drained.ts';
import type { Exec } from '../../host/exec.ts';
import type { ExecStream } from '../../host/exec-stream.ts';
import { openBelow } from '../../host/open-below.ts';
import type { Handler } from './endpoints.ts';
import { serveFile } from './file-server.ts';
import { HttpError } from './http-error.ts';
import { hasOptions, journalArguments, type NodeLogQuery, parseNodeLogQuery } from './node-log-query.ts';

export interface NodeLogDeps {
  /** `/var/log`. */
  readonly dir: string;
  /** enableSystemLogQuery; else the query is not looked at. */
  readonly queryEnabled: boolean;
  readonly exec: Exec;
  readonly execStream: ExecStream;
}

/** Of all services together, ms. */
const QUERY_MS = 30_000;

export function nodeLogsEndpoint(deps: NodeLogDeps): Handler {
  return async ({ request, response, query, params: { path } }) => {
    const asked = deps.queryEnabled ? parseNodeLogQuery(query) : undefined;
    if (asked === undefined) {
      if (path !== undefined) return serveFile(deps.dir, path, { request, response });
      response.writeHead(301, { Location: 'logs/', 'Content-Length': 0 }).end();
      return;
    }
    if (path) throw new HttpError(406, 'path not allowed in query mode\n');
    if (asked.services.length > 0) return serveServices(asked, { request, response }, deps);
    const [file = ''] = asked.files;
    await requireFile(deps.dir, file);
    await serveFile(deps.dir, file, { request, response });
  };
}

/** A query that names no file is wrong, not a file that is missing. @throws {HttpError} 406 */
async function requireFile(dir: string, file: string): Promise<void> {
  const handle = await openBelow(dir, file);
  if (handle !== undefined) return handle.close();
  const value = `[]string{${JSON.stringify(file)}}`;
  throw new HttpError(406, `query: Invalid value: ${value}: stat ${dir}/${file}: no such file or directory\n`);
}

async function serveServices(
  query: NodeLogQuery,
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
  deps: NodeLogDeps,
): Promise<void> {
  using gone = linkedSignal(undefined, QUERY_MS);
  response.once('close', () => gone.abort());
  response.setHeader('Content-Type', 'text/plain;charset=UTF-8');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  const sink = await encoded(request, response);
  const inJournal = await journalUnits(deps.exec, gone.signal);
  const isUnit = (s: string) => inJournal.has(s) || inJournal.has(`${s}.service`);
  const units = query.services.filter(isUnit);
  const others = query.services.filter((s) => !isUnit(s));
  if (units.length > 0) {
    const limits = { signal: gone.signal, timeoutMs: QUERY_MS };
    await deps.execStream('journalctl', journalArguments(units, query), sink, limits);
  }
  if (others.length > 0 && hasOptions(query)) {
    const where = `[${others.join(' ')}]`;
    sink.write(`\noptions present and query resolved to log files for ${where}\ntry without specifying options\n`);
  } else {
    for (const service of others) await copyServiceFile(deps.dir, service, sink);
  }
  sink.end();
  await finished(response).catch(() => {}); // rejects when the client is gone
}

/** Compressed only for who wants nothing else, as upstream has it. */
async function encoded(request: IncomingMessage, response: ServerResponse): Promise<Writable> {
  if (request.headers['accept-encoding'] !== 'gzip') return response;
  const { createGzip } = await import('node:zlib');
  response.setHeader('Content-Encoding', 'gzip');
  const gzip = createGzip();
  gzip.pipe(response);
  response.once('close', () => gzip.destroy());
  return gzip;
}

/** Names of all units that the journal has lines of; none where there is no journal. */
async function journalUnits(exec: Exec, signal: AbortSignal): Promise<ReadonlySet<string>> {
  try {
    const { stdout } = await exec('journalctl', ['--field', '_SYSTEMD_UNIT'], { signal, timeoutMs: QUERY_MS });
    return new Set(stdout.split('\n'));
  } catch {
    return new Set(); // no such program, or no journal
  }
}

/** The first of the usual places that there is. */
async function copyServiceFile(dir: string, service: string, sink: Writable): Promise<void> {
  for (const name of [service, `${service}.log`, `${service}/${service}.log`]) {
    const handle = await openBelow(dir, name);
    if (handle === undefined) continue;
    await using _closed = { [Symbol.asyncDispose]: () => handle.close() };
    const stats = await handle.stat();
    if (!stats.isFile()) continue;
    if (stats.size === 0) return;
    const content = handle.createReadStream({ start: 0, end: stats.size - 1, autoClose: false });
    for await (const chunk of content) {
      if (sink.destroyed) return;
      if (!sink.write(chunk)) await drained(sink);
    }
    return;
  }
  sink.write(`\nlog not found for ${service}\n`);
}
