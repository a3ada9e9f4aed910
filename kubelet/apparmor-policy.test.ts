import { expect, test } from 'vitest';
import type { Pod, PodSpec } from '../api/pod.ts';
import { admit } from './admission.ts';
import { unenforcedAppArmor } from './apparmor-policy.ts';

const podOf = (profile: object | undefined, spec: Partial<PodSpec> = {}, annotations = {}): Pod => ({
  metadata: { name: 'p', annotations },
  spec: {
    containers: [{ name: 'c', securityContext: profile === undefined ? {} : ({ appArmorProfile: profile } as object) }],
    ...spec,
  },
});
const onThePod = { securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } as object };
const annotated = (value: string) =>
  podOf(undefined, {}, { 'container.apparmor.security.beta.kubernetes.io/c': value });
const off = 'Cannot enforce AppArmor: AppArmor is not enabled on the host';
const nameless = 'Cannot enforce AppArmor: invalid empty AppArmor profile name: "localhost/"';

test.each<[string, Pod, string | undefined, string | undefined]>([
  ['nothing', podOf(undefined), undefined, undefined],
  ['Unconfined', podOf({ type: 'Unconfined' }), undefined, undefined],
  ['RuntimeDefault', podOf({ type: 'RuntimeDefault' }), off, undefined],
  ['Localhost', podOf({ type: 'Localhost', localhostProfile: 'x' }), off, undefined],
  ['Localhost without a name', podOf({ type: 'Localhost', localhostProfile: ' ' }), off, nameless],
  ['the pod', podOf(undefined, onThePod), off, undefined],
  ['an annotation', annotated('runtime/default'), off, undefined],
  ['an annotation without a name', annotated('localhost/'), off, nameless],
  ['an annotation that asks for nothing', annotated('unconfined'), undefined, undefined],
])('%s', (_, pod, withoutAppArmor, withAppArmor) => {
  expect(unenforcedAppArmor(pod, false)).toBe(withoutAppArmor);
  expect(unenforcedAppArmor(pod, true)).toBe(withAppArmor);
});

test('is asked about at admission, while nothing of the pod has run', () => {
  const pod = podOf({ type: 'RuntimeDefault' });
  const node = { metadata: { name: 'n' }, status: { allocatable: { pods: '10' } } };
  const ask = (p: Pod, appArmorEnabled?: boolean) =>
    admit({ pod: p, activePods: [], node, ...(appArmorEnabled === undefined ? {} : { appArmorEnabled }) });
  expect(ask({ ...pod, status: { phase: 'Pending' } }, false)).toEqual({ reason: 'AppArmor', message: off });
  expect(ask({ ...pod, status: { phase: 'Running' } }, false)).toBeUndefined();
  expect(ask({ ...pod, status: { phase: 'Pending' } }, true)).toBeUndefined();
});
