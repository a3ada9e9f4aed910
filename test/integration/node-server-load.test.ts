// The node's HTTPS server in a process of its own under load: what it holds in memory, and what it lets go of.
import { once } from 'node:events';
import { appendFile, mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { FakeRuntimeServer } from '../../api/streaming/fake-runtime-server.ts';
import { SpdySession } from '../../api/streaming/spdy-session.ts';
import { NodeServerProcess } from '../harness/node-server-process.ts';

const MB = 1024 ** 2;
const LOG_MB = 1024;
const EXEC_MB = 256;
const WARM_UP_MB = 96;
/** What a log of any length may add to the process. */
const GROWTH_MB = 20;
/** Of other streams: what is read from sockets is garbage until V8 looks, 10 to 15 MB of it. */
const STREAM_GROWTH_MB = 40;
const FOLLOWERS = 200;
const WAIT_MS = 120_000;

vi.setConfig({ testTimeout: 180_000 }); // a gigabyte takes seconds, on a busy machine many

let dir: string;
let logPath: string;
let runtime: FakeRuntimeServer;
let server: NodeServerProcess;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-load-'));
  logPath = path.join(dir, '0.log');
  runtime = new FakeRuntimeServer();
  server = await NodeServerProcess.start(logPath, `http://127.0.0.1:${await runtime.listen()}/session`);
});

afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await runtime.close();
  await rm(dir, { recursive: true });
});

const entry = (line: string, time = '2026-01-01T00:00:00.000000001Z') => `${time} stdout F ${line}\n`;

/** Lines of 4 KB, `megabytes` of them. */
async function writeLog(megabytes: number): Promise<void> {
  const line = entry('x'.repeat(4096 - entry('').length));
  const block = Buffer.from(line.repeat(MB / line.length));
  await using file = await open(logPath, 'w');
  for (let i = 0; i < megabytes; i++) await file.write(block);
}

