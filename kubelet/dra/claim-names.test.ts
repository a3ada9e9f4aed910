import { describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { claimStatusesDiffer, type ResourceClaim, usesClaims, withClaimStatuses } from '../../api/resource-claims.ts';
import { checkUsable, claimNamesOf, driversOf } from './claim-names.ts';
import { claimsOfContainer, isMeant } from './container-devices.ts';

const podOf = (spec: object, status: object = {}) =>
  ({ metadata: { namespace: 'ns', name: 'web', uid: 'pod-uid' }, spec, status }) as Pod;

const fromTemplate = { name: 'gpu', resourceClaimTemplateName: 't' };
const made = (name?: string) => ({ resourceClaimStatuses: [{ name: 'gpu', resourceClaimName: name }] });

test('claims by name and from templates, and the one for extended resources; each once', () => {
  const pod = podOf(
    {
      resourceClaims: [
        { name: 'net', resourceClaimName: 'shared' },
        fromTemplate,
        { name: 'two', resourceClaimName: 'shared' },
      ],
    },
    { ...made('web-gpu-x'), extendedResourceClaimStatus: { resourceClaimName: 'web-ext' } },
  );
  expect(claimNamesOf(pod)).toEqual([
    { name: 'shared', mustBeOwned: false },
    { name: 'web-gpu-x', mustBeOwned: true },
    { name: 'web-ext', mustBeOwned: false },
  ]);
  expect(usesClaims(pod)).toBe(true);
  expect(usesClaims(podOf({}))).toBe(false);
});

test('an entry for which no claim was needed is ignored', () => {
  expect(claimNamesOf(podOf({ resourceClaims: [fromTemplate] }, made()))).toEqual([]);
});

test('a claim that was not made yet, and an entry of another kind, are told in the words users know', () => {
  expect(() => claimNamesOf(podOf({ resourceClaims: [fromTemplate] }))).toThrow(
    'pod "ns/web": ResourceClaim not created yet',
  );
  expect(() => claimNamesOf(podOf({ resourceClaims: [{ name: 'gpu' }] }))).toThrow(
    'pod "ns/web", spec.resourceClaim "gpu": none of the supported fields are set',
  );
});

describe('who may use a claim', () => {
  const allocation = { devices: { results: [{ request: 'r', driver: 'd', pool: 'p', device: 'x' }] } };
  const reservedFor = [{ resource: 'pods', name: 'web', uid: 'pod-uid' }];
  const claim = (status: object, metadata: object = {}) =>
    ({ metadata: { namespace: 'ns', name: 'c', uid: 'claim-uid', ...metadata }, status }) as ResourceClaim;
  const pod = podOf({});
  const named = { name: 'c', mustBeOwned: false };
  const owned = { name: 'c', mustBeOwned: true };
  const ownerReferences = [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid: 'pod-uid', controller: true }];

  test('the pod it is reserved for, once it is allocated', () => {
    expect(() => checkUsable(pod, claim({ allocation, reservedFor }), named)).not.toThrow();
    expect(() => checkUsable(pod, claim({ allocation, reservedFor }, { ownerReferences }), owned)).not.toThrow();
  });

  test.each([
    [claim({ allocation }), named, 'pod web (pod-uid) is not allowed to use ResourceClaim c (claim-uid)'],
    [claim({ reservedFor }), named, 'ResourceClaim c: not allocated'],
    [claim({}), named, 'pod web (pod-uid) is not allowed to use ResourceClaim c (claim-uid)'],
    [
      claim({ allocation, reservedFor }, { ownerReferences: [{ ...ownerReferences[0], uid: 'other' }] }),
      owned,
      'ResourceClaim ns/c was not created for Pod ns/web (Pod is not owner)',
    ],
    [
      claim({ allocation, reservedFor }, { ownerReferences: [{ ...ownerReferences[0], controller: false }] }),
      owned,
      'ResourceClaim ns/c was not created for Pod ns/web (Pod is not owner)',
    ],
    [
      claim({ allocation, reservedFor }, { ownerReferences, namespace: 'other' }),
      owned,
      'ResourceClaim other/c was not created for Pod ns/web (Pod is not owner)',
    ],
  ])('nobody else (%#)', (object, which, text) => {
    expect(() => checkUsable(pod, object, which)).toThrow(text);
  });

  test('drivers are those of the allocated devices, each once', () => {
    const results = ['a', 'b', 'a'].map((driver) => ({ request: 'r', driver, pool: 'p', device: 'x' }));
    expect(driversOf(claim({ allocation: { devices: { results } } }))).toEqual(['a', 'b']);
    expect(driversOf(claim({ allocation: {} }))).toEqual([]);
  });
});

describe('what a container uses', () => {
  const pod = podOf(
    { resourceClaims: [{ name: 'net', resourceClaimName: 'shared' }, fromTemplate] },
    {
      ...made('web-gpu-x'),
      extendedResourceClaimStatus: {
        resourceClaimName: 'web-ext',
        requestMappings: [
          { containerName: 'main', resourceName: 'example.com/gpu', requestName: 'container-0-request-0' },
          { containerName: 'main', resourceName: 'example.com/nic', requestName: 'container-0-request-1' },
          { containerName: 'other', resourceName: 'example.com/gpu', requestName: 'container-1-request-0' },
        ],
      },
    },
  );

  test('requests of claims, all of a claim, and extended resources that it asks for', () => {
    const resources = {
      claims: [{ name: 'gpu', request: 'big' }, { name: 'gpu', request: 'small' }, { name: 'net' }],
      requests: { 'example.com/gpu': '1', 'example.com/nic': '0' },
    };
    expect(claimsOfContainer(pod, { name: 'main', resources } as never)).toEqual([
      { name: 'shared', requests: [''] },
      { name: 'web-gpu-x', requests: ['big', 'small'] },
      { name: 'web-ext', requests: ['container-0-request-0'] },
    ]);
    expect(claimsOfContainer(pod, { name: 'main' } as never)).toEqual([]);
  });

  test.each([
    [[''], ['r'], true],
    [['r'], [], true],
    [['r'], ['r', 's'], true],
    [['r'], ['s'], false],
  ])('requests %j mean a device that serves %j: %s', (requests, served, expected) => {
    expect(isMeant(requests, served)).toBe(expected);
  });
});

test('what others wrote of claims stays with a status of ours', () => {
  const status = { phase: 'Pending' } as const;
  expect(withClaimStatuses(undefined, status)).toBe(status);
  expect(withClaimStatuses(podOf({}, { phase: 'Running', ...made('x') }).status, status)).toEqual({
    phase: 'Pending',
    ...made('x'),
  });
  expect(claimStatusesDiffer(podOf({}, made('x')), podOf({}, made('x')))).toBe(false);
  expect(claimStatusesDiffer(undefined, podOf({}))).toBe(false);
  expect(claimStatusesDiffer(podOf({}), podOf({}, made('x')))).toBe(true);
});
