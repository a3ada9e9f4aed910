import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import { systemClock } from '../../core/clock.ts';
import type { Exec } from '../../host/exec.ts';
import { type KernelNetwork, readKernelNetwork } from './kernel-network.ts';
import {
  expectedPeers,
  findOwnNode,
  formatNetworkStatus,
  networkStatus,
  type PeerStatus,
  readSubnetEnv,
} from './network-status.ts';
import { probe } from './probe.ts';

const signal = new AbortController().signal;
const MAC2 = '2a:00:00:00:00:02';

/** What `ip` and `bridge` print on a node with one peer over VXLAN and one behind a route of somebody else. */
const PRINTED: Readonly<Record<string, unknown>> = {
  'ip -j -d link': [
    { ifname: 'lo', mtu: 65536 },
    {
      ...{ ifname: 'flannel.1', mtu: 1450, address: '2a:00:00:00:00:01', flags: ['BROADCAST', 'UP'] },
      linkinfo: { info_kind: 'vxlan', info_data: { id: 1, link: 'eth0', local: '192.0.2.1', port: 8472 } },
    },
    { ifname: 'cilium_vxlan', mtu: 1450, linkinfo: { info_kind: 'vxlan', info_data: { id: 2, port: 8472 } } },
  ],
  'ip -j address': [
    { ifname: 'eth0', mtu: 1500, addr_info: [{ family: 'inet', local: '192.0.2.1', prefixlen: 24 }] },
    { ifname: 'cni0', mtu: 1450, addr_info: [{ family: 'inet', local: '10.244.1.1', prefixlen: 24 }] },
  ],
  'ip -j -4 route': [
    { dst: 'default', gateway: '192.0.2.254', dev: 'eth0' },
    { dst: '10.244.2.0/24', gateway: '10.244.2.0', dev: 'flannel.1', flags: ['onlink'] },
    { dst: '172.16.0.0/12', gateway: '192.0.2.253', dev: 'eth0' },
  ],
  'ip -j -6 route': [],
  'ip -j neigh show dev flannel.1': [{ dst: '10.244.2.0', lladdr: MAC2, state: ['PERMANENT'] }],
  'bridge -j fdb show dev flannel.1': [{ mac: MAC2, dst: '192.0.2.2', state: 'permanent' }],
};

const exec: Exec = async (program, args) => {
  const printed = PRINTED[[program, ...args].join(' ')];
  return { code: 0, signal: undefined, stdout: JSON.stringify(printed), stderr: '' };
};

const kernel: KernelNetwork = await readKernelNetwork(exec, 'cni0', signal);
const own = readSubnetEnv('FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\n');

