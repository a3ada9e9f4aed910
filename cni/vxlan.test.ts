import { expect, test } from 'vitest';
import { deviceCommands, diffPeers, readPeer, type VxlanOptions, type VxlanPeer, vxlanDevice } from './vxlan.ts';

const opts: VxlanOptions = {
  vni: 1,
  port: 8472,
  external: { device: 'eth0', ip: '192.0.2.1', mtu: 1500 },
  network: '10.244.0.0/16',
  directRouting: false,
  previousMac: async () => undefined,
};
const SUBNET = '10.244.1.0/24';
const MAC = '02:00:00:00:00:01';
const peer: VxlanPeer = {
  subnet: '10.244.2.0/24',
  gateway: '10.244.2.0',
  mac: '02:00:00:00:00:02',
  publicIp: '192.0.2.2',
};
const inPlace = {
  routes: [{ dst: '10.244.2.0/24', gateway: '10.244.2.0' }],
  neighbours: [{ dst: '10.244.2.0', lladdr: peer.mac, state: ['PERMANENT'] }],
  fdb: [{ mac: peer.mac, dst: '192.0.2.2' }],
};
const existing = {
  ifname: 'flannel.1',
  mtu: 1450,
  address: MAC,
  flags: ['UP'],
  linkinfo: { info_kind: 'vxlan', info_data: { id: 1, link: 'eth0', local: '192.0.2.1', port: 8472 } },
  addr_info: [{ family: 'inet', local: '10.244.1.0', prefixlen: 32 }],
};

test('a device that is as it should be is left alone', () => {
  expect(deviceCommands('flannel.1', opts, SUBNET, existing, MAC)).toEqual([]);
});

test('a device over another address is made anew, with the MAC kept', () => {
  const other = { ...opts, external: { ...opts.external, ip: '192.0.2.7' } };
  expect(deviceCommands('flannel.1', other, SUBNET, existing, MAC)).toEqual([
    'link delete flannel.1',
    `link add flannel.1 address ${MAC} mtu 1450 type vxlan id 1 dev eth0 local 192.0.2.7 dstport 8472 nolearning`,
    'address add 10.244.1.0/32 dev flannel.1',
    'link set flannel.1 up',
  ]);
});

test('MTU and addresses are mended in place', () => {
  const wrong = { ...existing, mtu: 1400, addr_info: [{ family: 'inet', local: '10.244.9.0', prefixlen: 32 }] };
  expect(deviceCommands('flannel.1', opts, SUBNET, wrong, MAC)).toEqual([
    'link set flannel.1 mtu 1450',
    'address delete 10.244.9.0/32 dev flannel.1',
    'address add 10.244.1.0/32 dev flannel.1',
  ]);
});

test('IPv6 has a device of its own, with the longer header taken off its MTU and link-local addresses left alone', () => {
  const v6 = { ...opts, external: { ...opts.external, ip: 'fd00:9::1' }, network: 'fd00:42::/56' };
  const subnet = 'fd00:42:0:1::/64';
  expect(vxlanDevice(6, 1)).toBe('flannel-v6.1');
  expect(deviceCommands('flannel-v6.1', v6, subnet, undefined, MAC)).toEqual([
    `link add flannel-v6.1 address ${MAC} mtu 1430 type vxlan id 1 dev eth0 local fd00:9::1 dstport 8472 nolearning`,
    'address add fd00:42:0:1::/128 dev flannel-v6.1 nodad',
    'link set flannel-v6.1 up',
  ]);
  const there = {
    ifname: 'flannel-v6.1',
    mtu: 1430,
    flags: ['UP'],
    linkinfo: { info_kind: 'vxlan', info_data: { id: 1, link: 'eth0', local6: 'fd00:9::1', port: 8472 } },
    addr_info: [
      { family: 'inet6', local: 'fd00:42:0:1::', prefixlen: 128 },
      { family: 'inet6', local: 'fe80::1', prefixlen: 64 },
    ],
  };
  expect(deviceCommands('flannel-v6.1', v6, subnet, there, MAC)).toEqual([]);
});

test.each(['l2miss', 'gbp'])('a device with %s is made anew', (attribute) => {
  const info = { ...existing.linkinfo.info_data, [attribute]: true };
  const other = { ...existing, linkinfo: { info_kind: 'vxlan', info_data: info } };
  expect(deviceCommands('flannel.1', opts, SUBNET, other, MAC)[0]).toBe('link delete flannel.1');
});

test('peers: nothing to do, all to do, stale ones to remove', () => {
  expect(diffPeers('flannel.1', [peer], inPlace)).toEqual({ ip: [], bridge: [] });
  expect(diffPeers('flannel.1', [peer], { routes: [], neighbours: [], fdb: [] })).toEqual({
    ip: [
      `neigh replace 10.244.2.0 lladdr ${peer.mac} dev flannel.1 nud permanent`,
      'route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink',
    ],
    bridge: [`fdb replace ${peer.mac} dev flannel.1 dst 192.0.2.2 self permanent`],
  });
  expect(diffPeers('flannel.1', [], inPlace)).toEqual({
    ip: ['route delete 10.244.2.0/24 dev flannel.1', 'neigh delete 10.244.2.0 dev flannel.1'],
    bridge: [`fdb delete ${peer.mac} dev flannel.1 dst 192.0.2.2 self`],
  });
});

test.each([
  ['another backend', { backendType: 'host-gw', backendData: null }],
  ['another VNI', { backendType: 'vxlan', backendData: { VNI: 2, VtepMAC: MAC } }],
  [
    'a MAC with a command in it',
    { backendType: 'vxlan', backendData: { VNI: 1, VtepMAC: `${MAC}\nlink delete eth0` } },
  ],
  ['no data', { backendType: 'vxlan', backendData: null }],
])('a peer with %s is left out', (_what, fields) => {
  expect(
    readPeer({ nodeName: 'b', subnet: '10.244.2.0/24', publicIp: '192.0.2.2', since: 0, ...fields }, 1),
  ).toBeUndefined();
});
