import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { isPod } from './api-pods.ts';

const metadata = { namespace: 'default', name: 'web', uid: '11111111-2222-3333-4444-555555555555' };
const spec = { containers: [{ name: 'c', image: 'i' }], volumes: [{ name: 'v' }], initContainers: null };

test('what servers send is a pod', () => {
  expect(isPod({ metadata, spec } as unknown as Pod)).toBe(true);
});

test.each([
  ['no uid', { metadata: { ...metadata, uid: undefined }, spec }],
  ['an empty uid', { metadata: { ...metadata, uid: '' }, spec }],
  ['a number as uid', { metadata: { ...metadata, uid: 5 }, spec }],
  ['a uid that leads elsewhere', { metadata: { ...metadata, uid: '../../etc' }, spec }],
  ['a name that leads elsewhere', { metadata: { ...metadata, name: '..' }, spec }],
  ['no namespace', { metadata: { ...metadata, namespace: undefined }, spec }],
  ['no spec', { metadata }],
  ['a text as spec', { metadata, spec: 'x' }],
  ['no containers', { metadata, spec: {} }],
  ['null for containers', { metadata, spec: { containers: null } }],
  ['a container that is null', { metadata, spec: { containers: [null] } }],
  ['a container without a name', { metadata, spec: { containers: [{}] } }],
  ['null for a spec', { metadata, spec: null }],
  ['an init container without a name', { metadata, spec: { ...spec, initContainers: [{}] } }],
  ['an ephemeral container that is null', { metadata, spec: { ...spec, ephemeralContainers: [null] } }],
  ['a volume that is null', { metadata, spec: { ...spec, volumes: [null] } }],
])('with %s it is none', (_, pod) => {
  expect(isPod(pod as unknown as Pod)).toBe(false);
});
