import { expect, test } from 'vitest';
import type { ConfigMap, Secret } from '../../api/kinds.ts';
import type { Pod, Volume } from '../../api/pod.ts';
import { buildPayload, commonRunAsUser, formatMap, type PayloadDeps } from './payload.ts';

const pod: Pod = {
  metadata: { namespace: 'ns', name: 'p', uid: 'u', annotations: { note: 'a\n"b"\x01' } },
  spec: { containers: [{ name: 'c', resources: { limits: { cpu: '1500m' } } }] },
};
const configMap: ConfigMap = { data: { text: 'one' }, binaryData: { bin: 'AAE=' } };
const secret: Secret = { data: { pw: 'c2VjcmV0' } };
const deps: PayloadDeps = {
  objects: {
    getConfigMap: async (_, name) => (name === 'cm' ? configMap : undefined),
    getSecret: async (_, name) => (name === 's' ? secret : undefined),
  },
  tokens: { token: async (spec) => `${spec.namespace}/${spec.serviceAccount}` },
  fieldFacts: () => ({ podIps: [], hostIps: [], nodeAllocatable: {} }),
};
const build = async (volume: Omit<Volume, 'name'>, of = pod) => {
  const files = await buildPayload(of, { name: 'v', ...volume }, deps, AbortSignal.timeout(5000));
  return Object.fromEntries([...files].map(([name, f]) => [name, `${f.mode.toString(8)} ${Buffer.from(f.data)}`]));
};

test('all keys with the default mode, or the items with theirs', async () => {
  expect(await build({ configMap: { name: 'cm' } })).toEqual({ bin: '644 \0\x01', text: '644 one' });
  const items = [{ key: 'pw', path: 'sub/pw', mode: 0o400 }];
  expect(await build({ secret: { secretName: 's', items } })).toEqual({ 'sub/pw': '400 secret' });
});

test.each<[string, Omit<Volume, 'name'>]>([
  ['configmap "x" not found', { configMap: { name: 'x' } }],
  ['secret "x" not found', { secret: { secretName: 'x' } }],
  ['configmap references non-existent config key: k', { configMap: { name: 'cm', items: [{ key: 'k', path: 'k' }] } }],
  ['references non-existent secret key: k', { secret: { secretName: 's', items: [{ key: 'k', path: 'k' }] } }],
  [
    '[configmap "x" not found, secret "y" not found]',
    { projected: { sources: [{ configMap: { name: 'x' } }, { secret: { name: 'y' } }] } },
  ],
])('%s', async (message, volume) => {
  await expect(build(volume)).rejects.toMatchObject({ message });
});

test('a path that leaves the volume is refused', async () => {
  await expect(build({ configMap: { name: 'cm', items: [{ key: 'text', path: '../x' }] } })).rejects.toMatchObject({
    code: 'VOLUME_PATH_INVALID',
  });
});

test('what is optional may be missing', async () => {
  expect(await build({ configMap: { name: 'x', optional: true } })).toEqual({});
  const items = [{ key: 'k', path: 'k' }];
  expect(await build({ secret: { secretName: 's', optional: true, items } })).toEqual({});
});

test('downward API: fields, whole maps and resources', async () => {
  const items = [
    { path: 'name', fieldRef: { fieldPath: 'metadata.name' } },
    { path: 'cpu', resourceFieldRef: { containerName: 'c', resource: 'limits.cpu' } },
    { path: 'notes', fieldRef: { fieldPath: 'metadata.annotations' }, mode: 0o600 },
  ];
  expect(await build({ downwardAPI: { items } })).toEqual({
    name: '644 p',
    cpu: '644 2',
    notes: '600 note="a\\n\\"b\\"\\x01"',
  });
  expect(formatMap(undefined)).toBe('');
});

test('later projected sources win, and tokens are private when their reader is known', async () => {
  const sources = [{ configMap: { name: 'cm' } }, { serviceAccountToken: { path: 'text' } }];
  expect(await build({ projected: { sources } })).toMatchObject({ text: '644 ns/default' });
  const asUser: Pod = { ...pod, spec: { ...pod.spec!, securityContext: { runAsUser: 7 } } };
  expect(await build({ projected: { sources } }, asUser)).toMatchObject({ text: '600 ns/default' });
  expect(commonRunAsUser(asUser)).toBe(7);
  expect(commonRunAsUser(pod)).toBeUndefined();
});
