import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cidrsOverlap, parseCidr } from '../api/cidr.ts';
import type { SubnetLease } from './backend.ts';
import { choosePeers } from './peers.ts';

const own = { network: '10.244.0.0/16', subnet: '10.244.1.0/24', ip: '192.0.2.1' };
const lease = (nodeName: string, subnet: string, publicIp: string, fields: Partial<SubnetLease> = {}): SubnetLease => ({
  nodeName,
  subnet,
  publicIp,
  since: 0,
  backendType: 'vxlan',
  backendData: null,
  ...fields,
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

test('a node that comes later, whatever it is called, does not get the subnet of another', () => {
  const victim = lease('b', '10.244.2.0/24', '192.0.2.2', { since: 1_000 });
  const hostile = lease('a', '10.244.2.0/24', '192.0.2.66', { since: 2_000 });
  for (const leases of [
    [victim, hostile],
    [hostile, victim],
  ]) {
    const { peers, refused } = choosePeers(leases, own);
    expect(peers).toEqual([victim]);
    expect(refused).toEqual(['a: its subnet 10.244.2.0/24 overlaps that of node b']);
  }
});

test('a node that publishes the MAC of another does not get its packets', () => {
  const data = (VtepMAC: string) => ({ backendData: { VNI: 1, VtepMAC } });
  const victim = lease('b', '10.244.2.0/24', '192.0.2.2', { since: 1_000, ...data('02:00:00:00:00:0b') });
  const hostile = lease('a', '10.244.3.0/24', '192.0.2.66', { since: 2_000, ...data('02:00:00:00:00:0B') });
  expect(choosePeers([hostile, victim], own)).toEqual({
    peers: [victim],
    refused: ['a: its MAC 02:00:00:00:00:0b is that of node b'],
  });
});

test('of any leases, a later one that overlaps a kept one is refused, and no other', () => {
  const subnet = fc.tuple(
    fc.integer({ min: 0, max: 3 }),
    fc.integer({ min: 24, max: 27 }),
    fc.integer({ min: 0, max: 7 }),
  );
  fc.assert(
    fc.property(fc.array(subnet, { maxLength: 12 }), (subnets) => {
      const leases = subnets.map(([third, length, part], i) => {
        const first = (part * 2 ** (32 - length)) % 256;
        return lease(`n${i}`, `10.244.${8 + third}.${first}/${length}`, `192.0.2.${10 + i}`, { since: i });
      });
      const kept: SubnetLease[] = [];
      for (const l of leases) {
        if (!kept.some((k) => cidrsOverlap(parseCidr(k.subnet), parseCidr(l.subnet)))) kept.push(l);
      }
      expect(choosePeers(leases, own).peers).toEqual(kept);
    }),
  );
});
