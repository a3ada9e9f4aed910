import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MalformedMessage, readName } from './wire.ts';

test('a compressed name is read through its pointers', () => {
  const packet = Buffer.from('\x05local\x00\x07Cluster\xc0\x00\x03svc\xc0\x07', 'latin1');
  expect(readName(packet, 17, 'compressed')).toEqual({ labels: ['svc', 'cluster', 'local'], end: 23 });
  expect(() => readName(packet, 17, 'plain')).toThrow(MalformedMessage);
});

test.each([
  ['to itself', 'c000', 0],
  ['in a circle', '0161c000', 0],
  ['forwards', 'c00200', 0],
  ['behind the end', '00c0', 1],
])('a pointer %s is refused', (_where, hex, offset) => {
  expect(() => readName(Buffer.from(hex, 'hex'), offset, 'compressed')).toThrow(MalformedMessage);
});

test('property: any bytes are a name within its limits or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(400), (bytes, offset) => {
      try {
        const { labels } = readName(Buffer.from(bytes), offset, 'compressed');
        expect(labels.every((l) => l.length > 0 && l.length <= 63)).toBe(true);
        expect(labels.reduce((sum, l) => sum + l.length + 1, 1)).toBeLessThanOrEqual(255);
      } catch (err) {
        if (!(err instanceof MalformedMessage)) throw err;
      }
    }),
    { numRuns: 2000 },
  );
});
