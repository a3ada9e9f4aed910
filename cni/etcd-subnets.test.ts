import { expect, test, vi } from 'vitest';
import { cidrsOverlap, parseCidr } from '../api/cidr.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import { FakeEtcd } from './etcd/fake-etcd.ts';
import { EtcdSubnets } from './etcd-subnets.ts';
import { type NetConf, parseNetConf } from './net-conf.ts';
import type { Announcement, OwnSubnets } from './subnet-source.ts';

const PREFIX = '/coreos.com/network';
const SUBNETS = `${PREFIX}/subnets/`;
const DAY_SECONDS = 86_400;
const HOUR_MS = 3_600_000;
const signal = new AbortController().signal;
const MAC = '02:00:00:00:00:01';

function confOf(more: object = {}): NetConf {
  return parseNetConf(JSON.stringify({ Network: '10.5.0.0/16', Backend: { Type: 'vxlan' }, ...more }), 'test');
}

function allocator(kv: FakeEtcd, clock: FakeClock, ip: string, conf = confOf(), random = () => 0): EtcdSubnets {
  const opts = { prefix: PREFIX, conf, publicIps: { v4: ip }, ttlSeconds: DAY_SECONDS, renewMarginMs: HOUR_MS };
  return new EtcdSubnets(opts, { kv, clock, log: silentLog, random });
}

const announce = (ip: string) => async (): Promise<Announcement> => ({
  backendType: 'vxlan',
  v4: { publicIp: ip, backendData: { VNI: 1, VtepMAC: MAC } },
});

const value = (ip: string) =>
  `{"PublicIP":"${ip}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${MAC}"}}`;

test('a lease has the key, the value and the time to live that flanneld writes', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const subnets = await allocator(kv, clock, '192.0.2.1').acquire(announce('192.0.2.1'), {}, signal);
  expect(subnets).toEqual({ v4: '10.5.1.0/24' }); // the first subnet is not given out
  expect([...kv.contents()]).toEqual([[`${SUBNETS}10.5.1.0-24`, value('192.0.2.1')]]);
  await clock.advance(DAY_SECONDS * 1000);
  expect(kv.contents().size).toBe(0);
});

test('both families share one key', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const conf = confOf({ EnableIPv6: true, IPv6Network: 'fd00:5::/56' });
  await allocator(kv, clock, '192.0.2.1', conf).acquire(announce('192.0.2.1'), {}, signal);
  expect([...kv.contents().keys()]).toEqual([`${SUBNETS}10.5.1.0-24&fd00:5:0:1::-64`]);
});

test('a node that starts again gets its lease back, with a new time to live', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const ip = '192.0.2.1';
  await allocator(kv, clock, ip, confOf(), () => 0.5).acquire(announce(ip), {}, signal);
  const before = kv.entry([...kv.contents().keys()][0]!)!;
  await clock.advance(HOUR_MS);
  const again = allocator(kv, clock, ip, confOf(), () => 0.9);
  await again.acquire(announce(ip), {}, signal);
  const after = kv.entry(before.key)!;
  expect(kv.contents().size).toBe(1);
  expect(after.leaseId).not.toBe(before.leaseId);
  expect(await kv.leaseTimeLeft(after.leaseId)).toBe(DAY_SECONDS);
  expect(await kv.leaseTimeLeft(before.leaseId)).toBeUndefined();
});

test('the subnet of an earlier run is asked for first, when it is free and still one of the network', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const get = (ip: string, previous: OwnSubnets) => allocator(kv, clock, ip).acquire(announce(ip), previous, signal);
  expect(await get('192.0.2.1', { v4: '10.5.77.0/24' })).toEqual({ v4: '10.5.77.0/24' });
  expect(await get('192.0.2.2', { v4: '10.5.77.0/24' })).toEqual({ v4: '10.5.1.0/24' });
  expect(await get('192.0.2.3', { v4: '10.6.1.0/24' })).toEqual({ v4: '10.5.2.0/24' });
});

test('a lease of this node that does not fit the configuration is given back', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  kv.set(`${SUBNETS}10.9.1.0-24`, value('192.0.2.1'));
  expect(await allocator(kv, clock, '192.0.2.1').acquire(announce('192.0.2.1'), {}, signal)).toEqual({
    v4: '10.5.1.0/24',
  });
  expect([...kv.contents().keys()]).toEqual([`${SUBNETS}10.5.1.0-24`]);
});

test('a key without a time to live is a reservation and stays one', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  kv.set(`${SUBNETS}10.5.42.0-24`, '{"PublicIP":"192.0.2.1"}');
  const own = await allocator(kv, clock, '192.0.2.1').acquire(announce('192.0.2.1'), {}, signal);
  expect(own).toEqual({ v4: '10.5.42.0/24' });
  expect(kv.entry(`${SUBNETS}10.5.42.0-24`)).toMatchObject({ leaseId: '0', value: value('192.0.2.1') });
});

