import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import { Store } from '../../client/store.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { CriError } from '../../cri/errors.ts';
import { RuntimePodCidr } from './runtime-pod-cidr.ts';

let clock: FakeClock;
let nodes: Store<Node>;
let told: string[];
let failure: CriError | undefined;
let stop: AbortController;
let ended: Promise<void>;
let version = 0;

beforeEach(() => {
  clock = new FakeClock();
  nodes = new Store<Node>();
  told = [];
  failure = undefined;
  stop = new AbortController();
});

afterEach(async () => {
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

async function start(podCidr = ''): Promise<void> {
  const runtime = {
    updateRuntimeConfig: async (ranges: string) => {
      told.push(ranges);
      if (failure !== undefined) throw failure;
    },
  };
  ended = new RuntimePodCidr(podCidr, { runtime, nodes, clock, log: silentLog }).run(stop.signal);
  await clock.advance(0);
}

async function setNode(...podCIDRs: string[]): Promise<void> {
  nodes.set({ metadata: { name: 'node-1', resourceVersion: String(++version) }, spec: { podCIDRs } });
  await clock.advance(0);
}

test('the runtime is told once, and again when the Node has other ranges', async () => {
  await start();
  await setNode();
  expect(told).toEqual([]);
  await setNode('10.244.1.0/24', 'fd00:244:0:1::/64');
  await setNode('10.244.1.0/24', 'fd00:244:0:1::/64');
  expect(told).toEqual(['10.244.1.0/24,fd00:244:0:1::/64']);
  await setNode(); // deleted and registered again
  await setNode('10.244.7.0/24');
  expect(told.slice(1)).toEqual(['10.244.7.0/24']);
});

test('until there is a Node the configured range counts', async () => {
  await start('10.1.0.0/24');
  expect(told).toEqual(['10.1.0.0/24']);
  await setNode('10.244.1.0/24');
  expect(told).toEqual(['10.1.0.0/24', '10.244.1.0/24']);
});

test('a runtime that fails is told again, one that has no such call is not', async () => {
  failure = new CriError('UpdateRuntimeConfig', 'UNAVAILABLE', 'restarting');
  await start();
  await setNode('10.244.1.0/24');
  await clock.advance(9_999);
  expect(told).toHaveLength(1);
  failure = undefined;
  await clock.advance(1);
  expect(told).toEqual(['10.244.1.0/24', '10.244.1.0/24']);
  failure = new CriError('UpdateRuntimeConfig', 'UNIMPLEMENTED', 'unknown method');
  await setNode('10.244.2.0/24');
  await clock.advance(60_000);
  expect(told.slice(2)).toEqual(['10.244.2.0/24']);
});
