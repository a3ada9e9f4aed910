// Subnet leases in a real etcd: what flanneld would find there, and many nodes that ask at once.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { cidrsOverlap, parseCidr } from '../../api/cidr.ts';
import { connectEtcd } from '../../cni/etcd/client.ts';
import type { EtcdKv } from '../../cni/etcd/kv.ts';
import { waitForNetConf } from '../../cni/etcd/stored-net-conf.ts';
import { EtcdSubnets } from '../../cni/etcd-subnets.ts';
import { type NetConf, parseNetConf } from '../../cni/net-conf.ts';
import type { OwnSubnets } from '../../cni/subnet-source.ts';
import { systemClock } from '../../core/clock.ts';
import { isAgentError } from '../../core/errors.ts';
import { silentLog } from '../../core/log.ts';
import { startEtcd, type TestEtcd } from '../harness/etcd.ts';

const CONF = '{"Network":"10.5.0.0/20","Backend":{"Type":"vxlan"}}';
const signal = new AbortController().signal;
const deps = { clock: systemClock, log: silentLog };
const etcd = await startEtcd().catch((err: unknown): TestEtcd | undefined => {
  if (!isAgentError(err, 'DEBIAN_PACKAGE')) throw err;
  console.warn(`SKIPPED, leases in a real etcd: ${err.message}`);
  return undefined;
});
const etcdTest = test.skipIf(etcd === undefined);
let kv: EtcdKv;

beforeAll(async () => {
  if (etcd === undefined) return;
  kv = await connectEtcd({ endpoints: ['http://127.0.0.1:1', etcd.endpoint] }); // the first one is down
});

afterAll(async () => {
  kv?.close();
  await etcd?.[Symbol.asyncDispose]();
});

function node(prefix: string, ip: string, conf: NetConf, ttlSeconds = 86_400, renewMarginMs = 3_600_000) {
  const source = new EtcdSubnets({ prefix, conf, publicIps: { v4: ip }, ttlSeconds, renewMarginMs }, { kv, ...deps });
  const announcement = {
    backendType: 'vxlan',
    v4: { publicIp: ip, backendData: { VNI: 1, VtepMAC: '02:00:00:00:00:01' } },
  };
  return { source, acquire: (previous: OwnSubnets = {}) => source.acquire(async () => announcement, previous, signal) };
}

etcdTest('net-conf is awaited, the lease has a time to live, and another node sees it come and go', async () => {
  const stop = new AbortController();
  const reading = waitForNetConf(kv, '/a', deps, signal);
  await kv.put('/a/config', CONF, '0', signal);
  const conf = (await reading)!;
  const watcher = node('/a', '192.0.2.9', conf).source;
  const watching = watcher.run(() => {}, stop.signal);
  const subnets = await node('/a', '192.0.2.1', conf).acquire({ v4: '10.5.7.0/24' });
  expect(subnets).toEqual({ v4: '10.5.7.0/24' });
  const entry = (await kv.get('/a/subnets/10.5.7.0-24', signal))!;
  expect(entry.value).toBe(
    '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}',
  );
  const left = (await kv.leaseTimeLeft(entry.leaseId, signal))!;
  expect(left).toBeGreaterThan(86_000);
  expect(left).toBeLessThanOrEqual(86_400);
  await vi.waitFor(() => expect(watcher.peers(4).map((p) => p.publicIp)).toEqual(['192.0.2.1']), 60_000);
  await kv.revokeLease(entry.leaseId, signal);
  await kv.revokeLease(entry.leaseId, signal); // twice is no error
  expect(await kv.leaseTimeLeft(entry.leaseId, signal)).toBeUndefined();
  await vi.waitFor(() => expect(watcher.peers(4)).toEqual([]), 60_000);
  stop.abort();
  await watching;
});

etcdTest('a lease is renewed before it ends, and its key stays', async () => {
  const stop = new AbortController();
  // Renewed when 98 of its 100 s are left: the renewal is awaited, not the end.
  const { source, acquire } = node('/b', '192.0.2.1', parseNetConf(CONF, 'test'), 100, 98_000);
  const running = source.run(() => {}, stop.signal);
  await acquire({ v4: '10.5.7.0/24' });
  const first = (await kv.get('/b/subnets/10.5.7.0-24', signal))!;
  await vi.waitFor(async () => {
    const now = await kv.get('/b/subnets/10.5.7.0-24', signal);
    expect(now).toMatchObject({ value: first.value, createRevision: first.createRevision });
    expect(now!.leaseId).not.toBe(first.leaseId);
  }, 120_000);
  stop.abort();
  await running;
});

etcdTest('twelve nodes that start, stop and lose leases at once never have the same subnet', async () => {
  const conf = parseNetConf(CONF, 'test');
  for (let round = 0; round < 15; round++) {
    const taken = await Promise.all(
      Array.from({ length: 12 }, (_, i) => node('/c', `192.0.2.${i + 1}`, conf).acquire()),
    );
    const subnets = taken.map((t) => parseCidr(t!.v4!));
    for (const [i, a] of subnets.entries()) {
      for (const b of subnets.slice(i + 1)) expect(cidrsOverlap(a, b)).toBe(false);
    }
    const { entries } = await kv.list('/c/subnets/', signal);
    expect(entries).toHaveLength(12);
    for (const entry of entries.slice(round % 5, 8)) await kv.revokeLease(entry.leaseId, signal);
  }
});

etcdTest('what changed meanwhile is not overwritten or deleted', async () => {
  expect(await kv.create('/d/x', 'one', '0', signal)).toBe(true);
  expect(await kv.create('/d/x', 'two', '0', signal)).toBe(false);
  const old = (await kv.get('/d/x', signal))!;
  expect(await kv.replace(old, 'three', '0', signal)).toBe(true);
  expect(await kv.replace(old, 'four', '0', signal)).toBe(false);
  expect(await kv.remove(old, signal)).toBe(false);
  expect(await kv.remove((await kv.get('/d/x', signal))!, signal)).toBe(true);
  expect(await kv.get('/d/x', signal)).toBeUndefined();
});