test('no subnet is left: an error that says so, and nothing is written', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const conf = confOf({ Network: '10.5.0.0/22', SubnetLen: 24 });
  for (const i of [1, 2, 3]) kv.set(`${SUBNETS}10.5.${i}.0-24`, `{"PublicIP":"192.0.2.${i}"}`);
  const asked = allocator(kv, clock, '192.0.2.9', conf).acquire(announce('192.0.2.9'), {}, signal);
  await expect(asked).rejects.toMatchObject({ code: 'OUT_OF_SUBNETS' });
  expect(kv.contents().size).toBe(3);
});

test('a lease is renewed an hour before its end; one that was deleted is asked for anew', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const stop = new AbortController();
  const source = allocator(kv, clock, '192.0.2.1');
  const own = () => source.acquire(announce('192.0.2.1'), { v4: '10.5.9.0/24' }, signal);
  let changes = 0;
  const ended = source.run(() => changes++, stop.signal);
  await own();
  await clock.advance(0);
  const first = kv.entry(`${SUBNETS}10.5.9.0-24`)!;
  await clock.advance(DAY_SECONDS * 1000 - HOUR_MS - 1);
  expect(kv.entry(first.key)!.leaseId).toBe(first.leaseId);
  await clock.advance(2);
  expect(kv.entry(first.key)!.leaseId).not.toBe(first.leaseId);
  await clock.advance(2 * HOUR_MS);
  expect(kv.contents().size).toBe(1); // the old lease ended, the key stayed

  changes = 0;
  kv.delete(first.key);
  await vi.waitFor(() => expect(changes).toBeGreaterThan(0), 60_000);
  expect(await own()).toEqual({ v4: '10.5.9.0/24' });
  expect(kv.contents().size).toBe(1);
  stop.abort();
  await ended;
});

/** Two members of etcd: the first one's answers to writes that replace are lost, and the second is asked. */
class AnswersLost extends FakeEtcd {
  override async replace(...args: Parameters<FakeEtcd['replace']>): Promise<boolean> {
    await super.replace(...args);
    return await super.replace(...args);
  }
}

test('a node keeps its key when an answer of etcd is lost, as it starts again and as it renews its lease', async () => {
  const clock = new FakeClock();
  const kv = new AnswersLost(clock);
  const { key, end } = await running(clock, kv);
  const made = kv.entry(key)!;
  await end();
  const again = await running(clock, kv);
  const adopted = kv.entry(key)!;
  await clock.advance(DAY_SECONDS * 1000 - HOUR_MS + 1);
  const renewed = kv.entry(key)!;
  expect([adopted.createRevision, renewed.createRevision]).toEqual([made.createRevision, made.createRevision]);
  expect(new Set([made.leaseId, adopted.leaseId, renewed.leaseId]).size).toBe(3);
  await again.end();
});

/** A source that runs and holds 10.5.9.0/24. */
async function running(clock: FakeClock, kv: FakeEtcd) {
  const stop = new AbortController();
  const source = allocator(kv, clock, '192.0.2.1');
  const ended = source.run(() => {}, stop.signal);
  const own = () => source.acquire(announce('192.0.2.1'), { v4: '10.5.9.0/24' }, signal);
  await own();
  await clock.advance(0);
  const end = async () => {
    stop.abort();
    await ended;
  };
  return { own, key: `${SUBNETS}10.5.9.0-24`, end };
}

test('a lease that an administrator makes a reservation is left one', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const { key, end } = await running(clock, kv);
  kv.set(key, value('192.0.2.1'));
  await clock.advance(3 * DAY_SECONDS * 1000);
  expect(kv.entry(key)).toMatchObject({ leaseId: '0', value: value('192.0.2.1') });
  await end();
});

test('a reservation that an administrator gives a time to live is renewed before that ends', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const { key, end } = await running(clock, kv);
  kv.set(key, value('192.0.2.1'));
  await clock.advance(0);
  const leaseId = await kv.grantLease(3 * 3600);
  await kv.put(key, value('192.0.2.1'), leaseId);
  await clock.advance(0);
  await clock.advance(2 * HOUR_MS);
  expect(await kv.leaseTimeLeft(kv.entry(key)!.leaseId)).toBe(DAY_SECONDS);
  await end();
});

