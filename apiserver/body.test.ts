import { expect, test } from 'vitest';
import { decodeYaml } from './body.ts';

test('YAML and the JSON that is sent as YAML give the same', () => {
  const object = { kind: 'ConfigMap', data: { a: '1', b: 'x: y' } };
  expect(decodeYaml('kind: ConfigMap\ndata:\n  a: "1"\n  b: "x: y"\n')).toEqual(object);
  expect(decodeYaml(JSON.stringify(object))).toEqual(object);
  expect(decodeYaml('{kind: ConfigMap, data: {a: "1", b: "x: y"}}')).toEqual(object);
});

// Whoever finds keys that occur twice by comparing each with each takes minutes for one request: the words tell who it was.
test.each([
  ['a: 1\nb: {c: 1, c: 2}', 'key "c" already set in map'],
  ['{a: 1, a: 2}', 'key "a" already set in map'],
  ['a: [', 'error converting YAML to JSON'],
  [`a: &a [x,x,x]\nb: &b [${'*a,'.repeat(60)}]\nc: [${'*b,'.repeat(60)}]`, 'Excessive alias count'],
])('%j is refused', (text, why) => {
  expect(() => decodeYaml(text)).toThrow(expect.objectContaining({ code: 400, message: expect.stringContaining(why) }));
});
