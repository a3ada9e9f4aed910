import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyJsonPatch, MAX_OPERATIONS } from './json-patch.ts';
import { jsonEqual } from './json-value.ts';
import { applyMergePatch, createMergePatch } from './merge-patch.ts';

describe('JSON patch', () => {
  test.each([
    [{ a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
    [{ a: [1, 2] }, [{ op: 'add', path: '/a/1', value: 9 }], { a: [1, 9, 2] }],
    [{ a: [1] }, [{ op: 'add', path: '/a/-', value: 2 }], { a: [1, 2] }],
    [{ a: [1] }, [{ op: 'add', path: '/a/1', value: 2 }], { a: [1, 2] }],
    [{ a: 1, b: 2 }, [{ op: 'remove', path: '/a' }], { b: 2 }],
    [{ a: [1, 2] }, [{ op: 'remove', path: '/a/0' }], { a: [2] }],
    [{ a: 1 }, [{ op: 'replace', path: '/a', value: null }], { a: null }],
    [{ a: { b: 1 } }, [{ op: 'move', from: '/a/b', path: '/c' }], { a: {}, c: 1 }],
    [{ a: [1, 2, 3] }, [{ op: 'move', from: '/a/0', path: '/a/2' }], { a: [2, 3, 1] }],
    [{ a: { b: 1 } }, [{ op: 'copy', from: '/a', path: '/c' }], { a: { b: 1 }, c: { b: 1 } }],
    [
      { 'a/b': 1, 'm~n': 2, '~1': 3 },
      [
        { op: 'remove', path: '/a~1b' },
        { op: 'remove', path: '/m~0n' },
      ],
      { '~1': 3 },
    ],
    [{ '~1': 3 }, [{ op: 'test', path: '/~01', value: 3 }], { '~1': 3 }],
    [{ a: 1 }, [{ op: 'replace', path: '', value: [] }], []],
    [{ '': 1 }, [{ op: 'replace', path: '/', value: 2 }], { '': 2 }],
  ])('%j %j → %j', (value, operations, expected) => {
    const before = structuredClone(value);
    expect(applyJsonPatch(value, operations)).toEqual(expected);
    expect(value).toEqual(before);
  });

  test.each([
    [[{ op: 'remove', path: '/missing' }], 'NotApplicable'],
    [[{ op: 'replace', path: '/missing', value: 1 }], 'NotApplicable'],
    [[{ op: 'add', path: '/x/y', value: 1 }], 'NotApplicable'],
    [[{ op: 'add', path: '/list/4', value: 1 }], 'NotApplicable'],
    [[{ op: 'add', path: '/list/01', value: 1 }], 'NotApplicable'],
    [[{ op: 'remove', path: '/list/-' }], 'NotApplicable'],
    [[{ op: 'remove', path: '/constructor' }], 'NotApplicable'],
    [[{ op: 'test', path: '/a', value: 2 }], 'NotApplicable'],
    [[{ op: 'move', from: '/o', path: '/o/x' }], 'NotApplicable'],
    [[{ op: 'add', path: 'a', value: 1 }], 'BadPatch'],
    [[{ op: 'add', path: '/a' }], 'BadPatch'],
    [[{ op: 'melt', path: '/a' }], 'BadPatch'],
    [[null], 'BadPatch'],
    [{}, 'BadPatch'],
    [Array(MAX_OPERATIONS + 1).fill({ op: 'test', path: '/a', value: 1 }), 'TooLarge'],
  ])('refuses %.60j as %s', (operations, fault) => {
    expect(() => applyJsonPatch({ a: 1, list: [1], o: {} }, operations)).toThrow(expect.objectContaining({ fault }));
  });
});

describe('merge patch', () => {
  // The table of RFC 7386, appendix A.
  test.each([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j + %j → %j', (value, patch, expected) => {
    expect(applyMergePatch(value, patch)).toEqual(expected);
  });

  test('property: applying the difference gives the modified value', () => {
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.integer(),
        fc.string(),
        fc.array(tie('any')),
        fc.dictionary(fc.string(), tie('any')),
      ),
    })).any;
    const object = fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__'), value);
    fc.assert(
      fc.property(object, object, (original, modified) => {
        const before = structuredClone(original);
        expect(jsonEqual(applyMergePatch(original, createMergePatch(original, modified)), modified)).toBe(true);
        expect(original).toEqual(before);
      }),
    );
  });
});
