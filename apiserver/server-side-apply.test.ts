import { expect, test } from 'vitest';
import type { AnyObject } from './registry/definition.ts';
import { type ApplyRequest, serverSideApply } from './server-side-apply.ts';

const type = { group: 'apps', version: 'v1', plural: 'deployments', kind: 'Deployment', namespaced: true };

function apply(current: AnyObject | undefined, manager: string, body: object, force = false): AnyObject {
  const applied = { kind: 'Deployment', apiVersion: 'apps/v1', metadata: { name: 'd' }, ...body } as AnyObject;
  const parameters = { dryRun: false, fieldValidation: 'Strict', fieldManager: manager, force } as const;
  const request: ApplyRequest = { current, applied, type, subresource: '', parameters, nowMs: 0 };
  return serverSideApply(request);
}

const template = (...containers: object[]) => ({ template: { spec: { containers } } });

test('what is no longer applied goes, what others wrote stays', () => {
  const first = apply(undefined, 'me', { spec: { replicas: 2, paused: true, ...template({ name: 'a', image: '1' }) } });
  first.spec.template.spec.containers.push({ name: 'sidecar', image: 's' });
  first.spec.minReadySeconds = 5;
  const second = apply(first, 'me', { spec: { replicas: 2, ...template({ name: 'b', image: '1' }) } });
  expect(second.spec).toEqual({
    replicas: 2,
    minReadySeconds: 5,
    ...template({ name: 'sidecar', image: 's' }, { name: 'b', image: '1' }),
  });
});

test('two appliers of one field conflict, unless they agree or force is used', () => {
  const first = apply(undefined, 'me', { spec: { replicas: 2 } });
  expect(apply(first, 'you', { spec: { replicas: 2 } }).metadata?.managedFields).toHaveLength(2);
  expect(() => apply(first, 'you', { spec: { replicas: 3 } })).toThrow(
    'Apply failed with 1 conflict: conflict with "me": .spec.replicas',
  );
  const forced = apply(first, 'you', { spec: { replicas: 3 } }, true);
  expect(forced.spec.replicas).toBe(3);
  expect(apply(forced, 'you', { spec: { replicas: 4 } }).spec.replicas).toBe(4);
});

test('a field two appliers share stays until both let go', () => {
  const first = apply(undefined, 'me', { spec: { replicas: 2, paused: true } });
  const shared = apply(first, 'you', { spec: { paused: true } });
  const mine = apply(shared, 'me', { spec: { replicas: 2 } });
  expect(mine.spec.paused).toBe(true);
  expect(apply(mine, 'you', { spec: {} }).spec.paused).toBeUndefined();
});

test('the same apply again changes nothing', () => {
  const body = { spec: { replicas: 2, ...template({ name: 'a', image: '1', ports: [{ containerPort: 80 }] }) } };
  const first = apply(undefined, 'me', body);
  expect(apply(first, 'me', body)).toEqual(first);
});

test('a manager must be named', () => {
  expect(() => apply(undefined, '', {})).toThrow('fieldManager: Required value: is required for apply patch');
});
