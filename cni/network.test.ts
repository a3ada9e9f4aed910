// What the pod network does on its own time; what it does to a kernel is in test/integration/pod-network.test.ts.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { aborted } from '../core/abort.ts';
import { AgentError } from '../core/errors.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { createLogger, silentLog } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import { parseSubnetEnv } from './conf-writer.ts';
import { PodNetwork, type PodNetworkDeps } from './network.ts';
import type { OwnSubnets, SubnetSource } from './subnet-source.ts';

const NETWORKS = { v4: '10.244.0.0/16', v6: 'fd00:244::/48' };

/** Over host-gw, of the families in `ips`. */
function makeNetwork(
  dir: string,
  ips: OwnSubnets,
  deps: Pick<PodNetworkDeps, 'source' | 'exec' | 'clock' | 'log' | 'warn'>,
  publicIps = ips,
): PodNetwork {
  const { v4, v6 } = NETWORKS;
  return new PodNetwork(
    {
      networks: { ...(ips.v4 === undefined ? {} : { v4 }), ...(ips.v6 === undefined ? {} : { v6 }) },
      backend: { type: 'host-gw', vni: 1, port: 8472, mtu: undefined, directRouting: false },
      external: { device: 'eth0', mtu: 1500, ...ips },
      publicIps,
      rules: { form: 'iptables', masquerade: true, forward: true, randomFully: false },
      cniConfDir: dir,
      subnetFile: path.join(dir, 'subnet.env'),
      bridge: 'cni0',
    },
    {
      ...deps,
      sysctl: { read: async () => '0', set: async () => true },
      follow: (_onLine, signal) => aborted(signal),
    },
  );
}

test('rules that a slow start has not made yet are missed by nobody; such that go later are told of and made again', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'pod-network-'));
  const clock = new FakeClock();
  const warnings: string[] = [];
  const log = createLogger({
    level: 'warn',
    destination: { write: (line) => void warnings.push(JSON.parse(line).msg) },
  });
  const runs: string[] = [];
  let rulesAreThere = false;
  const exec: Exec = async (program, _args, opts) => {
    const isCheck = opts?.input?.toString().includes('\n-C ') ?? false;
    if (program === 'iptables-restore') runs.push(isCheck ? 'look' : 'write');
    return { code: isCheck && !rulesAreThere ? 1 : 0, signal: undefined, stdout: '', stderr: '' };
  };
  const told = Promise.withResolvers<void>();
  const source: SubnetSource = {
    run: (_changed, signal) => aborted(signal),
    publishedMac: async () => undefined,
    acquire: async () => ({ v4: '10.244.1.0/24' }),
    publish: () => told.promise,
    peers: () => [],
    markUp: async () => {},
  };
  const network = makeNetwork(dir, { v4: '192.0.2.1' }, { source, exec, clock, log });
  const stop = new AbortController();
  const ended = network.run(stop.signal);
  try {
    await clock.advance(60_000);
    expect(runs).toEqual([]);
    told.resolve();
    await network.ready;
    rulesAreThere = true;
    expect(runs).toContain('write');
    runs.length = 0;
    await clock.advance(10_000);
    expect(runs).toEqual(['look']);
    expect(warnings).toEqual([]);
    rulesAreThere = false;
    await clock.advance(10_000);
    expect(warnings).toEqual(['somebody removed rules of the pod network, they are written anew']);
    await clock.advance(1_000);
    expect(runs.slice(0, 4)).toEqual(['look', 'look', 'look', 'write']);
  } finally {
    stop.abort();
    told.resolve();
    await ended;
    await rm(dir, { recursive: true });
  }
  expect(clock.sleeping).toBe(0);
});

