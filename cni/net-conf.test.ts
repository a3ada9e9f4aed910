import { expect, test } from 'vitest';
import { formatCidr } from '../api/cidr.ts';
import { parseNetConf, type SubnetPlan, subnetFault } from './net-conf.ts';

const VXLAN = { Backend: { Type: 'vxlan' } };

function planOf(conf: object): string {
  const { v4, v6 } = parseNetConf(JSON.stringify({ ...VXLAN, ...conf }), 'test');
  const show = (p: SubnetPlan | undefined) =>
    p === undefined ? [] : [`${formatCidr(p.network)} ${formatCidr(p.first)} ${formatCidr(p.last)}`];
  return [...show(v4), ...show(v6)].join('; ');
}

test.each([
  [{ Network: '10.5.0.0/16' }, '10.5.0.0/16 10.5.1.0/24 10.5.255.0/24'],
  [{ Network: '10.5.0.0/23' }, '10.5.0.0/23 10.5.0.128/25 10.5.1.128/25'],
  [{ Network: '10.5.0.0/16', SubnetLen: 20 }, '10.5.0.0/16 10.5.16.0/20 10.5.240.0/20'],
  [{ Network: '10.5.0.0/16', SubnetMin: '10.5.10.0', SubnetMax: '10.5.20.0' }, '10.5.0.0/16 10.5.10.0/24 10.5.20.0/24'],
  [{ EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fd00:5::/56' }, 'fd00:5::/56 fd00:5:0:1::/64 fd00:5:0:ff::/64'],
])('subnets of %j', (conf, expected) => {
  expect(planOf(conf)).toBe(expected);
});

test.each([
  ['{', /is not JSON/],
  ['[]', /expected an object/],
  ['{"Network":"10.5.0.0/29","Backend":{"Type":"vxlan"}}', /Network: 10.5.0.0\/29 is too small/],
  ['{"Network":"10.5.0.0/16","SubnetLen":31,"Backend":{"Type":"vxlan"}}', /SubnetLen: expected a whole number from 18/],
  ['{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0","Backend":{"Type":"vxlan"}}', /SubnetMin: expected the address/],
  ['{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.128","Backend":{"Type":"vxlan"}}', /SubnetMin: expected the address/],
  [
    '{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.8.0","Backend":{"Type":"vxlan"}}',
    /SubnetMin: expected at most SubnetMax/,
  ],
  ['{"Network":"fd00::/56","Backend":{"Type":"vxlan"}}', /Network: expected an IPv4 range/],
  ['{"EnableIPv4":false,"Backend":{"Type":"vxlan"}}', /expected one of them to be true/],
  ['{"Network":"10.5.0.0/16"}', /Backend.Type: expected vxlan, host-gw or none, got nothing, which means udp/],
  ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":99999999}}', /Backend.VNI: expected a whole number/],
  ['{"Network":"x","Backend":{"Type":"vxlan","Learning":true}}', /Network: .*; Backend.Learning: expected false/],
])('%s is refused with every fault', (text, problem) => {
  expect(() => parseNetConf(text, 'test')).toThrow(problem);
});

test.each([
  ['10.244.1.0/24', '192.0.2.1', undefined],
  ['10.245.1.0/24', '192.0.2.1', /is not inside the pod network/],
  ['10.0.0.0/8', '192.0.2.1', /is not inside the pod network/],
  ['10.244.1.4/31', '192.0.2.1', /is too small/],
  ['10.244.1.0/24', '10.244.7.7', /holds this node's own address/],
])('podCIDR %s on a node with %s', (subnet, ip, problem) => {
  const fault = subnetFault('10.244.0.0/16', subnet, ip);
  if (problem === undefined) expect(fault).toBeUndefined();
  else expect(fault).toMatch(problem);
});