test.each([
  ['while it watches', () => {}],
  ['while its watch is broken', (kv: FakeEtcd) => kv.breakWatches()],
])("a subnet that another node has taken is that one's: %s", async (_when, lookAway) => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const { key, own, end } = await running(clock, kv);
  lookAway(kv);
  kv.delete(key);
  await kv.create(key, value('192.0.2.2'), await kv.grantLease(DAY_SECONDS));
  kv.compact();
  await clock.advance(100);
  await vi.waitFor(async () => expect(await own()).toEqual({ v4: '10.5.1.0/24' }), 60_000);
  await clock.advance(2 * DAY_SECONDS * 1000);
  expect([...kv.contents()]).toEqual([[`${SUBNETS}10.5.1.0-24`, value('192.0.2.1')]]); // nobody renews the other's
  await end();
});

test('peers come and go with their keys, whatever happens to the watch', async () => {
  const clock = new FakeClock();
  const kv = new FakeEtcd(clock);
  const stop = new AbortController();
  const source = allocator(kv, clock, '192.0.2.1');
  const ended = source.run(() => {}, stop.signal);
  const peers = () => source.peers(4).map((p) => `${p.subnet} ${p.publicIp}`);
  const add = (i: number) => kv.set(`${SUBNETS}10.5.${i}.0-24`, value(`192.0.2.${i}`));
  await clock.advance(0);
  kv.set(`${SUBNETS}nonsense`, '{}');
  kv.set(`${SUBNETS}10.5.66.0-24`, 'nonsense');
  add(2);
  add(1); // this node's own
  await vi.waitFor(() => expect(peers()).toEqual(['10.5.2.0/24 192.0.2.2']), 60_000);
  kv.breakWatches();
  kv.delete(`${SUBNETS}10.5.2.0-24`);
  add(3);
  kv.compact();
  await clock.advance(100);
  await vi.waitFor(() => expect(peers()).toEqual(['10.5.3.0/24 192.0.2.3']), 60_000);
  add(4);
  await vi.waitFor(() => expect(peers()).toHaveLength(2), 60_000);
  stop.abort();
  await ended;
});

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

test.each([
  ['IPv4', {}],
  ['both families', { EnableIPv6: true, IPv6Network: 'fd00:5::/58' }],
])(
  'five thousand operations of eight allocators never give one subnet twice: %s',
  async (_families, more) => {
    const random = seeded(20_261_121);
    const clock = new FakeClock();
    // Few subnets, so that nodes meet: 15 of them for 8 nodes.
    const conf = confOf({ Network: '10.5.0.0/20', ...more });
    const faults = { before: 0, after: 0 };
    const kv = new FakeEtcd(clock, {
      network: async (when) => {
        for (let n = Math.floor(random() * 8); n > 0; n--) await Promise.resolve(); // calls overtake each other
        if (random() > 0.03) return;
        faults[when]++;
        throw new Error(`the network failed ${when} the call`);
      },
    });
    const nodes = Array.from({ length: 8 }, (_, i) => {
      const ip = `192.0.2.${i + 1}`;
      return { ip, source: allocator(kv, clock, ip, conf, random), own: {} as OwnSubnets, isHeld: false };
    });
    let operations = 0;
    let acquired = 0;
    const act = async (node: (typeof nodes)[number]): Promise<void> => {
      operations++;
      const dice = random();
      // A restart forgets all but subnet.env, and sometimes that.
      if (dice < 0.4) Object.assign(node, { source: allocator(kv, clock, node.ip, conf, random), isHeld: false });
      // A lease that an administrator deletes, or that ends.
      if (dice > 0.5 && node.isHeld) {
        for (const [key, v] of kv.contents()) if (v.includes(`"${node.ip}"`)) kv.delete(key);
        Object.assign(node, { source: allocator(kv, clock, node.ip, conf, random), isHeld: false });
      }
      if (dice > 0.9) node.own = {};
      try {
        node.own = (await node.source.acquire(announce(node.ip), node.own, signal))!;
        node.isHeld = true;
        acquired++;
      } catch {
        node.isHeld = false; // tried again by a later operation
      }
    };
    while (operations < 5_000) {
      await Promise.all(nodes.filter(() => random() < 0.8).map(act));
      if (random() < 0.05) await clock.advance(HOUR_MS);
      const leased = [...kv.contents().values()].join();
      const holders = nodes.filter((n) => n.isHeld && leased.includes(`"${n.ip}"`));
      for (const [i, a] of holders.entries()) {
        for (const b of holders.slice(i + 1)) {
          for (const family of ['v4', 'v6'] as const) {
            const [x, y] = [a.own[family], b.own[family]];
            if (x === undefined || y === undefined || !cidrsOverlap(parseCidr(x), parseCidr(y))) continue;
            expect.fail(`after ${operations} operations ${a.ip} and ${b.ip} both have ${x}`);
          }
        }
      }
    }
    expect(acquired).toBeGreaterThan(operations / 2);
    expect(Math.min(faults.before, faults.after)).toBeGreaterThan(100);
  },
  120_000,
);
