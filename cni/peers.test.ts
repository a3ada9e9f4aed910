import { expect, test } from 'vitest';
import type { SubnetLease } from './backend.ts';
import { choosePeers } from './peers.ts';

const own = { network: '10.244.0.0/16', subnet: '10.244.1.0/24', ip: '192.0.2.1' };
const lease = (nodeName: string, subnet: string, publicIp: string): SubnetLease => ({
  nodeName,
  subnet,
  publicIp,
  backendType: 'vxlan',
  backendData: null,
});

test('a peer cannot take the traffic of this node, of another peer, or of the tunnel itself', () => {
  const good = lease('b', '10.244.2.0/24', '192.0.2.2');
  const bad = [
    lease('c', '10.244.1.128/25', '192.0.2.3'),
    lease('d', '10.244.2.0/25', '192.0.2.4'),
    lease('e', '10.244.5.0/24', '192.0.2.1'),
    lease('f', '10.244.6.0/24', '10.244.2.9'),
  ];
  const { peers, refused } = choosePeers([...bad, good], own);
  expect(peers).toEqual([good]);
  expect(refused).toEqual([
    "c: its subnet 10.244.1.128/25 overlaps this node's 10.244.1.0/24",
    'd: its subnet 10.244.2.0/25 overlaps that of node b',
    "e: its address 192.0.2.1 is this node's own",
    'f: its address 10.244.2.9 lies in the pod network',
  ]);
});