test('a peer that cannot be routed to holds up neither peers of the other family nor pods of this node', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'pod-network-'));
  const routes: string[] = [];
  const exec: Exec = async (program, args, opts) => {
    const lines = opts?.input?.toString().trim() ?? '';
    if (program === 'ip' && args.includes('-batch')) routes.push(lines);
    const isRefused = lines.includes('192.0.2.2'); // "Nexthop has invalid gateway": it is on another link
    return { code: isRefused ? 1 : 0, signal: undefined, stdout: '', stderr: isRefused ? 'Command failed -:1' : '' };
  };
  const up = Promise.withResolvers<void>();
  const errors: string[] = [];
  const log = createLogger({
    level: 'error',
    destination: { write: (line) => void errors.push(JSON.parse(line).msg) },
  });
  const peer = { nodeName: 'b', since: 1, backendType: 'host-gw', backendData: null };
  const source: SubnetSource = {
    run: (_changed, signal) => aborted(signal),
    publishedMac: async () => undefined,
    acquire: async () => ({ v4: '10.244.1.0/24', v6: 'fd00:244:0:1::/64' }),
    publish: async () => {},
    peers: (version) => [
      version === 4
        ? { ...peer, subnet: '10.244.2.0/24', publicIp: '192.0.2.2' }
        : { ...peer, subnet: 'fd00:244:0:2::/64', publicIp: '2001:db8::2' },
    ],
    markUp: async () => up.resolve(),
  };
  const clock = new FakeClock();
  const ips = { v4: '192.0.2.1', v6: '2001:db8::1' };
  const network = makeNetwork(dir, ips, { source, exec, clock, log });
  const stop = new AbortController();
  const ended = network.run(stop.signal);
  try {
    await Promise.all([network.ready, up.promise]);
    expect(routes).toEqual([
      'route replace 10.244.2.0/24 via 192.0.2.2 dev eth0',
      'route replace fd00:244:0:2::/64 via 2001:db8::2 dev eth0',
    ]);
    await clock.advance(3_000);
    await vi.waitFor(() => expect(routes.filter((line) => line.includes('192.0.2.2'))).toHaveLength(2), 60_000);
    expect(errors).toEqual(['peers are not reached, will retry']); // once
  } finally {
    stop.abort();
    await ended;
    await rm(dir, { recursive: true });
  }
});

test('a node without a subnet, its name mistyped perhaps, says once that it waits', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'pod-network-'));
  const told: string[] = [];
  const log = createLogger({ level: 'info', destination: { write: (line) => void told.push(JSON.parse(line).msg) } });
  let times = 0;
  const source: SubnetSource = {
    run: (_changed, signal) => aborted(signal),
    publishedMac: async () => undefined,
    acquire: async () => {
      times++;
      return undefined;
    },
    publish: async () => {},
    peers: () => [],
    markUp: async () => {},
  };
  const exec: Exec = async () => ({ code: 0, signal: undefined, stdout: '', stderr: '' });
  const clock = new FakeClock();
  const network = makeNetwork(dir, { v4: '192.0.2.1' }, { source, exec, clock, log });
  const stop = new AbortController();
  const ended = network.run(stop.signal);
  try {
    await vi.waitFor(async () => {
      await clock.advance(60_000);
      expect(times).toBeGreaterThan(2);
    }, 60_000);
    expect(told).toEqual(['no subnet is assigned to a node of this name yet, waiting']);
  } finally {
    stop.abort();
    await ended;
    await rm(dir, { recursive: true });
  }
});

test('host-gw behind address translation is refused before anything is made: routes of peers would lead nowhere', async () => {
  const refused = Promise.withResolvers<string>();
  const never = async () => expect.fail('must not be called');
  const source: SubnetSource = {
    run: (_changed, signal) => aborted(signal),
    publishedMac: never,
    acquire: never,
    publish: never,
    peers: () => [],
    markUp: never,
  };
  const warn = (reason: string, message: string) => refused.resolve(`${reason}: ${message}`);
  const deps = { source, exec: never, clock: new FakeClock(), log: silentLog, warn };
  const network = makeNetwork('/nowhere', { v4: '192.0.2.1' }, deps, { v4: '203.0.113.1' });
  const stop = new AbortController();
  const ended = network.run(stop.signal);
  expect(await refused.promise).toMatch(/^PodNetworkFailed: host-gw .* 203\.0\.113\.1 .* 192\.0\.2\.1; use .* vxlan/);
  stop.abort();
  await ended;
});

