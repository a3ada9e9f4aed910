import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createStrategicMerge } from './strategic-diff.ts';
import { applyStrategicMerge } from './strategic-merge.ts';

const pod = {
  metadata: { name: 'web', labels: { app: 'web' }, finalizers: ['a', 'b'] },
  spec: {
    containers: [
      { name: 'one', image: 'x:1', command: ['run', 'it'], env: [{ name: 'A', value: '1' }] },
      { name: 'two', image: 'y:1' },
    ],
    volumes: [{ name: 'data', emptyDir: {} }],
    tolerations: [{ key: 'a' }, { key: 'b' }],
  },
};
const apply = (patch: unknown) => applyStrategicMerge<typeof pod>('Pod', pod, patch);
const names = (list: readonly { name: string }[]) => list.map((c) => c.name);

describe('apply', () => {
  test('maps merge, null removes, lists without a key are replaced', () => {
    const result = apply({
      metadata: { labels: { tier: 'front', app: null } },
      spec: { tolerations: [{ key: 'c' }], hostNetwork: true, missing: null },
    });
    expect(result.metadata.labels).toEqual({ tier: 'front' });
    expect(result.spec.tolerations).toEqual([{ key: 'c' }]);
    expect(result.spec).toHaveProperty('hostNetwork', true);
    expect(result.spec).not.toHaveProperty('missing');
  });

  test('keyed lists merge by key, nested ones too', () => {
    const result = apply({
      spec: { containers: [{ name: 'one', command: ['other'], env: [{ name: 'B', value: '2' }] }] },
    });
    expect(result.spec.containers[0]).toEqual({
      name: 'one',
      image: 'x:1',
      command: ['other'],
      env: [
        { name: 'B', value: '2' },
        { name: 'A', value: '1' },
      ],
    });
    expect(result.spec.containers[1]).toBe(pod.spec.containers[1]);
  });

  test('a new item comes first unless an order is given, as kubectl patch shows it', () => {
    expect(names(apply({ spec: { containers: [{ name: 'new' }] } }).spec.containers)).toEqual(['new', 'one', 'two']);
    const ordered = apply({
      spec: {
        '$setElementOrder/containers': [{ name: 'two' }, { name: 'new' }],
        containers: [{ name: 'new' }],
      },
    });
    expect(names(ordered.spec.containers)).toEqual(['one', 'two', 'new']);
  });

  test('items and maps are deleted and replaced on demand', () => {
    expect(names(apply({ spec: { containers: [{ $patch: 'delete', name: 'one' }] } }).spec.containers)).toEqual([
      'two',
    ]);
    expect(apply({ spec: { containers: [{ $patch: 'replace' }, { name: 'z' }] } }).spec.containers).toEqual([
      { name: 'z' },
    ]);
    expect(apply({ metadata: { labels: { $patch: 'replace', only: 'this', gone: null } } }).metadata.labels).toEqual({
      only: 'this',
    });
    expect(apply({ metadata: { labels: { $patch: 'delete' } } }).metadata.labels).toEqual({});
  });

  test('sets of scalars are united, cut down and ordered', () => {
    expect(apply({ metadata: { finalizers: ['c', 'a'] } }).metadata.finalizers).toEqual(['c', 'a', 'b']);
    expect(apply({ metadata: { '$deleteFromPrimitiveList/finalizers': ['a'] } }).metadata.finalizers).toEqual(['b']);
    expect(apply({ metadata: { '$setElementOrder/finalizers': ['b', 'a'] } }).metadata.finalizers).toEqual(['b', 'a']);
  });

  test('$retainKeys drops the other members', () => {
    const result = apply({
      spec: { volumes: [{ name: 'data', hostPath: { path: '/x' }, $retainKeys: ['name', 'hostPath'] }] },
    });
    expect(result.spec.volumes).toEqual([{ name: 'data', hostPath: { path: '/x' } }]);
  });

  test.each([
    ['no object', []],
    ['unknown directive', { metadata: { $patch: 'explode' } }],
    ['item without its key', { spec: { containers: [{ image: 'x' }] } }],
    ['item that is no object', { spec: { containers: ['x'] } }],
    ['$retainKeys that lacks a key', { spec: { $retainKeys: ['a'], b: 1 } }],
    ['order that lacks an item', { spec: { '$setElementOrder/containers': [], containers: [{ name: 'one' }] } }],
    [
      'items in another order than they are to have',
      {
        spec: {
          '$setElementOrder/containers': [{ name: 'a' }, { name: 'b' }],
          containers: [{ name: 'b' }, { name: 'a' }],
        },
      },
    ],
    ['order that is no list', { spec: { '$setElementOrder/containers': 'x' } }],
  ])('refuses a patch with %s', (_, patch) => {
    expect(() => apply(patch)).toThrow(expect.objectContaining({ name: 'PatchError', fault: 'BadPatch' }));
  });

  test('__proto__ is a member like any other', () => {
    const patched = applyStrategicMerge<object>('ConfigMap', {}, JSON.parse('{"data":{"__proto__":{"x":"y"}}}'));
    expect(Object.hasOwn(Reflect.get(patched, 'data') as object, '__proto__')).toBe(true);
    expect(Reflect.get({}, 'x')).toBeUndefined();
  });
});

