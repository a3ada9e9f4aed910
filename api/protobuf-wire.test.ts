import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WireError, WireReader, WireWriter } from './protobuf-wire.ts';

function written(write: (w: WireWriter) => void): Buffer {
  const writer = new WireWriter();
  write(writer);
  return writer.finish();
}

/** Reads until the end, stepping over everything; must end or throw WireError. */
function skipAll(bytes: Uint8Array): number {
  const reader = new WireReader(bytes);
  let fields = 0;
  while (!reader.done) {
    reader.skip(reader.tag() & 7);
    fields++;
  }
  return fields;
}

describe('what is written is read back', () => {
  test('whole numbers of every size and sign', () => {
    const big = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    fc.assert(
      fc.property(big, (n) => {
        const bytes = written((w) => w.integer(n));
        expect(new WireReader(bytes).bigint64()).toBe(n);
        expect(bytes.length).toBeLessThanOrEqual(10);
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeInteger(), (n) => {
        expect(new WireReader(written((w) => w.integer(n))).int64()).toBe(n);
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), (n) => {
        expect(new WireReader(written((w) => w.integer(n))).int32()).toBe(n);
      }),
    );
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 32 - 1 }), (n) => {
        expect(new WireReader(written((w) => w.uint32(n))).uint32()).toBe(n);
        expect(new WireReader(written((w) => w.integer(n))).uint64()).toBe(n);
      }),
    );
  });

  test('texts, bytes and doubles, however long', () => {
    const parts = fc.tuple(
      fc.string({ unit: 'grapheme', maxLength: 400 }),
      fc.uint8Array({ maxLength: 400 }),
      fc.double(),
    );
    fc.assert(
      fc.property(parts, ([text, bytes, double]) => {
        const reader = new WireReader(
          written((w) => {
            w.string(text);
            w.bytes(bytes);
            w.double(double);
          }),
        );
        expect(reader.string()).toBe(text);
        expect(Buffer.compare(reader.bytes(), bytes)).toBe(0);
        expect(Object.is(reader.double(), double)).toBe(true);
        expect(reader.done).toBe(true);
      }),
    );
  });

  test('parts of a plain Uint8Array that does not begin at its buffer', () => {
    const bytes = written((w) => {
      w.string('abc');
      w.double(1.5);
    });
    const inside = new Uint8Array(bytes.length + 7);
    inside.set(bytes, 5);
    const reader = new WireReader(inside.subarray(5, 5 + bytes.length));
    expect(reader.string()).toBe('abc');
    expect(reader.double()).toBe(1.5);
  });
});

describe('hostile bytes', () => {
  test('never hang and fail in one way only', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          expect(skipAll(bytes)).toBeLessThanOrEqual(bytes.length);
        } catch (err) {
          expect(err).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['a number without an end', [0x80]],
    ['a number of eleven bytes', [...Array(10).fill(0xff), 0x01]],
    ['no number at all', []],
  ])('%s', (_, bytes) => {
    expect(() => new WireReader(Uint8Array.from(bytes)).uint32()).toThrow(WireError);
  });

  test('lengths that reach beyond the end, also beyond 32 bits', () => {
    expect(() => new WireReader(Uint8Array.from([5, 1, 2])).bytes()).toThrow(WireError);
    const huge = written((w) => w.integer(2n ** 40n + 1n));
    expect(() => new WireReader(Buffer.concat([huge, Buffer.alloc(8)])).string()).toThrow(WireError);
    expect(() => new WireReader(Uint8Array.from([1, 2, 3])).double()).toThrow(WireError);
  });

  test('a part does not read beyond its own end', () => {
    const reader = new WireReader(Uint8Array.from([1, 0x80, 0x01]));
    expect(() => reader.message().uint32()).toThrow(WireError);
  });

  test('field number 0, groups and unknown wire types', () => {
    expect(() => new WireReader(Uint8Array.from([0x02])).tag()).toThrow(WireError);
    for (const wireType of [3, 4, 6, 7])
      expect(() => new WireReader(new Uint8Array(9)).skip(wireType)).toThrow(WireError);
  });
});
