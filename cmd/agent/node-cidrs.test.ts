import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import { Store } from '../../client/store.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { waitForNodeCidrs, watchNodeCidrs } from './node-cidrs.ts';
import type { AgentContext } from './shared.ts';

let stop: AbortController;
beforeEach(() => {
  stop = new AbortController();
});
afterEach(() => stop.abort());

function setUp() {
  const clock = new FakeClock();
  const store = new Store<Node>();
  const ctx = { clock, log: silentLog, ownNode: { store } } as unknown as AgentContext;
  let version = 0;
  const setNode = (...podCIDRs: string[]) =>
    store.set({ metadata: { name: 'a', uid: 'u', resourceVersion: String(++version) }, spec: { podCIDRs } });
  return { clock, store, ctx, setNode };
}

test('ranges are awaited until the Node has some, of either family', async () => {
  const { clock, ctx, setNode } = setUp();
  const waiting = waitForNodeCidrs(ctx, stop.signal);
  setNode();
  await clock.advance(200_000);
  setNode('10.244.1.0/24', 'fd00:244:0:1::/64');
  expect(await waiting).toEqual({ 4: '10.244.1.0/24', 6: 'fd00:244:0:1::/64' });
  expect(await waitForNodeCidrs(ctx, stop.signal)).toEqual({ 4: '10.244.1.0/24', 6: 'fd00:244:0:1::/64' });
  await clock.advance(0);
  expect(clock.sleeping).toBe(0);
});

test('a Node without a range for five minutes is an error; to be stopped is none', async () => {
  const { clock, ctx, setNode } = setUp();
  setNode();
  const waiting = waitForNodeCidrs(ctx, stop.signal);
  const refused = expect(waiting).rejects.toMatchObject({ code: 'NODE_CIDR_MISSING' });
  await clock.advance(300_000);
  await refused;
  const stopped = new AbortController();
  const another = waitForNodeCidrs(ctx, stopped.signal);
  stopped.abort();
  expect(await another).toBeUndefined();
});

test('other ranges end the process; a Node that is made again without any does not', async () => {
  const { ctx, store, setNode } = setUp();
  setNode('10.244.1.0/24');
  const watching = watchNodeCidrs(ctx, { 4: '10.244.1.0/24', 6: '' }, stop.signal);
  store.delete('a');
  setNode();
  setNode('10.244.1.0/24');
  setNode('10.244.7.0/24');
  await expect(watching).rejects.toMatchObject({
    code: 'NODE_CIDR_CHANGED',
    message: "the node's pod ranges changed from 10.244.1.0/24 to 10.244.7.0/24",
  });
  const stopped = new AbortController();
  const ended = watchNodeCidrs(ctx, { 4: '10.244.7.0/24', 6: '' }, stopped.signal);
  stopped.abort();
  await ended;
});
