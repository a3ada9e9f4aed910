import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import { silentLog } from '../../core/log.ts';
import { UrlSource } from './url-source.ts';

let server: Server;
let answer: { status: number; body: string };
let asked: IncomingHttpHeaders[];
let published: string[][];
let broken: string[];
let wake: () => void;
let stop: AbortController;
let ended: Promise<void>;

beforeEach(async () => {
  asked = [];
  published = [];
  broken = [];
  wake = () => {};
  answer = { status: 200, body: 'a b' };
  server = createServer((request, response) => {
    asked.push(request.headers);
    response.writeHead(answer.status).end(answer.body);
    wake();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  stop.abort();
  await ended;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** An answer is the names of its pods; `!` is one that cannot be used. */
function start(headers: Record<string, string[]> = {}): void {
  const { port } = server.address() as AddressInfo;
  const source = new UrlSource(
    { url: `http://127.0.0.1:${port}/pods`, headers, checkFrequencyMs: 5 },
    {
      decode: (text) => {
        if (text.startsWith('!')) throw new Error('no pods');
        return text.split(' ').map((name) => ({ metadata: { name } }) as Pod);
      },
      onBroken: (err) => {
        broken.push(errorMessage(err));
        wake();
      },
      publish: (pods) => {
        published.push(pods.map((p) => p.metadata!.name!));
        wake();
      },
      clock: systemClock,
      log: silentLog,
    },
  );
  stop = new AbortController();
  ended = source.run(stop.signal);
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

/** Two more answers were given: the first of them has been dealt with. */
async function untilAskedAgain(): Promise<void> {
  const before = asked.length;
  await until(() => asked.length >= before + 2);
}

test('pods come with the answers, with the headers that were asked for; the same answer is no news', async () => {
  start({ 'X-Token': ['one', 'two'] });
  await until(() => published.length === 1);
  await untilAskedAgain();
  expect(published).toEqual([['a', 'b']]);
  expect(asked[0]?.['x-token']).toBe('one, two');
  answer = { status: 200, body: 'b c' };
  await until(() => published.length === 2);
  expect(published[1]).toEqual(['b', 'c']);
});

test.each([
  ['another status', { status: 500, body: 'a' }, '500 Internal Server Error'],
  ['nothing', { status: 200, body: '' }, 'zero-length data received from http://'],
  ['what is no pod', { status: 200, body: '!' }, 'no pods'],
  ['far too much', { status: 200, body: ' '.repeat((10 << 20) + 1) }, 'more than 10485760 bytes'],
])('an answer that cannot be used leaves what runs alone: %s', async (_what, bad, why) => {
  start();
  await until(() => published.length === 1);
  answer = bad;
  await until(() => broken.length > 0);
  expect(broken[0]).toContain(why);
  expect(published).toEqual([['a', 'b']]);
  answer = { status: 200, body: 'a' };
  await until(() => published.length === 2);
  expect(published[1]).toEqual(['a']);
});

test('an empty first answer: nothing is to run, and nothing waits for this source', async () => {
  answer = { status: 200, body: '' };
  start();
  await until(() => published.length > 0);
  expect(published[0]).toEqual([]);
});
