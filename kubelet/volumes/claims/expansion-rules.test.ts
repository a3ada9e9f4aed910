import { describe, expect, test } from 'vitest';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../api/kinds.ts';
import { expandedStatus, expansionOf, failedStatus, startedStatus } from './expansion-rules.ts';

const GI = 2 ** 30;
const pv = (storage: string): PersistentVolume => ({ metadata: { name: 'pv' }, spec: { capacity: { storage } } });

const claim = (status: object = {}, asked?: string): PersistentVolumeClaim => ({
  metadata: { namespace: 'ns', name: 'c', uid: 'claim-uid', resourceVersion: '7' },
  spec: { volumeName: 'pv', ...(asked === undefined ? {} : { resources: { requests: { storage: asked } } }) },
  status: { phase: 'Bound', capacity: { storage: '1Gi' }, ...status },
});

const told = (storage: string | undefined, allocated = '2Gi') => ({
  allocatedResources: { storage: allocated },
  allocatedResourceStatuses: storage === undefined ? {} : { storage },
});

describe('growth: more than the claim shows', () => {
  test('without a resizer that follows it', () => {
    expect(expansionOf(claim(), pv('2Gi'))).toEqual({
      size: '2Gi',
      bytes: 2 * GI,
      isTracked: false,
      isOutdated: false,
    });
    expect(expansionOf(claim(), pv('1024Mi'))).toBeUndefined();
    expect(expansionOf(claim({ capacity: undefined }), pv('2Gi'))).toBeUndefined();
  });

  test.each([
    ['NodeResizePending', 2 * GI],
    ['NodeResizeInProgress', 2 * GI],
    ['NodeResizeInfeasible', undefined],
    ['ControllerResizeInProgress', undefined],
    ['ControllerResizeInfeasible', undefined],
    [undefined, undefined],
  ])('the resizer says %s', (status, bytes) => {
    expect(expansionOf(claim(told(status)), pv('3Gi'))?.bytes).toBe(bytes);
  });

  test('the user has thought better of it', () => {
    const pending = told('NodeResizePending');
    expect(expansionOf(claim(pending, '2Gi'), pv('2Gi'))?.isOutdated).toBe(false);
    expect(expansionOf(claim(pending, '1536Mi'), pv('2Gi'))?.isOutdated).toBe(true);
  });
});

test('what the claim is told before the driver is asked', () => {
  expect(startedStatus(claim(told('NodeResizePending')))).toEqual({
    metadata: { resourceVersion: '7' },
    status: { allocatedResourceStatuses: { storage: 'NodeResizeInProgress' } },
  });
  expect(startedStatus(claim(told('NodeResizeInProgress')))).toBeUndefined();
});

test('what the claim is told of a refusal', () => {
  const condition = {
    type: 'NodeResizeError',
    status: 'True',
    lastTransitionTime: '1970-01-01T00:00:00Z',
    message: 'failed to expand pvc with text',
  };
  const allocatedResourceStatuses = { storage: 'NodeResizeInfeasible' };
  expect(failedStatus(claim(), 'text', false, 0)).toEqual({ status: { conditions: [condition] } });
  expect(failedStatus(claim(), 'text', true, 0)).toEqual({
    status: { conditions: [condition], allocatedResourceStatuses },
  });
  const known = claim({ conditions: [{ type: 'NodeResizeError', status: 'True' }] });
  expect(failedStatus(known, 'text', false, 0)).toBeUndefined();
  expect(failedStatus(known, 'text', true, 0)).toEqual({ status: { allocatedResourceStatuses } });
});

test('what the claim is told when it has grown', () => {
  const types = ['FileSystemResizePending', 'Resizing', 'NodeResizeError', 'ControllerResizeError', 'Other'];
  const conditions = types.map((type) => ({ type, status: 'True' }));
  expect(expandedStatus(claim({ conditions }), '2Gi')).toEqual({
    metadata: { resourceVersion: '7' },
    status: {
      capacity: { storage: '2Gi' },
      conditions: [{ type: 'Other', status: 'True' }],
      allocatedResourceStatuses: { storage: null },
    },
  });
});
