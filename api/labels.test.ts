import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatLabelSelector,
  isLabelValue,
  isQualifiedName,
  type LabelRequirement,
  matchesLabels,
  parseLabelSelector,
  selectorOf,
  selectorOfMap,
} from './labels.ts';

const matches = (selector: string, labels: Record<string, string>) =>
  matchesLabels(parseLabelSelector(selector), labels);

describe('string selectors', () => {
  test.each([
    ['', { a: 'b' }, true],
    ['  ', {}, true],
    ['a=b', { a: 'b' }, true],
    ['a == b', { a: 'b' }, true],
    ['a=', { a: '' }, true],
    ['a=', {}, false],
    ['a!=b', {}, true],
    ['a!=b', { a: 'b' }, false],
    ['a in (b, c)', { a: 'c' }, true],
    ['a in(b,c)', { a: 'd' }, false],
    ['a in ()', { a: '' }, true],
    ['a notin (b,c)', {}, true],
    ['a notin (b,c)', { a: 'c' }, false],
    ['a', { a: '' }, true],
    ['!a', { a: '' }, false],
    ['! a', {}, true],
    ['a>5', { a: '6' }, true],
    ['a>5', { a: '5' }, false],
    ['a<5', { a: '-7' }, true],
    ['a<5', { a: 'x' }, false],
    ['a=b,c', { a: 'b', c: '' }, true],
    ['a=b,c', { a: 'b' }, false],
    ['in in (in)', { in: 'in' }, true],
    ['constructor', {}, false],
    ['example.com/tier=web', { 'example.com/tier': 'web' }, true],
  ])('%j on %j is %s', (selector, labels, expected) => {
    expect(matches(selector, labels)).toBe(expected);
  });

  test.each(['a=b,', ',', 'a in b', 'a in (b', '=b', 'a b', 'a>x', 'a>', '!', 'a=b=c', '-a', 'a=!b', 'a/b/c'])(
    'refuses %j',
    (text) => {
      expect(() => parseLabelSelector(text)).toThrow(/invalid label/);
    },
  );
});

test('selectors of specs: absent selects nothing, empty everything', () => {
  expect(matchesLabels(selectorOf(undefined), {})).toBe(false);
  expect(matchesLabels(selectorOf({}), undefined)).toBe(true);
  const selector = selectorOf({
    matchLabels: { app: 'web' },
    matchExpressions: [
      { key: 'tier', operator: 'NotIn', values: ['db'] },
      { key: 'canary', operator: 'DoesNotExist' },
    ],
  });
  expect(matchesLabels(selector, { app: 'web' })).toBe(true);
  expect(matchesLabels(selector, { app: 'web', tier: 'db' })).toBe(false);
  expect(matchesLabels(selector, { app: 'web', canary: '' })).toBe(false);
  expect(() => selectorOf({ matchExpressions: [{ key: 'a', operator: 'Near' }] })).toThrow(/operator/);
  expect(() => selectorOf({ matchExpressions: [{ key: 'a', operator: 'In' }] })).toThrow(/needs values/);
  expect(matchesLabels(selectorOfMap({ a: '1' }), { a: '1', b: '2' })).toBe(true);
});

test('names and values', () => {
  expect(isQualifiedName('a'.repeat(63))).toBe(true);
  expect(isQualifiedName('a'.repeat(64))).toBe(false);
  expect(isQualifiedName('UPPER.example/x')).toBe(false);
  expect(isLabelValue('')).toBe(true);
  expect(isLabelValue('-a')).toBe(false);
});

const word = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/);
const requirements: fc.Arbitrary<LabelRequirement> = fc.oneof(
  fc.record({
    key: word,
    operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const),
    values: fc.constant([]),
  }),
  fc.record({
    key: word,
    operator: fc.constantFrom('In' as const, 'NotIn' as const),
    values: fc.uniqueArray(word, { minLength: 1, maxLength: 4 }).map((v) => v.sort()),
  }),
  fc.record({
    key: word,
    operator: fc.constantFrom('Gt' as const, 'Lt' as const),
    values: fc.integer().map((n) => [String(n)]),
  }),
);

test('property: the text reads back as the same requirements', () => {
  fc.assert(
    fc.property(fc.array(requirements), (list) => {
      expect(parseLabelSelector(formatLabelSelector(list))).toEqual(list);
    }),
  );
});

test('property: NotIn is the opposite of In, DoesNotExist of Exists', () => {
  fc.assert(
    fc.property(word, word, fc.dictionary(word, word), (key, value, labels) => {
      expect(matches(`${key}!=${value}`, labels)).toBe(!matches(`${key}=${value}`, labels));
      expect(matches(`!${key}`, labels)).toBe(!matches(key, labels));
    }),
  );
});

test('property: any text is read or refused with a ParseError', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('a', '=', '!', '(', ')', ',', '<', '>', ' ', 'in', '1', '/') }),
      (text) => {
        try {
          parseLabelSelector(text);
        } catch (err) {
          expect(err).toHaveProperty('name', 'ParseError');
        }
      },
    ),
  );
});
