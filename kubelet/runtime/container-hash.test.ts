import { expect, test } from 'vitest';
import { containerHash, fnv1a32Hex, fnv1a64Hex } from './container-hash.ts';

test('the container hash is the one an upstream kubelet stored', () => {
  expect(containerHash({ name: 'test_container', image: 'foo/image:v1' })).toBe('8e45cbd0');
});

test('name and image decide, an absent image is an empty one', () => {
  const hash = containerHash({ name: 'c', image: 'busybox' });
  expect(containerHash({ name: 'c', image: 'busybox:2' })).not.toBe(hash);
  expect(containerHash({ name: 'd', image: 'busybox' })).not.toBe(hash);
  expect(containerHash({ name: 'c' })).toBe(containerHash({ name: 'c', image: '' }));
});

// Vectors of the FNV authors (draft-eastlake-fnv, appendix C).
test.each([
  ['', '811c9dc5', 'cbf29ce484222325'],
  ['a', 'e40c292c', 'af63dc4c8601ec8c'],
  ['foobar', 'bf9cf968', '85944171f73967e8'],
])('FNV-1a of %j', (text, h32, h64) => {
  expect(fnv1a32Hex(text)).toBe(h32);
  expect(fnv1a64Hex(text)).toBe(h64);
});
