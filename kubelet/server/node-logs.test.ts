import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { parseRange } from './file-server.ts';
import { asHttpError, sendHttpError } from './http-error.ts';
import { nodeLogsEndpoint } from './node-logs.ts';
import { parseRoute, splitTarget } from './routes.ts';

let dir: string;
let server: Server;
let journalCalls: (readonly string[])[];
let queryEnabled: boolean;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-node-logs-'));
  await mkdir(path.join(dir, 'app'));
  await writeFile(path.join(dir, 'syslog'), '0123456789');
  await writeFile(path.join(dir, 'app', 'app.log'), 'of the application\n');
  await writeFile(path.join(dir, '<b>&.log'), '<script>');
  await writeFile(path.join(dir, 'old.gz'), gzipSync('old'));
  await writeFile(path.join(dir, 'empty'), '');
  await symlink('/etc', path.join(dir, 'etc'));
  server = createServer(async (request, response) => {
    try {
      const { path: asked, query } = splitTarget(request.url!);
      const { params } = parseRoute(request.method!, asked);
      await endpoint()({ request, response, query, params });
    } catch (err) {
      sendHttpError(response, asHttpError(err));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});

beforeEach(() => {
  journalCalls = [];
  queryEnabled = true;
});

afterAll(async () => {
  server.close();
  await rm(dir, { recursive: true });
});

/** With a journal that knows the unit `sshd.service`. */
const endpoint = () =>
  nodeLogsEndpoint({
    dir,
    queryEnabled,
    exec: async () => ({ code: 0, signal: undefined, stdout: 'init.scope\nsshd.service\n', stderr: '' }),
    execStream: async (_program, args, sink) => {
      journalCalls.push(args);
      sink.write('from the journal\n');
      return 0;
    },
  });

async function get(url: string, headers: Record<string, string> = {}) {
  const { port } = server.address() as AddressInfo;
  const asked = httpRequest({ host: '127.0.0.1', port, path: url, headers, agent: false }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  return { code: response.statusCode, headers: response.headers, body, text: body.toString('utf8') };
}

test('a listing of the directory, with names that are no markup', async () => {
  const { code, text: html, headers } = await get('/logs/');
  expect(code).toBe(200);
  expect(headers['content-type']).toBe('text/html; charset=utf-8');
  expect(html).toContain('<pre>\n<a href="%3Cb%3E%26.log">&lt;b&gt;&amp;.log</a>\n<a href="app/">app/</a>\n');
  expect(html.endsWith('</pre>\n')).toBe(true);
});

test.each([
  ['/logs', 'logs/'],
  ['/logs/app', 'app/'],
  ['/logs/syslog/', '../syslog'],
])('%s is found at %s', async (url, location) => {
  expect(await get(url)).toMatchObject({ code: 301, headers: { location } });
});

test('files whole, in part, and not when they are as they were', async () => {
  const whole = await get('/logs/syslog');
  expect(whole).toMatchObject({ code: 200, text: '0123456789', headers: { 'content-length': '10' } });
  const part = await get('/logs/syslog', { range: 'bytes=-3' });
  expect(part).toMatchObject({ code: 206, text: '789', headers: { 'content-range': 'bytes 7-9/10' } });
  expect(await get('/logs/syslog', { range: 'bytes=10-' })).toMatchObject({ code: 416 });
  const since = whole.headers['last-modified']!;
  expect(await get('/logs/syslog', { 'if-modified-since': since })).toMatchObject({ code: 304, text: '' });
  expect(await get('/logs/empty')).toMatchObject({ code: 200, text: '' });
});

test('what pods write is text, never a page', async () => {
  const { headers } = await get('/logs/%3Cb%3E%26.log');
  expect(headers).toMatchObject({ 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' });
  expect((await get('/logs/old.gz')).headers['content-type']).toBe('application/x-gzip');
});

test.each([
  '/logs/none',
  '/logs/etc/passwd',
  '/logs/../../etc/passwd',
  '/logs/%2e%2e/%2e%2e/etc/passwd',
  '/logs/a%00b',
])('%s is not found', async (url) => {
  expect(await get(url)).toMatchObject({ code: 404, text: '404 page not found\n' });
});

test('units of the journal are asked for there, others in their files', async () => {
  expect(await get('/logs/?query=sshd&tailLines=3')).toMatchObject({ code: 200, text: 'from the journal\n' });
  expect(journalCalls).toEqual([
    ['--utc', '--no-pager', '--output=short-precise', '--pager-end', '--lines=3', '--unit=sshd'],
  ]);
  expect((await get('/logs/?query=app')).text).toBe('of the application\n');
  expect((await get('/logs/?query=none')).text).toBe('\nlog not found for none\n');
  expect((await get('/logs/?query=app&tailLines=3')).text).toBe(
    '\noptions present and query resolved to log files for [app]\ntry without specifying options\n',
  );
  const packed = await get('/logs/?query=app', { 'accept-encoding': 'gzip' });
  expect(packed.headers['content-encoding']).toBe('gzip');
  expect(gunzipSync(packed.body).toString()).toBe('of the application\n');
  expect(
    (await get('/logs/?query=app', { 'accept-encoding': 'gzip, br' })).headers['content-encoding'],
  ).toBeUndefined();
});

test('a query for a file, and wrong ones', async () => {
  expect(await get('/logs/?query=/syslog')).toMatchObject({ code: 200, text: '0123456789' });
  expect(await get('/logs/?query=/none')).toMatchObject({ code: 406 });
  expect(await get('/logs/?query=/etc/passwd')).toMatchObject({ code: 406 });
  expect(await get('/logs/?query=../../etc/passwd')).toMatchObject({ code: 406 });
  expect(await get('/logs/syslog?query=app')).toMatchObject({ code: 406, text: 'path not allowed in query mode\n' });
  expect(await get('/logs/?query=')).toMatchObject({ code: 400 });
});

test('without enableSystemLogQuery a query is not looked at', async () => {
  queryEnabled = false;
  expect((await get('/logs/?query=sshd')).text).toContain('<pre>');
  expect(journalCalls).toEqual([]);
});

test.each([
  ['bytes=0-0', { start: 0, end: 0 }],
  ['bytes=5-', { start: 5, end: 9 }],
  ['bytes=5-100', { start: 5, end: 9 }],
  ['bytes=-100', { start: 0, end: 9 }],
  ['bytes=5-4', 'unsatisfiable'],
  ['bytes=0-1,3-4', undefined],
  ['lines=0-1', undefined],
  ['bytes=-', undefined],
  [undefined, undefined],
])('the range %s', (header, range) => {
  expect(parseRange(header, 10)).toEqual(range);
});
