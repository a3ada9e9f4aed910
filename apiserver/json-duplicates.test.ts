import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findDuplicateFields } from './json-duplicates.ts';

test.each([
  ['{"a":1,"a":2}', ['a']],
  ['{"spec":{"x":{"b":1},"y":[{"c":1},{"c":1,"d":2,"c":3}]}}', ['spec.y[1].c']],
  ['{"a":"{\\"a\\":1","b":[[{"k":1,"k":2}]]}', ['b[0][0].k']],
  ['{"a":["a","a"],"b":"a"}', []],
  ['[{"a":1},{"a":1}]', []],
])('%s', (text, expected) => {
  expect(findDuplicateFields(text)).toEqual(expected);
});

test('what JSON.stringify wrote has no duplicates', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => findDuplicateFields(JSON.stringify(value)).length === 0));
});

test('a member written twice is found wherever it stands', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.string(), (value, key) => {
      const name = JSON.stringify(key);
      const text = `{"list":[${JSON.stringify(value)},{${name}:1,${name}:${JSON.stringify(value)}}]}`;
      return findDuplicateFields(text).join() === `list[1].${key}`;
    }),
  );
});
