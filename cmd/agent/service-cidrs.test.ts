import { afterEach, expect, test, vi } from 'vitest';
import { serviceCidrs } from '../../api/resources.ts';
import { FakeApi, failure } from '../../client/fake-client.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { followServiceCidrs } from './service-cidrs.ts';

const stop = new AbortController();
afterEach(() => stop.abort());

test('ranges of the cluster are handed on together, and again as they change', async () => {
  const client = new FakeApi();
  const cidr = (name: string, ...cidrs: string[]) => ({ metadata: { name }, spec: { cidrs } });
  await client.create(serviceCidrs, {}, cidr('kubernetes', '10.96.0.0/16', 'fd00:96::/112'));
  let seen: readonly string[] = [];
  const ctx = { client, clock: systemClock, log: silentLog, standalone: false };
  const ended = followServiceCidrs(ctx, (cidrs) => (seen = [...cidrs].sort()), stop.signal);
  await vi.waitFor(() => expect(seen).toEqual(['10.96.0.0/16', 'fd00:96::/112']), 60_000);
  await client.create(serviceCidrs, {}, cidr('more', '10.97.0.0/16'));
  await vi.waitFor(() => expect(seen).toEqual(['10.96.0.0/16', '10.97.0.0/16', 'fd00:96::/112']), 60_000);
  await client.delete(serviceCidrs, { name: 'kubernetes' });
  await vi.waitFor(() => expect(seen).toEqual(['10.97.0.0/16']), 60_000);
  stop.abort();
  await ended;
});

test.each([
  ['does not have the kind', 404],
  ['keeps it from this node', 403],
])('a cluster that %s is asked once', async (_what, status) => {
  const client = new FakeApi();
  client.failNext('list', failure(status, 'no'));
  const stopped = new AbortController();
  const ctx = { client, clock: systemClock, log: silentLog, standalone: false };
  const ended = followServiceCidrs(ctx, () => expect.unreachable(), stopped.signal);
  await vi.waitFor(() => expect(client.requests.length).toBe(1), 60_000);
  stopped.abort();
  await ended;
  expect(client.requests.map((r) => r.verb)).toEqual(['list']);
});
