import { expect, test } from 'vitest';
import type { KubeObject } from '../api/meta.ts';
import { leases, nodes, pods } from '../api/resources.ts';
import schemaTable from './gen/schema.json' with { type: 'json' };
import { SchemaChecker, type TypeTable } from './schema-check.ts';

const checker = new SchemaChecker(schemaTable as TypeTable);
const pod = (spec: object): KubeObject => ({ kind: 'Pod', metadata: { name: 'p' }, spec }) as KubeObject;
const check = (object: KubeObject) => checker.normalise(object, 'core/v1.Pod', pods);

test('names and drops unknown members at any depth', () => {
  const object = pod({ foo: 1, containers: [{ name: 'c', imagee: 'x', ports: [{ containerPort: 1, hots: 2 }] }] });
  expect(check(object)).toEqual(['spec.foo', 'spec.containers[0].imagee', 'spec.containers[0].ports[0].hots']);
  expect(object).toEqual(pod({ containers: [{ name: 'c', ports: [{ containerPort: 1 }] }] }));
});

test('keys of maps are free, their values are not', () => {
  const object = pod({ nodeSelector: { 'a/b': 'c' } });
  expect(check(object)).toEqual([]);
  expect(() => check(pod({ nodeSelector: { a: 1 } }))).toThrow(
    'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field Pod.spec.nodeSelector.a of type string',
  );
});

test('quantities and times get their canonical text', () => {
  const object = pod({ containers: [{ resources: { limits: { cpu: '0.5', memory: '1024Mi' } } }] });
  check(object);
  expect(object).toMatchObject({ spec: { containers: [{ resources: { limits: { cpu: '500m', memory: '1Gi' } } }] } });
  const lease = {
    spec: { renewTime: '2026-01-02T03:04:05.123456Z', acquireTime: '2026-01-02T03:04:05Z' },
  } as KubeObject;
  checker.normalise(lease, 'coordination/v1.Lease', leases);
  expect(lease).toEqual({
    spec: { renewTime: '2026-01-02T03:04:05.123456Z', acquireTime: '2026-01-02T03:04:05.000000Z' },
  });
});

test('null is absence', () => {
  const object = {
    metadata: { name: 'n', creationTimestamp: null },
    status: { addresses: null },
  } as unknown as KubeObject;
  checker.normalise(object, 'core/v1.Node', nodes);
  expect(object).toEqual({ metadata: { name: 'n' }, status: {} });
});

test.each([
  { containers: {} },
  { containers: [1] },
  { hostNetwork: 'yes' },
  { priority: 1.5 },
  { overhead: { cpu: 'x' } },
])('refuses a value of the wrong type: %j', (spec) => {
  expect(() => check(pod(spec))).toThrow(expect.objectContaining({ code: 400 }));
});

test('every kind in the registry has a schema', async () => {
  const { allKinds } = await import('./registry/kinds/all.ts');
  const { ServiceAllocator, DEFAULT_NODE_PORTS } = await import('./registry/service-allocator.ts');
  const kinds = allKinds(new ServiceAllocator({ serviceCidr: '10.0.0.0/24', ...DEFAULT_NODE_PORTS }));
  const without = kinds.filter((k) => !Object.hasOwn(schemaTable, k.schema ?? '')).map((k) => k.schema);
  expect(without).toEqual([]);
});
