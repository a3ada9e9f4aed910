import { expect, test } from 'vitest';
import { applyDefaultTag, defaultPullPolicy, parseImageRef } from './image-ref.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

test.each([
  ['busybox', { domain: '', path: 'busybox' }],
  ['library/busybox:1.36', { domain: '', path: 'library/busybox', tag: '1.36' }],
  ['reg.io/a/b', { domain: 'reg.io', path: 'a/b' }],
  ['localhost/a', { domain: 'localhost', path: 'a' }],
  ['reg:5000/a:t', { domain: 'reg:5000', path: 'a', tag: 't' }],
  ['[::1]:5000/a', { domain: '[::1]:5000', path: 'a' }],
  [`a@${DIGEST}`, { domain: '', path: 'a', digest: DIGEST }],
  [`reg.io/a:t@${DIGEST}`, { domain: 'reg.io', path: 'a', tag: 't', digest: DIGEST }],
])('%s', (image, want) => {
  expect(parseImageRef(image)).toEqual(want);
});

test.each([
  ['', 'invalid reference format'],
  ['a b', 'invalid reference format'],
  ['a:', 'invalid reference format'],
  ['a::b', 'invalid reference format'],
  ['a@sha256:12', 'invalid reference format'],
  ['-a', 'invalid reference format'],
  ['reg.io/', 'invalid reference format'],
  ['BusyBox', 'invalid reference format: repository name (library/BusyBox) must be lowercase'],
  ['a'.repeat(64), 'cannot specify 64-byte hexadecimal strings'],
  [`a/${'b'.repeat(255)}`, 'must not be more than 255 characters'],
])('%j is refused: %s', (image, why) => {
  expect(() => parseImageRef(image)).toThrow(why);
});

test.each([
  ['busybox', 'busybox:latest', 'Always'],
  ['busybox:latest', 'busybox:latest', 'Always'],
  ['reg:5000/busybox', 'reg:5000/busybox:latest', 'Always'],
  ['busybox:1', 'busybox:1', 'IfNotPresent'],
  [`busybox@${DIGEST}`, `busybox@${DIGEST}`, 'IfNotPresent'],
])('%s is pulled as %s, by default %s', (image, tagged, policy) => {
  expect(applyDefaultTag(image)).toBe(tagged);
  expect(defaultPullPolicy(image)).toBe(policy);
});
