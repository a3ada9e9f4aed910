import { describe, expect, test } from 'vitest';
import type { AnyObject } from '../definition.ts';
import { resourceKinds } from '../kinds/resource-claims.ts';
import {
  claimStatusFaults,
  claimUpdateFaults,
  deviceClassFaults,
  resourceClaimFaults,
  resourceClaimTemplateFaults,
  resourceSliceFaults,
  resourceSliceUpdateFaults,
} from './resource-claims.ts';

const texts = (faults: readonly { field: string; message: string }[]) => faults.map((f) => `${f.field}: ${f.message}`);
const claim = (...requests: object[]): AnyObject => ({ spec: { devices: { requests } } });
const kind = (plural: string) => resourceKinds.find((k) => k.type.plural === plural)!;

test('a request wants one device, unless it says otherwise', () => {
  const object = claim(
    { name: 'a', exactly: { deviceClassName: 'c' } },
    { name: 'b', exactly: { deviceClassName: 'c', allocationMode: 'All' } },
    { name: 'c', firstAvailable: [{ name: 'x', deviceClassName: 'c', count: 2 }] },
  );
  kind('resourceclaims').defaults?.(object);
  expect(object.spec.devices.requests).toEqual([
    { name: 'a', exactly: { deviceClassName: 'c', allocationMode: 'ExactCount', count: 1 } },
    { name: 'b', exactly: { deviceClassName: 'c', allocationMode: 'All' } },
    { name: 'c', firstAvailable: [{ name: 'x', deviceClassName: 'c', allocationMode: 'ExactCount', count: 2 }] },
  ]);
  expect(resourceClaimFaults(object)).toEqual([]);
  const template = { spec: object } as AnyObject;
  kind('resourceclaimtemplates').defaults?.(template);
  expect(resourceClaimTemplateFaults(template)).toEqual([]);
});

test.each([
  [{}, /^spec.devices.requests\[0\].name: Required value$/m],
  [
    { name: 'UP', exactly: { deviceClassName: 'c' } },
    /requests\[0\].name: Invalid value: "UP": a lowercase RFC 1123 label/,
  ],
  [{ name: 'a' }, /requests\[0\]: Required value: exactly one of `exactly` or `firstAvailable` is required/],
  [{ name: 'a', exactly: { deviceClassName: 'c' }, firstAvailable: [{}] }, /multiple fields are set/],
  [{ name: 'a', exactly: {} }, /requests\[0\].exactly.deviceClassName: Required value/],
  [
    { name: 'a', exactly: { deviceClassName: 'c', allocationMode: 'Some' } },
    /allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"/,
  ],
  [{ name: 'a', exactly: { deviceClassName: 'c', count: -1 } }, /count: Invalid value: -1: must be greater than zero/],
  [{ name: 'a', exactly: { deviceClassName: 'c', allocationMode: 'All', count: 1 } }, /must not be specified when/],
])('a request that is refused: %j', (request, text) => {
  const object = claim(request);
  kind('resourceclaims').defaults?.(object);
  expect(texts(resourceClaimFaults(object)).join('\n')).toMatch(text);
});

test('two requests of one name, and more requests than a claim may have', () => {
  const one = { name: 'a', exactly: { deviceClassName: 'c', allocationMode: 'All' } };
  expect(texts(resourceClaimFaults(claim(one, one)))).toEqual(['spec.devices.requests[1].name: Duplicate value: "a"']);
  const many = Array.from({ length: 33 }, (_, i) => ({ ...one, name: `a${i}` }));
  expect(texts(resourceClaimFaults(claim(...many)))).toEqual([
    'spec.devices.requests: Too many: 33: must have at most 32 items',
  ]);
});

test('what a claim asks for never changes', () => {
  expect(claimUpdateFaults(claim({ name: 'a' }), claim({ name: 'a' }))).toEqual([]);
  expect(texts(claimUpdateFaults(claim({ name: 'b' }), claim({ name: 'a' })))[0]).toContain('field is immutable');
});