test('a node that is given another range goes on with the one its pods have, and takes the new one when they have ended', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'pod-network-'));
  let pods = [{ ifname: 'veth0' }];
  let bridge = [{ addr_info: [{ local: '10.244.1.1', prefixlen: 24 }] }];
  const exec: Exec = async (_program, args) => {
    const asked = args.join(' ');
    if (asked === 'link delete cni0') bridge = [];
    const isBridge = asked.endsWith('addr show dev cni0');
    const answer = isBridge ? bridge : asked.endsWith('link show master cni0') ? pods : undefined;
    return { code: 0, signal: undefined, stdout: answer === undefined ? '' : JSON.stringify(answer), stderr: '' };
  };
  const assigned = { v4: '10.244.1.0/24' };
  let fault: AgentError | undefined;
  let syncs = 0;
  const warnings: string[] = [];
  let change = () => {};
  const source: SubnetSource = {
    run: (changed, signal) => {
      change = changed;
      return aborted(signal);
    },
    publishedMac: async () => undefined,
    acquire: async () => {
      if (fault !== undefined) throw fault;
      return { ...assigned };
    },
    publish: async () => void syncs++,
    peers: () => [],
    markUp: async () => {},
  };
  const clock = new FakeClock();
  const warn = (reason: string) => void warnings.push(reason);
  const network = makeNetwork(dir, { v4: '192.0.2.1' }, { source, exec, clock, log: silentLog, warn });
  const subnet = async () => parseSubnetEnv(await readFile(path.join(dir, 'subnet.env'), 'utf8')).v4;
  const rangeOfNewPods = async () =>
    /"subnet": "(.*)"/.exec(await readFile(path.join(dir, '10-nodelet.conflist'), 'utf8'))?.[1];
  const stop = new AbortController();
  const ended = network.run(stop.signal);
  try {
    await network.ready;
    assigned.v4 = '10.244.9.0/24';
    change();
    await vi.waitFor(async () => {
      await clock.advance(1_000);
      expect(warnings).toEqual(['PodCIDRChanged']);
    }, 60_000);
    expect(await subnet()).toBe('10.244.1.0/24');
    expect(await rangeOfNewPods()).toBe('10.244.9.0/24'); // the bridge plugin refuses it until the bridge is free
    assigned.v4 = '10.244.1.0/24';
    change();
    await vi.waitFor(async () => {
      await clock.advance(1_000);
      expect(await rangeOfNewPods()).toBe('10.244.1.0/24');
    }, 60_000);
    assigned.v4 = '10.244.9.0/24';
    pods = [];
    await vi.waitFor(async () => {
      await clock.advance(60_000); // nobody tells that a pod has left the bridge
      expect(await readFile(path.join(dir, '10-nodelet.conflist'), 'utf8')).toContain('10.244.9.0/24'); // written last
    }, 60_000);
    expect(bridge).toEqual([]);
    expect(warnings).toEqual(['PodCIDRChanged']);
    fault = new AgentError('no range of IPv4', { code: 'POD_CIDR', retryable: true });
    syncs = 0;
    await vi.waitFor(async () => {
      await clock.advance(60_000);
      expect(syncs).toBeGreaterThan(1);
    }, 60_000);
    expect(warnings).toEqual(['PodCIDRChanged', 'PodNetworkFailed']);
    expect(await subnet()).toBe('10.244.9.0/24');
  } finally {
    stop.abort();
    await ended;
    await rm(dir, { recursive: true });
  }
});