describe('create', () => {
  test('the node status patch carries only what changed', () => {
    const status = (time: string) => ({
      status: {
        conditions: [
          { type: 'Ready', status: 'True', lastHeartbeatTime: time },
          { type: 'Disk', status: 'False' },
        ],
      },
    });
    expect(createStrategicMerge('Node', status('1'), status('2'))).toEqual({
      status: {
        conditions: [{ type: 'Ready', lastHeartbeatTime: '2' }],
        '$setElementOrder/conditions': [{ type: 'Ready' }, { type: 'Disk' }],
      },
    });
  });

  test('two addresses of one type replace the list', () => {
    const node = (...ips: string[]) => ({
      status: { addresses: ips.map((address) => ({ type: 'InternalIP', address })) },
    });
    const patch = createStrategicMerge('Node', node('10.0.0.1'), node('10.0.0.1', 'fd00::1'));
    expect(patch).toEqual({
      status: { addresses: [{ $patch: 'replace' }, ...node('10.0.0.1', 'fd00::1').status.addresses] },
    });
    expect(applyStrategicMerge('Node', node('10.0.0.1'), patch)).toEqual(node('10.0.0.1', 'fd00::1'));
  });

  test('equal objects need no patch', () => {
    expect(createStrategicMerge('Pod', pod, structuredClone(pod))).toEqual({});
  });
});

const scalar = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom('a', 'b'), fc.boolean());
const letter = fc.constantFrom('a', 'b', 'c', 'd');
const loose = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    scalar,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(letter, tie('value')),
  ),
})).value;
const keyed = (key: string, more: Record<string, fc.Arbitrary<unknown>> = {}) =>
  fc.array(fc.record({ [key]: letter, value: loose, ...more }, { requiredKeys: [key] }), { maxLength: 5 });
const podLike = fc.record(
  {
    metadata: fc.record(
      { labels: fc.dictionary(letter, letter), finalizers: fc.uniqueArray(letter), ownerReferences: keyed('uid') },
      { requiredKeys: [] },
    ),
    spec: fc.record(
      {
        containers: keyed('name', { env: keyed('name'), args: fc.array(letter) }),
        volumes: keyed('name'),
        other: loose,
      },
      { requiredKeys: [] },
    ),
    status: fc.record({ conditions: keyed('type'), podIPs: keyed('ip'), phase: letter }, { requiredKeys: [] }),
  },
  { requiredKeys: [] },
);

test('property: applying the difference gives the modified object, and changes neither input', () => {
  fc.assert(
    fc.property(podLike, podLike, (original, modified) => {
      const before = structuredClone(original);
      const patch = createStrategicMerge('Pod', original, modified);
      const patchBefore = structuredClone(patch);
      expect(applyStrategicMerge('Pod', original, patch)).toEqual(modified);
      expect(original).toEqual(before);
      expect(patch).toEqual(patchBefore);
    }),
    { numRuns: 1000 },
  );
});
