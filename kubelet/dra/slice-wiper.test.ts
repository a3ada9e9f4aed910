import { expect, test } from 'vitest';
import { type ResourceSlice, resourceSlices } from '../../api/resource-claims.ts';
import { FakeApi, failure } from '../../client/fake-client.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { wipeSlices } from './slice-wiper.ts';

const slice = (name: string, nodeName: string, driver: string): ResourceSlice => ({
  metadata: { name },
  spec: { nodeName, driver },
});

function setUp() {
  const api = new FakeApi();
  api.seed(resourceSlices, slice('n-a', 'n', 'a'), slice('n-b', 'n', 'b'), slice('other-a', 'other', 'a'));
  const clock = new FakeClock();
  const deps = { client: api, nodeName: 'n', clock, log: silentLog };
  const left = () => api.all(resourceSlices).map((s) => s.metadata?.name);
  return { api, clock, deps, left };
}

const signal = new AbortController().signal;

test('the slices of this node go, or those of one driver on it', async () => {
  const { deps, left } = setUp();
  await wipeSlices(deps, 'a', signal);
  expect(left()).toEqual(['n-b', 'other-a']);
  await wipeSlices(deps, undefined, signal);
  expect(left()).toEqual(['other-a']);
});

test('a failure is tried again, after ever longer, until it goes well', async () => {
  const { api, clock, deps, left } = setUp();
  for (const verb of ['list', 'delete', 'list'] as const) api.failNext(verb, failure(500, 'no'));
  const wiped = wipeSlices(deps, undefined, signal);
  for (let i = 0; i < 3; i++) await clock.advance(10_000);
  await wiped;
  expect(left()).toEqual(['other-a']);
});

test('a server without that kind has nothing to delete; an end of the agent ends it', async () => {
  const { api, clock, deps } = setUp();
  api.failNext('list', failure(404, 'the server could not find the requested resource'));
  await wipeSlices(deps, undefined, signal);
  const stop = new AbortController();
  api.failNext('list', failure(500, 'no'));
  const wiped = wipeSlices(deps, undefined, stop.signal);
  await clock.advance(0);
  stop.abort();
  await wiped;
  expect(clock.sleeping).toBe(0);
});
