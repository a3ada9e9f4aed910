import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cidrContains, formatIp, parseCidr, parseIp } from '../api/cidr.ts';
import { canonicalCidr, canonicalIp, isEndpointAddress } from './address.ts';

test.each([
  ['10.0.0.1', '10.0.0.1'],
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['010.244.001.007', '10.244.1.7'],
  ['256.0.0.1', undefined],
  ['1.2.3', undefined],
  ['1.2.3.4.5', undefined],
  ['1.2.3.4\n', undefined],
  [' 1.2.3.4', undefined],
  ['1.2.3.4 -j ACCEPT', undefined],
  ['', undefined],
  [7, undefined],
])('the IPv4 address %j is %j', (text, canonical) => {
  expect(canonicalIp(text, 4)).toBe(canonical);
  expect(canonicalIp(text, 6)).toBeUndefined();
});

test.each([
  [' 10.1.2.3/28 ', '10.1.2.0/28'],
  ['010.01.002.000/28', '10.1.2.0/28'],
  ['10.1.2.0/0', '0.0.0.0/0'],
  ['10.1.2.0/028', undefined],
  ['10.1.2.0/33', undefined],
  ['10.1.2.0', undefined],
  ['2001:db8::/32', undefined],
  ['anybody', undefined],
  [28, undefined],
])('the IPv4 network %j is %j', (text, canonical) => {
  expect(canonicalCidr(text, 4)).toBe(canonical);
});

test('IPv6 addresses have one text each', () => {
  expect(canonicalIp('FD00:0:0::1', 6)).toBe('fd00::1');
  expect(canonicalIp('fd00::1', 4)).toBeUndefined();
});

test('an IPv4 address is special for endpoints when it lies in a special network', () => {
  const special = ['0.0.0.0/32', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4'].map(parseCidr);
  const octet = fc.oneof(fc.constantFrom(0, 1, 126, 127, 128, 169, 223, 224, 239, 240, 254), fc.nat(255));
  fc.assert(
    fc.property(fc.tuple(octet, octet, octet, octet), (octets) => {
      const ip = octets.join('.');
      expect(formatIp(parseIp(ip))).toBe(canonicalIp(ip, 4));
      expect(isEndpointAddress(ip)).toBe(!special.some((cidr) => cidrContains(cidr, parseIp(ip))));
    }),
    { numRuns: 500 },
  );
});
