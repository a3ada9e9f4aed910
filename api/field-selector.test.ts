import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fieldText, formatFieldSelector, matchesFields, parseFieldSelector } from './field-selector.ts';

const pod = { metadata: { name: 'web-0' }, spec: { nodeName: 'n1', hostNetwork: true }, status: { phase: 'Running' } };
const matches = (text: string) => matchesFields(parseFieldSelector(text), (f) => fieldText(pod, f));

test.each([
  ['', true],
  ['spec.nodeName=n1', true],
  ['spec.nodeName==n1,status.phase!=Failed', true],
  ['spec.nodeName=', false],
  ['status.podIP=', true],
  ['spec.hostNetwork=true', true],
  ['metadata.name!=web-0', false],
])('%j matches: %s', (text, expected) => {
  expect(matches(text)).toBe(expected);
});

test.each(['spec.nodeName', '=a', 'a=b=c', 'a=\\x', 'a=b\\'])('refuses %j', (text) => {
  expect(() => parseFieldSelector(text)).toThrow(/invalid field selector/);
});

test('an inherited property is not a field', () => {
  expect(fieldText({}, 'constructor.name')).toBe('');
});

test('property: the text reads back as the same requirements, whatever the value', () => {
  const requirement = fc.record({
    field: fc.stringMatching(/^[a-z]{1,5}(\.[a-zA-Z]{1,5})?$/),
    operator: fc.constantFrom('=' as const, '!=' as const),
    value: fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('\\', ',', '=', 'a', '!') })),
  });
  fc.assert(
    fc.property(fc.array(requirement), (list) => {
      expect(parseFieldSelector(formatFieldSelector(list))).toEqual(list);
    }),
  );
});
