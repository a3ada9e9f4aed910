import { mkdtempSync, rmSync } from 'node:fs';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { createApiServer } from '../test/harness/api-server.ts';
import type { ApiServer } from './apiserver.ts';
import { LOOPBACK_USER, parsePath } from './request.ts';
import { ResourceHandler } from './resource-handler.ts';
import { Warnings } from './responses.ts';
import { SchemaChecker } from './schema-check.ts';

let dir: string;
let server: ApiServer;

beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'watch-test-'));
  server = createApiServer(dir);
});
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

function watchPods(clock: FakeClock, search: string) {
  const query = new URLSearchParams(`watch=1&${search}`);
  const parsed = parsePath('GET', '/api/v1/pods', query)!;
  const request = new IncomingMessage(new Socket());
  const response = new ServerResponse(request);
  const handler = new ResourceHandler({ clock, schema: new SchemaChecker({}), protobuf: undefined });
  const run = () =>
    handler.handle({
      request,
      response,
      info: { ...parsed, user: LOOPBACK_USER, method: 'GET', query, userAgent: '' },
      endpoint: server.registry.find('', 'v1', 'pods')!,
      warnings: new Warnings(),
    });
  return { response, run };
}

test('a watch whose client left before it began ends at once, not when its time is up', async () => {
  const clock = new FakeClock();
  const { response, run } = watchPods(clock, 'allowWatchBookmarks=true');
  response.destroy();
  await new Promise(setImmediate); // its 'close' has been heard by nobody
  await run();
  expect(clock.sleeping).toBe(0);
});

test('initial events of a version that the store does not get to are refused in an event', async () => {
  const clock = new FakeClock();
  const query = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999';
  const { response, run } = watchPods(clock, query);
  const wire = new PassThrough();
  response.assignSocket(wire as unknown as Socket);
  const ended = run();
  await clock.advance(10_000);
  await ended;
  wire.end();
  const [, event] = /^(\{.*\})\r?$/m.exec(await text(wire))!;
  expect(JSON.parse(event!)).toMatchObject({ type: 'ERROR', object: { code: 504, reason: 'Timeout' } });
  expect(clock.sleeping).toBe(0);
});
