import { expect, test } from 'vitest';
import { clusterIp, endpointIp } from './objects.ts';

test('no two Services and no two endpoints share an address', () => {
  const seen = new Set<string>();
  for (let i = 0; i < 30_000; i++) {
    seen.add(clusterIp(i));
    for (let n = 0; n < 3; n++) seen.add(endpointIp(i, n));
  }
  expect(seen.size).toBe(120_000);
  expect([...seen].every((ip) => ip.split('.').every((octet) => Number(octet) <= 255))).toBe(true);
});
