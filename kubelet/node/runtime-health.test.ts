import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { StatusResponse, VersionResponse } from '../../cri/gen/messages.ts';
import { RuntimeHealth } from './runtime-health.ts';

const version: VersionResponse = {
  version: '0.1.0',
  runtimeName: 'containerd',
  runtimeVersion: 'v2',
  runtimeApiVersion: 'v1',
};

function statusOf(network: boolean): StatusResponse {
  const condition = (type: string, status: boolean) =>
    status ? { type, status, reason: '', message: '' } : { type, status, reason: 'R', message: 'no conflist' };
  return {
    status: { conditions: [condition('RuntimeReady', true), condition('NetworkReady', network)] },
    info: {},
    runtimeHandlers: [],
  };
}

test('starting: asked again soon until the network is ready; later an outage is told after 30 s', async () => {
  const clock = new FakeClock();
  let answer: () => StatusResponse = () => statusOf(false);
  let calls = 0;
  let changes = 0;
  const health = new RuntimeHealth(
    {
      status: async () => {
        calls++;
        return answer();
      },
      version: async () => version,
    },
    { clock, log: silentLog, onChange: () => changes++ },
  );
  expect(health.runtimeErrors()).toEqual(['container runtime status check may not have completed yet']);
  const stop = new AbortController();
  const ended = health.run(stop.signal);
  await clock.advance(0);
  expect(health.version).toEqual(version);
  expect(health.runtimeErrors()).toEqual([]);
  expect(health.networkErrors()).toEqual([
    'container runtime network not ready: NetworkReady=false reason:R message:no conflist',
  ]);
  answer = () => statusOf(true);
  await clock.advance(100);
  expect(health.networkErrors()).toEqual([]);
  expect(changes).toBe(2);

  const before = calls;
  await clock.advance(10_000);
  expect(calls - before).toBeLessThanOrEqual(2); // every 5 s once ready
  answer = () => {
    throw new Error('connection refused');
  };
  await clock.advance(25_000);
  expect(health.runtimeErrors()).toEqual([]);
  await clock.advance(10_000);
  expect(health.runtimeErrors()).toEqual(['container runtime is down']);
  expect(changes).toBe(3);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});