function node(index: number, annotations: Record<string, string> = {}): Node {
  return {
    metadata: {
      name: `node-${index}`,
      annotations: {
        'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
        'flannel.alpha.coreos.com/public-ip': `192.0.2.${index}`,
        'flannel.alpha.coreos.com/backend-data': `{"VNI":1,"VtepMAC":"2a:00:00:00:00:0${index}"}`,
        ...annotations,
      },
    },
    spec: { podCIDR: `10.244.${index}.0/24` },
    status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${index}` }] },
  };
}

test('the kernel tells the device, and peers with their ways', () => {
  expect(kernel.devices).toEqual([
    {
      name: 'flannel.1',
      vni: 1,
      port: 8472,
      mtu: 1450,
      mac: '2a:00:00:00:00:01',
      isUp: true,
      over: 'eth0',
      local: '192.0.2.1',
    },
  ]);
  expect(kernel.peers[0]).toEqual({
    ...{ subnet: '10.244.2.0/24', gateway: '10.244.2.0', device: 'flannel.1', isOverlay: true },
    ...{ mac: MAC2, outer: '192.0.2.2' },
  });
  expect(kernel.bridgeSubnets).toEqual(['10.244.1.0/24']);
});

describe('peers', () => {
  test('are the routes into the pod network where no API server tells', () => {
    expect(expectedPeers(kernel, undefined, undefined, own)).toEqual([
      { node: null, subnet: '10.244.2.0/24', address: '192.0.2.2', way: 'vxlan', problems: [], target: '10.244.2.0' },
    ]);
  });

  test('are the other nodes where one does', () => {
    const nodes = [node(1), node(2)];
    const self = findOwnNode(nodes, kernel, 'elsewhere');
    expect(self).toBe(nodes[0]);
    expect(expectedPeers(kernel, nodes, self, own)).toEqual([
      {
        node: 'node-2',
        subnet: '10.244.2.0/24',
        address: '192.0.2.2',
        way: 'vxlan',
        problems: [],
        target: '10.244.2.0',
      },
    ]);
  });

  test.each<[string, Partial<KernelNetwork['peers'][0]> | undefined, Record<string, string>, string]>([
    ['a node that has no route', undefined, {}, 'no route to its subnet'],
    ['no ARP entry', { mac: undefined, outer: undefined }, {}, 'no ARP entry for 10.244.2.0'],
    ['no FDB entry', { outer: undefined }, {}, `no FDB entry for ${MAC2}`],
    [
      'an FDB entry of old',
      { outer: '192.0.2.77' },
      {},
      'FDB entry leads to 192.0.2.77 where the node publishes 192.0.2.2',
    ],
    [
      ...(['another MAC', {}, { 'flannel.alpha.coreos.com/backend-data': '{"VtepMAC":"2a:00:00:00:00:99"}' }] as const),
      `ARP entry has ${MAC2} where the node publishes 2a:00:00:00:00:99`,
    ],
    ['no lease', {}, { 'flannel.alpha.coreos.com/kube-subnet-manager': '' }, 'publishes no lease'],
  ])('with %s are told so', (_what, route, annotations, problem) => {
    const peers = route === undefined ? [] : [{ ...kernel.peers[0]!, ...route }];
    const nodes = [node(1), node(2, annotations)];
    expect(expectedPeers({ ...kernel, peers }, nodes, nodes[0], own)[0]!.problems).toEqual([problem]);
  });

  test('that no node has any more are shown', () => {
    const nodes = [node(1)];
    expect(expectedPeers(kernel, nodes, nodes[0], own)).toMatchObject([
      { node: null, subnet: '10.244.2.0/24', problems: ['no node has this subnet'] },
    ]);
  });
});

const answered: PeerStatus = {
  ...{ node: 'node-2', subnet: '10.244.2.0/24', address: '192.0.2.2', way: 'vxlan', problems: [] },
  probe: { target: '10.244.2.0', answers: true, tookMs: 0.42, error: null },
};
const silent: PeerStatus = {
  ...{ node: 'node-3', subnet: '10.244.3.0/24', address: null, way: null, problems: ['no route to its subnet'] },
  probe: null,
};

test('a status is healthy when every peer answers, and reads well', () => {
  const about = { node: node(1), subnets: own };
  expect(networkStatus(kernel, about, [answered], [])).toMatchObject({
    healthy: true,
    backend: 'vxlan',
    node: 'node-1',
  });
  const status = networkStatus(kernel, about, [answered, silent], []);
  expect(status.healthy).toBe(false);
  expect(formatNetworkStatus(status)).toBe(`Node node-1: subnet 10.244.1.0/24 of 10.244.0.0/16, backend vxlan
Device flannel.1: up, VNI 1, port 8472/udp, MTU 1450, 2a:00:00:00:00:01, over eth0 (192.0.2.1)

NODE    SUBNET         ADDRESS    WAY    ANSWERS
node-2  10.244.2.0/24  192.0.2.2  vxlan  yes, 0.4 ms
node-3  10.244.3.0/24  -          -      not tried; no route to its subnet

1 of 2 cannot be reached as they should.`);
});

test('a node that was given another subnet than the host works with is told', () => {
  const moved = { ...node(1), spec: { podCIDR: '10.244.9.0/24' } };
  const status = networkStatus(kernel, { node: moved, subnets: own }, [answered], []);
  expect(status.warnings).toEqual(['the Node has 10.244.9.0/24, but this host works with 10.244.1.0/24']);
  expect(status.healthy).toBe(false);
});

test('a subnet.env of both families is read, and nonsense in it left out', () => {
  const text =
    'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=nonsense\nFLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\n';
  expect(readSubnetEnv(text)).toEqual({ networks: ['10.244.0.0/16', 'fd00::/48'], subnets: ['fd00:0:0:1::/64'] });
});

test('a host answers by accepting a connection, and by refusing one', async () => {
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
  expect(await probe('127.0.0.1', 20_000, systemClock, port)).toMatchObject({ answers: true, error: null });
  await new Promise<void>((resolve) => server.close(() => resolve()));
  const refused = await probe('127.0.0.1', 20_000, systemClock, port);
  expect(refused).toMatchObject({ target: '127.0.0.1', answers: true });
  expect(refused.tookMs).toBeGreaterThanOrEqual(0);
});