async function responseOf(url: string): Promise<IncomingMessage> {
  const [response] = (await once(server.open(url), 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(200);
  return response;
}

/** Reads to the end; with `slow` it takes nothing for a moment now and then. */
async function drain(response: IncomingMessage, slow = false): Promise<number> {
  let bytes = 0;
  let chunks = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (slow && ++chunks % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return bytes;
}

function gather(response: IncomingMessage) {
  const log = { text: '', ended: new Promise((resolve) => response.once('close', resolve)) };
  response.on('error', () => {}); // cut off: its text tells
  response.setEncoding('utf8').on('data', (part: string) => {
    log.text += part;
  });
  return log;
}

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`${what} did not come to be`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function growthDuring(work: () => Promise<void>): Promise<number> {
  await server.forgetPeak();
  const before = await server.peakBytes();
  await work();
  return ((await server.peakBytes()) - before) / MB;
}

test(`a log of ${LOG_MB} MB goes through ${GROWTH_MB} MB of memory`, async () => {
  await writeLog(WARM_UP_MB);
  await drain(await responseOf('/containerLogs/default/web/main')); // compiled code and buffers count once
  await writeLog(LOG_MB);
  let bytes = 0;
  const growth = await growthDuring(async () => {
    bytes = await drain(await responseOf('/containerLogs/default/web/main'), true);
  });
  console.info(`${LOG_MB} MB of log: ${growth.toFixed(1)} MB of memory`);
  expect(bytes).toBe((LOG_MB * MB * (4096 - entry('').length + 1)) / 4096);
  expect(growth).toBeLessThan(GROWTH_MB);
});

test('clients that take nothing cost a bounded amount, and nothing once they are gone', async () => {
  const descriptors = await server.descriptors();
  await writeLog(WARM_UP_MB);
  await drain(await responseOf('/containerLogs/default/web/main'));
  const stuck: IncomingMessage[] = [];
  const growth = await growthDuring(async () => {
    for (let i = 0; i < 10; i++) {
      const response = await responseOf('/containerLogs/default/web/main');
      response.pause();
      stuck.push(response);
    }
    // Others are served meanwhile.
    expect(await drain(await responseOf('/containerLogs/default/web/main?tailLines=100'))).toBeGreaterThan(0);
  });
  expect(growth).toBeLessThan(STREAM_GROWTH_MB);
  await until(async () => (await server.descriptors()) >= descriptors + 20, 'a connection and a file for each');
  for (const response of stuck) response.destroy();
  await until(async () => (await server.descriptors()) <= descriptors, 'the end of every descriptor');
});

test(`${FOLLOWERS} followers read every line once over a rotation, and end with the container`, async () => {
  await writeFile(logPath, entry('line 0'));
  const descriptors = (await server.descriptors()) + 1; // the one inotify instance of the process will stay
  const responses = await Promise.all(
    Array.from({ length: FOLLOWERS }, () => responseOf('/containerLogs/default/web/main?follow=true')),
  );
  const logs = responses.map(gather);
  await until(async () => logs.every((log) => log.text !== ''), 'the first line for everybody'); // all have it open
  let lines = 1;
  const write = async (count: number): Promise<void> => {
    const upTo = lines + count;
    let block = '';
    for (; lines < upTo; lines++) block += entry(`line ${lines}`);
    await appendFile(logPath, block);
  };
  await write(50);
  await rename(logPath, `${logPath}.20260101-000000`);
  await writeFile(logPath, '');
  await write(50);
  await appendFile(logPath, '2026-01-01T00:00:00.5Z stdout P in two \n');
  await appendFile(logPath, '2026-01-01T00:00:00.6Z stdout F parts\n');
  server.endContainer();
  const expected = `${Array.from({ length: lines }, (_, i) => `line ${i}`).join('\n')}\n`;
  for (const log of logs) {
    await log.ended;
    expect(log.text).toBe(`${expected}in two parts\n`);
  }
  await until(async () => (await server.descriptors()) <= descriptors, 'the end of every descriptor');
});

test(`${EXEC_MB} MB out of a container by WebSocket go through ${STREAM_GROWTH_MB} MB of memory`, async () => {
  const send = async (megabytes: number): Promise<number> => {
    const block = Buffer.alloc(64 * 1024, 'x');
    runtime.expected = 2;
    runtime.onCommand = async ({ streams }) => {
      const stdout = streams.get('stdout')!;
      for (let i = 0; i < megabytes * 16; i++) {
        if (!stdout.write(block)) await once(stdout, 'drain');
      }
      stdout.end();
      streams.get('error')!.end('{"metadata":{},"status":"Success"}');
    };
    const url = `wss:${server.origin}/exec/default/web/main?command=tar&output=1`;
    const ws = new WebSocket(url, ['v5.channel.k8s.io'], server.credentials);
    let bytes = 0;
    let messages = 0;
    ws.on('message', (message: Buffer) => {
      if (message[0] === 1) bytes += message.length - 1;
      if (++messages % 64 !== 0) return;
      ws.pause();
      setImmediate(() => ws.resume());
    });
    await once(ws, 'close');
    return bytes;
  };
  expect(await send(WARM_UP_MB)).toBe(WARM_UP_MB * MB);
  let bytes = 0;
  const growth = await growthDuring(async () => {
    bytes = await send(EXEC_MB);
  });
  console.info(`${EXEC_MB} MB by WebSocket: ${growth.toFixed(1)} MB of memory`);
  expect(bytes).toBe(EXEC_MB * MB);
  expect(growth).toBeLessThan(STREAM_GROWTH_MB);
});

test('clients that vanish leave neither descriptors here nor sessions at the runtime', async () => {
  const descriptors = await server.descriptors();
  const sessions = new Set<SpdySession>();
  runtime.expected = 2;
  runtime.onCommand = ({ session }) => {
    sessions.add(session);
    void session.closed.then(() => sessions.delete(session));
  };
  const url = '/exec/default/web/main?command=cat&output=1';
  const spdy = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': ['v4.channel.k8s.io'] };
  const clients: { destroy(): void }[] = [];
  for (let i = 0; i < 10; i++) {
    const [, socket, head] = (await once(server.open(url, 'POST', spdy), 'upgrade')) as [unknown, Duplex, Buffer];
    const session = new SpdySession(socket, head, { role: 'client' });
    for (const streamtype of ['error', 'stdout']) session.createStream({ streamtype }).on('error', () => {});
    const ws = new WebSocket(`wss:${server.origin}${url}`, ['v5.channel.k8s.io'], server.credentials);
    ws.on('error', () => {});
    await once(ws, 'open');
    clients.push(session, { destroy: () => ws.terminate() });
  }
  await until(async () => sessions.size === clients.length, 'a session for every client');
  for (const client of clients) client.destroy();
  await until(async () => sessions.size === 0, 'the end of every session');
  await until(async () => (await server.descriptors()) <= descriptors, 'the end of every descriptor');
});
