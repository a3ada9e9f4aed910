// The pod network between three nodes, each a namespace on one wire, with both IP families: real tunnels, real routes,
// full-size packets, and a node that comes back with another address.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { ApiClient, Patch } from '../../client/api-client.ts';
import { Store } from '../../client/store.ts';
import { chooseInterface, type ExternalChoice, readHostRouting } from '../../cni/external-interface.ts';
import { runFollowingNetwork } from '../../cni/following-network.ts';
import { KubeSubnets } from '../../cni/kube-subnets.ts';
import { PodNetwork, type PodNetworkOptions } from '../../cni/network.ts';
import { annotation } from '../../cni/subnet-manager.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { systemExec } from '../../host/exec.ts';
import { ipBatch } from '../../host/ip-batch.ts';
import { type FollowNetwork, networkFollower } from '../../host/ip-monitor.ts';
import { createBridge, createVeth, sysctlInNetns, TestNamespaces } from '../harness/netns.ts';

const NETWORKS = { v4: '10.244.0.0/16', v6: 'fd00:42::/56' };
const WIRE_MTU = 1500;

interface TestNode {
  readonly name: string;
  readonly netns: string;
  readonly pod: string;
  readonly podIps: readonly [string, string];
  readonly network: PodNetwork;
  readonly warnings: string[];
  /** Ends the agent; what it made stays. */
  readonly stop: () => Promise<void>;
}

let namespaces: TestNamespaces;
let nodes: Store<Node>;
let dir: string;
let version: number;
let started: TestNode[];

/** Merges annotations and conditions into the stored Node, as a strategic merge patch does. */
const api = {
  async patch(_type: unknown, { name }: { name: string }, patch: Patch) {
    const body = patch.body as Node;
    const node = nodes.get(name)!;
    put({
      ...node,
      metadata: { ...node.metadata, annotations: { ...node.metadata?.annotations, ...body.metadata?.annotations } },
      status: { ...node.status, conditions: [...(body.status?.conditions ?? node.status?.conditions ?? [])] },
    });
    return nodes.get(name)!;
  },
} as unknown as ApiClient;

function put(node: Node): void {
  nodes.set({ ...node, metadata: { ...node.metadata, resourceVersion: String(++version) } });
}

beforeEach(async () => {
  namespaces = new TestNamespaces('podnet');
  nodes = new Store<Node>();
  nodes.replace([]);
  version = 0;
  started = [];
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-podnet-'));
  const wire = await namespaces.create('wire');
  await createBridge(systemExec, wire, 'br0');
  for (const i of [1, 2, 3]) {
    put({ metadata: { name: `node-${i}` }, spec: { podCIDRs: [`10.244.${i}.0/24`, `fd00:42:0:${i}::/64`] } });
    const netns = await namespaces.create(`node-${i}`);
    const pod = await namespaces.create(`pod-${i}`);
    await createVeth(systemExec, { netns: wire, device: `port${i}`, master: 'br0' }, { netns, device: 'eth0' });
    await ipBatch(systemExec, [`address add 192.0.2.${i}/24 dev eth0`, `address add fd00:9::${i}/64 dev eth0 nodad`], {
      netns,
    });
    await createBridge(systemExec, netns, 'cni0', `10.244.${i}.1/24`);
    await ipBatch(systemExec, [`address add fd00:42:0:${i}::1/64 dev cni0 nodad`], { netns });
    await createVeth(systemExec, { netns, device: 'veth0', master: 'cni0' }, { netns: pod, device: 'eth0' });
    await ipBatch(
      systemExec,
      [
        `address add 10.244.${i}.10/24 dev eth0`,
        `address add fd00:42:0:${i}::10/64 dev eth0 nodad`,
        `route add default via 10.244.${i}.1`,
        `route add default via fd00:42:0:${i}::1`,
      ],
      { netns: pod },
    );
  }
});

