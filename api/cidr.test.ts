import { isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addressBits,
  type Cidr,
  cidrContains,
  cidrCovers,
  cidrSize,
  cidrsOverlap,
  formatCidr,
  formatIp,
  hostRange,
  type IpAddress,
  isIp,
  networkOf,
  nthAddress,
  nthSubnet,
  parseCidr,
  parseInterface,
  parseIp,
  subnetCount,
} from './cidr.ts';

describe('addresses', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['1:0:0:2:2:0:0:1', '1::2:2:0:0:1'],
    ['::ffff:10.1.2.3', '::ffff:10.1.2.3'],
    ['64:ff9b::10.1.2.3', '64:ff9b::a01:203'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ])('%s → %s', (text, canonical) => {
    expect(formatIp(parseIp(text))).toBe(canonical);
  });

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.0.0.1',
    '1.2.3.4 ',
    ':',
    ':::',
    '1::2::3',
    '12345::',
    'fe80::1%eth0',
  ])('refuses %j', (text) => {
    expect(isIp(text)).toBe(false);
    expect(() => parseIp(text)).toThrow(/invalid IP/);
  });
});

test('networks', () => {
  const pods = parseCidr('10.244.7.9/16');
  expect(formatCidr(pods)).toBe('10.244.0.0/16');
  expect(formatCidr(nthSubnet(pods, 24, 3))).toBe('10.244.3.0/24');
  expect(formatCidr(nthSubnet(parseCidr('fd00::/48'), 64, 65_535))).toBe('fd00:0:0:ffff::/64');
  expect(() => nthSubnet(pods, 24, 256)).toThrow(RangeError);
  expect(() => nthSubnet(pods, 12, 0)).toThrow(RangeError);
  expect(formatIp(nthAddress(parseCidr('10.96.0.0/12'), 10))).toBe('10.96.0.10');
  expect(cidrContains(pods, parseIp('10.245.0.0'))).toBe(false);
  expect(cidrContains(pods, parseIp('::ffff:10.244.0.1'))).toBe(false);
  expect(formatIp(parseInterface('10.244.7.9/16').ip)).toBe('10.244.7.9');
});

test('host ranges leave out what a host may not have', () => {
  const range = (text: string) => {
    const { first, last } = hostRange(parseCidr(text));
    return `${formatIp(first)}-${formatIp(last)}`;
  };
  expect(range('10.244.1.0/24')).toBe('10.244.1.1-10.244.1.254');
  expect(range('fd00::/120')).toBe('fd00::1-fd00::ff');
  expect(range('10.0.0.0/31')).toBe('10.0.0.0-10.0.0.1');
  expect(range('10.0.0.7/32')).toBe('10.0.0.7-10.0.0.7');
});

test.each(['', '/', '10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/08', '10.0.0.0/-1', '10.0.0.0/8/8'])(
  'refuses %j',
  (text) => {
    expect(() => parseCidr(text)).toThrow(/invalid CIDR/);
  },
);

const addresses: fc.Arbitrary<IpAddress> = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((value) => ({ version: 4 as const, value })),
  fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((value) => ({ version: 6 as const, value })),
);
const networks: fc.Arbitrary<Cidr> = fc
  .tuple(addresses, fc.nat(128))
  .map(([ip, length]) => networkOf(ip, length % (addressBits(ip.version) + 1)));

test('property: text reads back as the same address and network, and Node accepts it', () => {
  fc.assert(
    fc.property(addresses, networks, (ip, network) => {
      expect(parseIp(formatIp(ip))).toEqual(ip);
      expect(isIP(formatIp(ip))).toBe(ip.version);
      expect(parseCidr(formatCidr(network))).toEqual(network);
    }),
  );
});

test('property: we accept exactly what Node accepts, zones apart', () => {
  const text = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ unit: fc.constantFrom(':', '.', '0', '1', 'f', 'g') }));
  fc.assert(
    fc.property(text, (t) => {
      expect(isIp(t)).toBe(isIP(t) !== 0);
    }),
  );
});

test('property: overlap means a shared address, and subnets tile their network', () => {
  fc.assert(
    fc.property(networks, networks, (a, b) => {
      const shared = a.version === b.version && a.base < b.base + cidrSize(b) && b.base < a.base + cidrSize(a);
      expect(cidrsOverlap(a, b)).toBe(shared);
    }),
  );
  fc.assert(
    fc.property(networks, fc.nat(16), fc.bigInt({ min: 0n, max: 2n ** 16n }), (network, more, at) => {
      const length = Math.min(network.prefixLength + more, addressBits(network.version));
      const index = at % subnetCount(network, length);
      const subnet = nthSubnet(network, length, index);
      expect(cidrCovers(network, subnet)).toBe(true);
      if (index > 0n) expect(cidrsOverlap(subnet, nthSubnet(network, length, index - 1n))).toBe(false);
    }),
  );
});
