// Kubernetes quantities (500m, 1Gi, 1e3), exact: every value is a whole number of nano units in a bigint. After
// apimachinery pkg/api/resource: the finest unit is nano, finer parts round away from zero.
import { ParseError } from './parse-error.ts';

export type QuantityFormat = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

export interface Quantity {
  /** The value times 10^9. */
  readonly nanos: bigint;
  /** The family of suffixes it is printed with. */
  readonly format: QuantityFormat;
}

const NANO = 1_000_000_000n;
const MILLI_IN_NANOS = 1_000_000n;
/** Upstream caps binary quantities at the largest int64. */
const MAX_BINARY_NANOS = (2n ** 63n - 1n) * NANO;
/** Bounds on the text, so that `1e999999999` cannot eat the memory. Real quantities need 30 characters. */
const MAX_TEXT_LENGTH = 256;
const MAX_EXPONENT = 64;

const DECIMAL_SUFFIXES = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const BINARY_SUFFIXES = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const PATTERN = /^([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:([numkMGTPE]?)|([KMGTPE]i)|[eE]([+-]?\d+))$/;

export const ZERO_QUANTITY: Quantity = Object.freeze({ nanos: 0n, format: 'DecimalSI' });

/**
 * Reads a quantity; plain JSON numbers are quantities too.
 * @throws {ParseError} when the text is not a quantity.
 */
export function parseQuantity(text: string | number): Quantity {
  const source = String(text);
  const match = source.length > MAX_TEXT_LENGTH ? null : PATTERN.exec(source);
  if (match === null)
    throw new ParseError('quantity', source, 'expected a number with a suffix such as m, k, Mi or e3');
  const [, sign, digits, decimal, binary, exponent] = match;
  const negative = sign === '-';
  if (binary !== undefined) {
    const magnitude = scale(digits!, 0, 1024n ** BigInt(BINARY_SUFFIXES.indexOf(binary)));
    return binaryQuantity(negative ? -magnitude : magnitude);
  }
  const power = exponent === undefined ? (DECIMAL_SUFFIXES.indexOf(decimal!) - 3) * 3 : Number(exponent);
  if (Math.abs(power) > MAX_EXPONENT) throw new ParseError('quantity', source, 'the exponent is out of range');
  const magnitude = scale(digits!, power, 1n);
  return { nanos: negative ? -magnitude : magnitude, format: exponent === undefined ? 'DecimalSI' : 'DecimalExponent' };
}

/** `digits` × 10^power × factor in nano units, a remainder rounded up. */
function scale(digits: string, power: number, factor: bigint): bigint {
  const [whole = '', fraction = ''] = digits.split('.');
  const shift = power + 9 - fraction.length;
  const mantissa = BigInt(`${whole}${fraction}`) * factor;
  return shift >= 0 ? mantissa * 10n ** BigInt(shift) : ceilDivide(mantissa, 10n ** BigInt(-shift));
}

function binaryQuantity(nanos: bigint): Quantity {
  const capped = nanos > MAX_BINARY_NANOS ? MAX_BINARY_NANOS : nanos;
  // Fractions of one print badly in binary, so upstream turns them decimal.
  return { nanos: capped, format: capped > 0n && capped < NANO ? 'DecimalSI' : 'BinarySI' };
}

/** True when `text` is a quantity. */
export function isQuantity(text: string | number): boolean {
  try {
    parseQuantity(text);
    return true;
  } catch {
    return false; // parseQuantity throws ParseError and nothing else
  }
}

/** The canonical text: no fraction, the largest suffix of the format that allows it. */
export function formatQuantity(q: Quantity): string {
  if (q.nanos === 0n) return '0';
  if (q.format === 'BinarySI' && q.nanos % NANO === 0n && abs(q.nanos) >= 1024n * NANO) {
    const [mantissa, steps] = divideOut(q.nanos / NANO, 1024n, BINARY_SUFFIXES.length - 1);
    return `${mantissa}${BINARY_SUFFIXES[steps]}`;
  }
  if (q.format === 'DecimalExponent') {
    const [mantissa, steps] = divideOut(q.nanos, 1000n, Number.MAX_SAFE_INTEGER);
    const exponent = (steps - 3) * 3;
    return exponent === 0 ? `${mantissa}` : `${mantissa}e${exponent}`;
  }
  const [mantissa, steps] = divideOut(q.nanos, 1000n, DECIMAL_SUFFIXES.length - 1);
  return `${mantissa}${DECIMAL_SUFFIXES[steps]}`;
}

/** Divides by `base` as often as it goes without remainder, at most `most` times. */
function divideOut(value: bigint, base: bigint, most: number): readonly [bigint, number] {
  let rest = value;
  let steps = 0;
  while (steps < most && rest % base === 0n) {
    rest /= base;
    steps++;
  }
  return [rest, steps];
}

/** The canonical text of `text`: `0.5` → `500m`, `1024Mi` → `1Gi`. @throws {ParseError} */
export function canonicalQuantity(text: string | number): string {
  return formatQuantity(parseQuantity(text));
}

/** Negative, zero or positive, as for Array.sort. */
export function compareQuantities(a: Quantity, b: Quantity): number {
  return a.nanos < b.nanos ? -1 : a.nanos > b.nanos ? 1 : 0;
}

/** The sum, in the format of `a` unless that is zero. */
export function addQuantities(a: Quantity, b: Quantity): Quantity {
  return { nanos: a.nanos + b.nanos, format: a.nanos === 0n ? b.format : a.format };
}

export function subtractQuantities(a: Quantity, b: Quantity): Quantity {
  return { nanos: a.nanos - b.nanos, format: a.nanos === 0n ? b.format : a.format };
}

/** Whole units (bytes, cores), rounded up. Exact up to 2^53. */
export function quantityValue(q: Quantity): number {
  return Number(ceilDivide(q.nanos, NANO));
}

/** Thousandths (CPU millis), rounded up. Exact up to 2^53. */
export function quantityMilliValue(q: Quantity): number {
  return Number(ceilDivide(q.nanos, MILLI_IN_NANOS));
}

/** A quantity of `value` whole units, e.g. bytes with BinarySI. `value` must be an integer. */
export function quantityOf(value: number | bigint, format: QuantityFormat = 'DecimalSI'): Quantity {
  return { nanos: BigInt(value) * NANO, format };
}

/** A quantity of `millis` thousandths. `millis` must be an integer. */
export function quantityOfMillis(millis: number | bigint, format: QuantityFormat = 'DecimalSI'): Quantity {
  return { nanos: BigInt(millis) * MILLI_IN_NANOS, format };
}

/** Rounds away from zero, as upstream's scaling does: asking for a little must not become asking for nothing. */
function ceilDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  if (value % by === 0n) return quotient;
  return value > 0n ? quotient + 1n : quotient - 1n;
}

function abs(value: bigint): bigint {
  return value < 0n ? -value : value;
}