afterEach(async () => {
  for (const node of started) await node.stop();
  await namespaces[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

type Backend = Omit<PodNetworkOptions['backend'], 'vni' | 'port' | 'mtu'>;

/** The pod network of node `i` over `choice`. */
function networkOf(
  i: number,
  { external, publicIps }: ExternalChoice,
  backend: Backend,
  more: { form?: 'iptables' | 'nftables'; follow?: FollowNetwork; warnings?: string[] } = {},
): PodNetwork {
  const name = `node-${i}`;
  const netns = namespaces.named(name);
  return new PodNetwork(
    {
      networks: NETWORKS,
      backend: { ...backend, vni: 1, port: 8472, mtu: undefined },
      external,
      publicIps,
      rules: { form: more.form ?? 'iptables', masquerade: true, forward: true, randomFully: true },
      cniConfDir: path.join(dir, name, 'net.d'),
      subnetFile: path.join(dir, name, 'subnet.env'),
      bridge: 'cni0',
    },
    {
      source: new KubeSubnets(
        { nodeName: name, networks: NETWORKS, annotations: annotation, setCondition: true },
        { client: api, nodes, clock: systemClock },
      ),
      exec: namespaces.exec(netns),
      sysctl: sysctlInNetns(netns),
      follow: more.follow ?? networkFollower(netns),
      clock: systemClock,
      log: silentLog,
      warn: (reason) => more.warnings?.push(reason),
    },
  );
}

async function start(
  i: number,
  backend: Backend,
  form: 'iptables' | 'nftables' = 'iptables',
  host = i,
): Promise<TestNode> {
  const name = `node-${i}`;
  const netns = namespaces.named(name);
  const ips = { v4: `192.0.2.${host}`, v6: `fd00:9::${host}` };
  const warnings: string[] = [];
  const choice = { external: { device: 'eth0', mtu: WIRE_MTU, ...ips }, publicIps: ips };
  const network = networkOf(i, choice, backend, { form, warnings });
  const controller = new AbortController();
  const running = network.run(controller.signal);
  const stop = async () => {
    controller.abort();
    await running;
  };
  const podIps = [`10.244.${i}.10`, `fd00:42:0:${i}::10`] as const;
  const node = { name, netns, pod: namespaces.named(`pod-${i}`), podIps, network, warnings, stop };
  started.push(node);
  await network.ready;
  const conflist = JSON.parse(await readFile(path.join(dir, name, 'net.d', '10-nodelet.conflist'), 'utf8'));
  const { mtu } = conflist.plugins[0];
  await ipBatch(systemExec, [`link set cni0 mtu ${mtu}`, `link set veth0 mtu ${mtu}`], { netns });
  await ipBatch(systemExec, [`link set eth0 mtu ${mtu}`], { netns: node.pod });
  return node;
}

/** One packet of `bytes` in all, and its answer. */
async function ping(node: TestNode, ip: string, bytes: number): Promise<boolean> {
  const isV6 = ip.includes(':');
  const args = [isV6 ? 'ping6' : 'ping', '-c', '1', '-W', '2', '-s', String(bytes - (isV6 ? 48 : 28)), ip];
  return (await namespaces.exec(node.pod)('/bin/busybox', args)).code === 0;
}

/** How many packets were cut in pieces in the namespaces of a node and its pod, either family. */
async function fragments(node: TestNode): Promise<number> {
  let sum = 0;
  for (const netns of [node.netns, node.pod]) {
    const { stdout } = await namespaces.exec(netns)('cat', ['/proc/net/snmp', '/proc/net/snmp6']);
    const [names, values] = stdout.split('\n').filter((line) => line.startsWith('Ip:'));
    const v4 = values!.split(' ')[names!.split(' ').indexOf('FragCreates')];
    sum += Number(v4) + Number(/Ip6FragCreates\s+(\d+)/.exec(stdout)?.[1] ?? 0);
  }
  return sum;
}

/** Every pod reaches every other with packets of exactly `mtu`, which nobody on the way cuts in pieces. */
async function expectMesh(nodesOf: readonly TestNode[], mtu: number): Promise<void> {
  for (const from of nodesOf) {
    for (const to of nodesOf.filter((n) => n !== from)) {
      for (const ip of to.podIps) {
        await vi.waitFor(async () => expect(await ping(from, ip, mtu), `${from.name} to ${ip}`).toBe(true), 60_000);
      }
    }
  }
  for (const node of nodesOf) expect(await fragments(node)).toBe(0);
  await ping(nodesOf[0]!, nodesOf[1]!.podIps[0], mtu + 1);
  expect(await fragments(nodesOf[0]!)).toBeGreaterThan(0); // the measure measures
}

async function routes(node: TestNode, family: '-4' | '-6'): Promise<string> {
  return (await namespaces.exec(node.netns)('ip', [family, 'route'])).stdout;
}

/** A node is ready before it has heard of those that come up with it. */
const routed = (node: TestNode, family: '-4' | '-6', route: string) =>
  vi.waitFor(async () => expect(await routes(node, family)).toContain(route), 60_000);

describe.each([
  ['vxlan', { type: 'vxlan', directRouting: false }, 1430, 'via 10.244.2.0 dev flannel.1 onlink'],
  ['vxlan with direct routing', { type: 'vxlan', directRouting: true }, 1430, 'via 192.0.2.2 dev eth0'],
  ['host-gw', { type: 'host-gw', directRouting: false }, 1500, 'via 192.0.2.2 dev eth0'],
] as const)('%s', (_name, backend, mtu, route) => {
  test('three nodes carry full-size packets of both families; a node that left takes its routes along', async () => {
    const all = await Promise.all([1, 2, 3].map((i) => start(i, backend)));
    await expectMesh(all, mtu);
    expect(await routes(all[0]!, '-4')).toContain(`10.244.2.0/24 ${route}`);
    nodes.delete('node-3');
    await vi.waitFor(async () => {
      for (const node of all.slice(0, 2)) {
        expect(await routes(node, '-4')).not.toContain('10.244.3.0/24');
        expect(await routes(node, '-6')).not.toContain('fd00:42:0:3::/64');
      }
    }, 60_000);
  });
});

test('nodes go from direct routes to the tunnel, of which IPv6 refuses gateways that other routes lead to', async () => {
  const direct = await Promise.all([1, 2].map((i) => start(i, { type: 'host-gw', directRouting: false })));
  await routed(direct[0]!, '-6', 'fd00:42:0:2::/64 via fd00:9::2 dev eth0');
  for (const node of direct) await node.stop();
  const tunnelled = await Promise.all([1, 2].map((i) => start(i, { type: 'vxlan', directRouting: false })));
  for (const [i, node] of tunnelled.entries()) {
    const peer = `fd00:42:0:${2 - i}::`;
    await routed(node, '-6', `${peer}/64 via ${peer} dev flannel-v6.1`);
  }
  await expectMesh(tunnelled, 1430);
  expect(await routes(tunnelled[0]!, '-6')).not.toContain('via fd00:9::2');
});

test('a node that comes back with another address is reached there', async () => {
  const backend = { type: 'vxlan', directRouting: false } as const;
  const [a, b] = [await start(1, backend), await start(2, backend)];
  await expectMesh([a, b], 1430);
  await b.stop();
  const moved = ['address delete 192.0.2.2/24 dev eth0', 'address add 192.0.2.77/24 dev eth0'];
  moved.push('address delete fd00:9::2/64 dev eth0', 'address add fd00:9::77/64 dev eth0 nodad');
  await ipBatch(systemExec, moved, { netns: b.netns });
  const again = await start(2, backend, 'iptables', 77);
  for (const ip of again.podIps) {
    await vi.waitFor(async () => expect(await ping(a, ip, 1430)).toBe(true), 60_000);
  }
  expect(nodes.get('node-2')!.metadata!.annotations![annotation.publicIp]).toBe('192.0.2.77');
});

test('a node whose address changes while its agent runs is reached there', async () => {
  const backend = { type: 'vxlan', directRouting: false } as const;
  const a = await start(1, backend);
  const netns = namespaces.named('node-2');
  const wishes = { ifaces: ['eth0'], regexes: [], publicIps: {} };
  const stop = new AbortController();
  const ended = runFollowingNetwork(
    {
      choose: async (present, s) =>
        chooseInterface(wishes, [4, 6], await readHostRouting(namespaces.exec(netns), wishes, s), present),
      make: (choice, follow) => networkOf(2, choice, backend, { follow }),
      follow: networkFollower(netns),
      clock: systemClock,
      log: silentLog,
      onReady: () => {},
    },
    stop.signal,
  );
  const publicIp = () => nodes.get('node-2')!.metadata!.annotations?.[annotation.publicIp];
  try {
    await vi.waitFor(async () => expect(await ping(a, '10.244.2.10', 1400)).toBe(true), 60_000);
    expect(publicIp()).toBe('192.0.2.2');
    const moved = ['address delete 192.0.2.2/24 dev eth0', 'address add 192.0.2.77/24 dev eth0'];
    await ipBatch(systemExec, moved, { netns });
    await vi.waitFor(() => expect(publicIp()).toBe('192.0.2.77'), 60_000);
    for (const ip of ['10.244.2.10', 'fd00:42:0:2::10']) {
      await vi.waitFor(async () => expect(await ping(a, ip, 1400)).toBe(true), 60_000);
    }
  } finally {
    stop.abort();
    await ended;
  }
});

test('another podCIDR is told to somebody while the network goes on; a start with pods on the bridge refuses it', async () => {
  const backend = { type: 'vxlan', directRouting: false } as const;
  const [a, b] = [await start(1, backend), await start(2, backend)];
  put({ ...nodes.get('node-1')!, spec: { podCIDRs: ['10.244.9.0/24', 'fd00:42:0:9::/64'] } });
  await vi.waitFor(() => expect(a.warnings).toEqual(['PodCIDRChanged']), 60_000);
  const link = await namespaces.exec(a.netns)('ip', ['-o', '-4', 'addr', 'show', 'flannel.1']);
  expect(link.stdout).toContain('10.244.1.0/32');
  const conflist = () => readFile(path.join(dir, 'node-1', 'net.d', '10-nodelet.conflist'), 'utf8');
  expect(await conflist()).toContain('"subnet": "10.244.9.0/24"'); // pods that come now wait: the bridge has another address
  await a.stop();
  const env = await readFile(path.join(dir, 'node-1', 'subnet.env'), 'utf8');
  void start(1, backend).catch(() => {}); // never gets ready
  await vi.waitFor(() => expect(started.at(-1)!.warnings).toEqual(['PodNetworkFailed']), 60_000);
  expect(await readFile(path.join(dir, 'node-1', 'subnet.env'), 'utf8')).toBe(env);
  expect((await namespaces.exec(a.netns)('ip', ['-o', 'link', 'show', 'cni0'])).code).toBe(0);
  expect(await conflist()).toContain('"subnet": "10.244.9.0/24"');
  await ipBatch(systemExec, ['link delete veth0'], { netns: a.netns }); // the last pod ends
  put({ ...nodes.get('node-1')!, spec: { podCIDRs: ['10.244.8.0/24', 'fd00:42:0:8::/64'] } });
  await vi.waitFor(async () => expect(await routes(b, '-4')).toContain('10.244.8.0/24'), 60_000);
  const subnetFile = path.join(dir, 'node-1', 'subnet.env');
  await vi.waitFor(async () => expect(await readFile(subnetFile, 'utf8')).toContain('10.244.8.1/24'), 60_000);
  expect((await namespaces.exec(a.netns)('ip', ['-o', 'link', 'show', 'cni0'])).code).not.toBe(0);
  expect(b.warnings).toEqual([]);
});

test('nftables rules come back when somebody deletes them, and replace those of iptables', async () => {
  const backend = { type: 'host-gw', directRouting: false } as const;
  const first = await start(1, backend);
  const exec = namespaces.exec(first.netns);
  expect((await exec('ip6tables', ['-t', 'nat', '-S'])).stdout).toContain('FLANNEL-POSTRTG');
  await first.stop();
  const second = await start(1, backend, 'nftables');
  expect((await exec('ip6tables', ['-t', 'nat', '-S'])).stdout).not.toContain('FLANNEL');
  const listed = async () => (await exec('nft', ['list', 'ruleset'])).stdout;
  expect(await listed()).toContain('ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random');
  await exec('nft', ['flush', 'chain', 'ip6', 'flannel-ipv6', 'postrtg']);
  await vi.waitFor(async () => expect(await listed()).toContain('ip6 daddr != ff00::/8 masquerade'), 60_000);
  await second.stop();
  await second.network.cleanup(AbortSignal.timeout(120_000));
  expect(await listed()).not.toContain('flannel');
});
