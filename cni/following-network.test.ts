import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { aborted } from '../core/abort.ts';
import { AgentError } from '../core/errors.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import type { ExternalChoice } from './external-interface.ts';
import { runFollowingNetwork } from './following-network.ts';

const choiceOf = (v4: string, device = 'eth0'): ExternalChoice => ({
  external: { device, mtu: 1500, v4 },
  publicIps: { v4 },
});

/** A host whose choice is `host.now`, and networks that tell of their life. */
function setUp(now: ExternalChoice | Error = choiceOf('192.0.2.1')) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const host = { now, looks: 0 };
  const life: string[] = [];
  let hear: (line: string) => void = () => {};
  let readies = 0;
  let running: AbortSignal;
  const ended = runFollowingNetwork(
    {
      choose: async () => {
        host.looks++;
        if (host.now instanceof Error) throw host.now;
        return host.now;
      },
      make: ({ external }, follow) => ({
        ready: Promise.resolve(),
        run: async (signal) => {
          running = signal;
          life.push(`${external.v4} on ${external.device}`);
          await follow(() => {}, signal);
          await clock.sleep(10, new AbortController().signal); // what is under way is finished
          life.push(`${external.v4} ended`);
        },
      }),
      follow: async (onLine, signal) => {
        hear = onLine;
        await aborted(signal);
      },
      clock,
      log: silentLog,
      onReady: () => readies++,
    },
    stop.signal,
  );
  const listeners = () => getEventListeners(running, 'abort').length;
  return { clock, stop, host, life, ended, hear: (line: string) => hear(line), readies: () => readies, listeners };
}

test('another address of the interface makes the network anew, once the one before has ended', async () => {
  const { clock, stop, host, life, ended, hear, readies } = setUp();
  await clock.advance(0);
  host.now = choiceOf('192.0.2.77');
  hear('Deleted 2: eth0    inet 192.0.2.1/24 scope global eth0');
  hear('2: eth0    inet 192.0.2.77/24 scope global eth0');
  await clock.advance(1_000);
  expect(life).toEqual(['192.0.2.1 on eth0']);
  await clock.advance(10);
  expect(life).toEqual(['192.0.2.1 on eth0', '192.0.2.1 ended', '192.0.2.77 on eth0']);
  expect(host.looks).toBe(2);
  expect(readies()).toBe(2);
  stop.abort();
  await clock.advance(10);
  await ended;
  expect(clock.sleeping).toBe(0);
});

test.each([
  ['default via 192.0.2.254 dev eth1', 2],
  ['2: eth0@if7: <BROADCAST,UP> mtu 1400', 2],
  ['192.0.2.9 dev eth0 lladdr 02:00:00:00:00:09 REACHABLE', 1],
  ['3: eth00    inet 198.51.100.1/24', 1],
  ['10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink', 1],
])('after "%s" the host is looked at %i times', async (line, looks) => {
  const { clock, stop, host, life, ended, hear } = setUp();
  await clock.advance(0);
  hear(line);
  await clock.advance(2_000);
  expect(host.looks).toBe(looks);
  expect(life).toEqual(['192.0.2.1 on eth0']); // nothing changed
  stop.abort();
  await clock.advance(10);
  await ended;
});

test('a host whose routes come after the agent is waited for', async () => {
  const { clock, stop, host, life, ended } = setUp(new AgentError('no default route', { code: 'NODE_ADDRESS' }));
  await clock.advance(9_000);
  expect(host.looks).toBe(4);
  expect(life).toEqual([]);
  host.now = choiceOf('192.0.2.1');
  await clock.advance(3_000);
  expect(life).toEqual(['192.0.2.1 on eth0']);
  stop.abort();
  await clock.advance(10);
  await ended;
});

test('renewed addresses, however many, leave no listeners behind', async () => {
  const { clock, stop, host, ended, hear, listeners } = setUp();
  await clock.advance(0);
  const before = listeners();
  for (let i = 0; i < 5; i++) {
    hear('2: eth0    inet 192.0.2.1/24 scope global dynamic eth0');
    await clock.advance(1_000);
  }
  expect(host.looks).toBe(6);
  expect(listeners()).toBe(before);
  stop.abort();
  await clock.advance(10);
  await ended;
});

test('an interface without an address leaves the network as it is, until there is one again', async () => {
  const { clock, stop, host, life, ended, hear } = setUp();
  await clock.advance(0);
  host.now = new Error('interface eth0 has no usable IPv4 address');
  hear('Deleted 2: eth0    inet 192.0.2.1/24');
  await clock.advance(5_000);
  expect(life).toEqual(['192.0.2.1 on eth0']);
  host.now = choiceOf('192.0.2.1');
  hear('2: eth0    inet 192.0.2.1/24');
  await clock.advance(5_000);
  expect(life).toEqual(['192.0.2.1 on eth0']);
  expect(host.looks).toBe(3);
  stop.abort();
  await clock.advance(10);
  await ended;
});
