import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addQuantities,
  canonicalQuantity,
  compareQuantities,
  formatQuantity,
  isQuantity,
  parseQuantity,
  type Quantity,
  quantityMilliValue,
  quantityOf,
  quantityOfMillis,
  quantityValue,
  subtractQuantities,
} from './quantity.ts';

const quantities: fc.Arbitrary<Quantity> = fc.record({
  nanos: fc.bigInt({ min: -(10n ** 27n), max: 10n ** 27n }),
  format: fc.constantFrom('DecimalSI', 'BinarySI', 'DecimalExponent'),
});

describe('canonical text', () => {
  test.each([
    ['0.5', '500m'],
    ['1024Mi', '1Gi'],
    ['1000m', '1'],
    ['1000Mi', '1000Mi'],
    ['1536Mi', '1536Mi'],
    ['0', '0'],
    ['0Gi', '0'],
    ['1e3', '1e3'],
    ['1E4', '10e3'],
    ['1.5Gi', '1536Mi'],
    ['0.1Ki', '102400m'],
    ['1023', '1023'],
    ['512Ki', '512Ki'],
    ['-2Ki', '-2Ki'],
    ['-1.5', '-1500m'],
    ['0.0000000001', '1n'],
    ['100u', '100u'],
    ['1000k', '1M'],
    ['2E', '2E'],
    ['1000E', '1000E'],
    ['.5', '500m'],
    ['5.', '5'],
    ['+3', '3'],
    ['0.5Ki', '512'],
    ['9223372036854775808Ki', '9223372036854775807'],
  ])('%s → %s', (text, canonical) => {
    expect(canonicalQuantity(text)).toBe(canonical);
  });

  test('JSON numbers are quantities', () => {
    expect(canonicalQuantity(2)).toBe('2');
    expect(canonicalQuantity(0.25)).toBe('250m');
    expect(canonicalQuantity(1e21)).toBe('1e21');
  });
});

test.each(['', '.', 'm', '1 Gi', '1gi', '1K', '1ki', '1e', '0x10', '1.2.3', '1e100000000', '--1', 'NaN', '1\n'])(
  'refuses %j',
  (text) => {
    expect(isQuantity(text)).toBe(false);
    expect(() => parseQuantity(text)).toThrow(/invalid quantity/);
  },
);

test('values round up, so that a little never becomes nothing', () => {
  expect(quantityValue(parseQuantity('1m'))).toBe(1);
  expect(quantityMilliValue(parseQuantity('1n'))).toBe(1);
  expect(quantityMilliValue(parseQuantity('250m'))).toBe(250);
  expect(quantityValue(parseQuantity('-1500m'))).toBe(-2);
  expect(quantityValue(parseQuantity('16Gi'))).toBe(16 * 2 ** 30);
});

test('arithmetic keeps the format of the first unless it is zero', () => {
  const gi = parseQuantity('1Gi');
  expect(formatQuantity(addQuantities(gi, quantityOf(2 ** 30)))).toBe('2Gi');
  expect(formatQuantity(addQuantities(quantityOf(0), gi))).toBe('1Gi');
  expect(formatQuantity(subtractQuantities(parseQuantity('2'), quantityOfMillis(1500)))).toBe('500m');
});

test('property: the text reads back as the same value, and is stable', () => {
  fc.assert(
    fc.property(quantities, (q) => {
      const text = formatQuantity(q);
      // Binary text is capped at int64, the only loss there is.
      fc.pre(q.format !== 'BinarySI' || q.nanos <= (2n ** 63n - 1n) * 10n ** 9n);
      expect(parseQuantity(text).nanos).toBe(q.nanos);
      expect(canonicalQuantity(text)).toBe(text);
      expect(text).not.toContain('.');
    }),
  );
});

test('property: order and sum agree with integers', () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), fc.maxSafeInteger(), (a, b) => {
      const [x, y] = [quantityOfMillis(a), quantityOfMillis(b)];
      expect(Math.sign(compareQuantities(x, y))).toBe(Math.sign(a - b));
      expect(addQuantities(x, y).nanos).toBe((BigInt(a) + BigInt(b)) * 1_000_000n);
      expect(quantityMilliValue(x)).toBe(a);
    }),
  );
});

test('property: any text is read or refused, never worse', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      if (isQuantity(text)) expect(parseQuantity(canonicalQuantity(text)).nanos).toBe(parseQuantity(text).nanos);
    }),
  );
});