describe('the status of a claim', () => {
  const allocation = { devices: { results: [{ request: 'r', driver: 'd', pool: 'p', device: 'x' }] } };
  const user = { resource: 'pods', name: 'web', uid: 'u' };

  test('is allocated, reserved, released and taken back', () => {
    const states = [{}, { allocation }, { allocation, reservedFor: [user] }, { allocation }, {}];
    for (const [i, status] of states.slice(1).entries()) {
      expect(claimStatusFaults({ status }, { status: states[i] })).toEqual([]);
    }
  });

  test.each([
    [{ reservedFor: [user] }, 'status.reservedFor: Forbidden: may not be specified when `allocated` is not set'],
    [{ allocation, reservedFor: [user, user] }, 'status.reservedFor[1].uid: Duplicate value: "u"'],
    [{ allocation, reservedFor: [{ resource: 'pods', name: 'web' }] }, 'status.reservedFor[0].uid: Required value'],
    [
      { allocation, reservedFor: Array.from({ length: 257 }, (_, i) => ({ ...user, uid: `u${i}` })) },
      'status.reservedFor: Too many: 257: must have at most 256 items',
    ],
  ])('is refused (%#)', (status, text) => {
    expect(texts(claimStatusFaults({ status }, {}))).toEqual([text]);
  });

  test('an allocation does not change under who uses it', () => {
    const next = { status: { allocation: { devices: { results: [] } } } };
    expect(texts(claimStatusFaults(next, { status: { allocation } }))[0]).toMatch(/^status.allocation: .*immutable$/);
  });
});

describe('what a driver advertises', () => {
  const spec = { driver: 'd.example.com', nodeName: 'n', pool: { name: 'n', generation: 1, resourceSliceCount: 1 } };

  test('is of one node, of a selection or of all', () => {
    expect(resourceSliceFaults({ spec })).toEqual([]);
    expect(resourceSliceFaults({ spec: { ...spec, nodeName: undefined, allNodes: true } })).toEqual([]);
  });

  test.each([
    [{ driver: undefined }, /^spec.driver: Required value$/],
    [{ driver: 'No' }, /^spec.driver: Invalid value: "No": a lowercase RFC 1123 subdomain/],
    [{ pool: { name: 'n' } }, /^spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero$/],
    [{ pool: undefined }, /^spec.pool.name: Required value/],
    [{ nodeName: undefined }, /^spec: Required value: exactly one of `nodeName`/],
    [{ allNodes: true }, /^spec: Invalid value: .*: exactly one of `nodeName`/],
    [{ devices: [{ name: 'a' }, { name: 'a' }] }, /^spec.devices\[1\].name: Duplicate value: "a"$/],
    [{ devices: Array.from({ length: 129 }, (_, i) => ({ name: `d${i}` })) }, /must have at most 128 items$/],
  ])('is refused (%#)', (more, text) => {
    expect(texts(resourceSliceFaults({ spec: { ...spec, ...more } })).join('\n')).toMatch(text);
  });

  test('stays with its driver, pool and node', () => {
    const fields = (more: object) =>
      resourceSliceUpdateFaults({ spec: { ...spec, ...more } }, { spec }).map((f) => f.field);
    expect(fields({ devices: [] })).toEqual([]);
    expect(fields({ driver: 'other', nodeName: 'm', pool: { name: 'm' } })).toEqual([
      'spec.driver',
      'spec.pool.name',
      'spec.nodeName',
    ]);
  });
});

test('a class selects by expressions', () => {
  expect(deviceClassFaults({ spec: { selectors: [{ cel: { expression: 'true' } }] } })).toEqual([]);
  expect(texts(deviceClassFaults({ spec: { selectors: [{}, { cel: {} }] } }))).toEqual([
    'spec.selectors[0].cel: Required value',
    'spec.selectors[1].cel.expression: Required value',
  ]);
});

test('a claim shows in what state it is', () => {
  const cells = (object: object) => kind('resourceclaims').table!.cells(object as AnyObject, 0)[1];
  const deletionTimestamp = '2026-01-01T00:00:00Z';
  const allocation = {};
  expect(cells({})).toBe('pending');
  expect(cells({ status: { allocation } })).toBe('allocated');
  expect(cells({ status: { allocation, reservedFor: [{}] } })).toBe('allocated,reserved');
  expect(cells({ metadata: { deletionTimestamp } })).toBe('deleted');
  expect(cells({ metadata: { deletionTimestamp }, status: { allocation } })).toBe('deleted,allocated');
});
