import { describe, expect, test } from 'vitest';
import type { Service } from '../../api/kinds.ts';
import type { Container, EnvVarSource, Pod } from '../../api/pod.ts';
import { type EnvSources, envReferences, makeEnvironment } from './env.ts';
import { expandVariables } from './expand.ts';
import { serviceVariables } from './service-env.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const sources: EnvSources = {
  configMap: (name) => (name === 'cm' ? { data: { k: 'v', other: 'w' } } : undefined),
  secret: (name) => (name === 's' ? { data: { token: base64('t') } } : undefined),
  services: [],
  podIps: ['10.0.0.7', 'fd00::7'],
  hostIps: ['192.168.0.1', 'fd01::1'],
  nodeAllocatable: { cpu: '3500m', memory: '8Gi' },
};
const pod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u', labels: { app: 'web' }, annotations: { 'a/b': 'c' } },
  spec: { containers: [], nodeName: 'n1', serviceAccountName: 'sa' },
};
const envOf = (container: Partial<Container>, more: Partial<EnvSources> = {}) =>
  Object.fromEntries(makeEnvironment(pod, { name: 'c', ...container }, { ...sources, ...more }));

describe('env', () => {
  test('a static pod does not wait for the Services', () => {
    const annotations = { 'kubernetes.io/config.source': 'file' };
    const fixed: Pod = { ...pod, metadata: { ...pod.metadata, annotations } };
    const missing = { ...sources, services: undefined };
    expect(() => makeEnvironment(pod, { name: 'c' }, missing)).toThrow(
      /^services have not yet been read at least once/,
    );
    expect(makeEnvironment(fixed, { name: 'c' }, missing)).toEqual(new Map());
  });

  describe('from a file', () => {
    const fileKeyRef = { volumeName: 'v', path: 'f', key: 'K' };
    const from = (text: string | undefined, more: object = {}) =>
      envOf(
        { env: [{ name: 'A', valueFrom: { fileKeyRef: { ...fileKeyRef, ...more } } as EnvVarSource }] },
        { envFile: (volume, path) => (`${volume}/${path}` === 'v/f' ? text : undefined) },
      );

    test('its value, or nothing when it is optional', () => {
      expect(from("K='1'")).toEqual({ A: '1' });
      expect(from("L='1'", { optional: true })).toEqual({});
      expect(from(undefined, { optional: true })).toEqual({});
    });

    test.each<[string | undefined, object, string]>([
      ["L='1'", {}, 'environment variable key "K" not found in file "f"'],
      [undefined, {}, 'environment variable key "K" not found in file "f"'],
      ['K=1', { optional: true }, "couldn't parse env file"],
      [`K='${'x'.repeat(32_769)}'`, {}, 'environment variable value for key "K" exceeds maximum size of 32KB'],
      ['', { key: 'k'.repeat(129) }, 'exceeds maximum length of 128 characters'],
    ])('%.10j is refused', (text, more, message) => {
      expect(() => from(text, more)).toThrow(message);
    });
  });

  test('envFrom first, then env in order, each seeing what came before', () => {
    const got = envOf({
      envFrom: [{ prefix: 'CM_', configMapRef: { name: 'cm' } }, { secretRef: { name: 's' } }],
      env: [
        { name: 'A', value: '$(CM_k)-$(token)' },
        { name: 'CM_k', value: 'mine' },
        { name: 'B', value: '$(CM_k) $(NOPE) $$(A)' },
        { name: 'EMPTY', value: '' },
      ],
    });
    expect(got).toEqual({ CM_k: 'mine', CM_other: 'w', token: 't', A: 'v-t', B: 'mine $(NOPE) $(A)', EMPTY: '' });
  });

  test.each([
    ['metadata.name', 'p'],
    ['metadata.uid', 'u'],
    ["metadata.labels['app']", 'web'],
    ["metadata.labels['none']", ''],
    ["metadata.annotations['a/b']", 'c'],
    ['spec.nodeName', 'n1'],
    ['spec.serviceAccountName', 'sa'],
    ['status.hostIP', '192.168.0.1'],
    ['status.podIP', '10.0.0.7'],
    ['status.podIPs', '10.0.0.7,fd00::7'],
  ])('field %s is %j', (fieldPath, want) => {
    expect(envOf({ env: [{ name: 'F', valueFrom: { fieldRef: { fieldPath } } }] })).toEqual({ F: want });
  });

  test.each<[string, string | undefined, string]>([
    ['limits.cpu', undefined, '1'],
    ['limits.cpu', '1m', '250'],
    ['limits.memory', '1Mi', '8192'],
    ['requests.cpu', undefined, '0'],
    ['requests.memory', '1Ki', '2'],
  ])('resource %s by %s is %s', (resource, divisor, want) => {
    const resources = { limits: { cpu: '250m' }, requests: { memory: '1025' } };
    const ref = { resource, ...(divisor === undefined ? {} : { divisor }) };
    expect(envOf({ resources, env: [{ name: 'R', valueFrom: { resourceFieldRef: ref } }] })).toEqual({ R: want });
  });

  test("limits that are not set are the node's", () => {
    const env = [{ name: 'R', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } }];
    expect(envOf({ env })).toEqual({ R: '4' });
  });

  test.each<[string, Partial<Container>, string]>([
    [
      'no configMap',
      { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'x', key: 'k' } } }] },
      'configmap "x" not found',
    ],
    [
      'no key',
      { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'cm', key: 'z' } } }] },
      "couldn't find key z in ConfigMap ns/cm",
    ],
    [
      'no secret',
      { env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'x', key: 'k' } } }] },
      'secret "x" not found',
    ],
    [
      'no secret key',
      { env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 's', key: 'z' } } }] },
      "couldn't find key z in Secret ns/s",
    ],
    [
      'a key that every object has',
      { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'cm', key: 'constructor' } } }] },
      "couldn't find key constructor in ConfigMap ns/cm",
    ],
    ['envFrom of nothing', { envFrom: [{ secretRef: { name: 'x' } }] }, 'secret "x" not found'],
    [
      'a field that is none',
      { env: [{ name: 'X', valueFrom: { fieldRef: { fieldPath: 'status.phase' } } }] },
      'unsupported fieldPath: status.phase',
    ],
  ])('%s is an error', (_, container, message) => {
    expect(() => envOf(container)).toThrow(message);
  });

  test('optional sources leave the variable out', () => {
    const got = envOf({
      envFrom: [{ configMapRef: { name: 'x', optional: true } }],
      env: [
        { name: 'A', valueFrom: { configMapKeyRef: { name: 'x', key: 'k', optional: true } } },
        { name: 'B', valueFrom: { secretKeyRef: { name: 's', key: 'z', optional: true } } },
      ],
    });
    expect(got).toEqual({});
  });

  test('no container is made before the Services are known', () => {
    expect(() => envOf({}, { services: undefined })).toThrow('services have not yet been read at least once');
  });

  test('references are collected where a value does not hide them', () => {
    const refs = envReferences({
      name: 'c',
      envFrom: [{ configMapRef: { name: 'a' } }],
      env: [
        { name: 'X', value: 'set', valueFrom: { secretKeyRef: { name: 'unused', key: 'k' } } },
        { name: 'Y', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
      ],
    });
    expect([[...refs.configMaps], [...refs.secrets]]).toEqual([['a'], ['s']]);
  });
});

test.each([
  ['$(A)', 'a'],
  ['x$(A)y$(A)', 'xaya'],
  ['$$(A)', '$(A)'],
  ['$$$(A)', '$a'],
  ['$$$$(A)', '$$(A)'],
  ['$(B)', '$(B)'],
  ['$(A', '$(A'],
  ['$A', '$A'],
  ['$', '$'],
  ['$()', '$()'],
])('%s expands to %s', (text, want) => {
  expect(expandVariables(text, (name) => (name === 'A' ? 'a' : undefined))).toBe(want);
});

describe('service variables', () => {
  const service = (namespace: string, name: string, clusterIP: string, ports: Service['spec'] = {}): Service => ({
    metadata: { namespace, name },
    spec: { clusterIP, ...ports },
  });
  const all = [
    service('default', 'kubernetes', '10.96.0.1', { ports: [{ name: 'https', port: 443 }] }),
    service('ns', 'my-db', '10.96.0.9', {
      ports: [
        { port: 53, protocol: 'UDP', name: 'dns-udp' },
        { port: 5432, name: 'pg' },
      ],
    }),
    service('ns', 'headless', 'None', { ports: [{ port: 1 }] }),
    service('elsewhere', 'other', '10.96.0.3', { ports: [{ port: 1 }] }),
  ];

  test('names and forms', () => {
    expect(Object.fromEntries(serviceVariables(all.slice(1, 2), 'ns', true))).toEqual({
      MY_DB_SERVICE_HOST: '10.96.0.9',
      MY_DB_SERVICE_PORT: '53',
      MY_DB_SERVICE_PORT_DNS_UDP: '53',
      MY_DB_SERVICE_PORT_PG: '5432',
      MY_DB_PORT: 'udp://10.96.0.9:53',
      MY_DB_PORT_53_UDP: 'udp://10.96.0.9:53',
      MY_DB_PORT_53_UDP_PROTO: 'udp',
      MY_DB_PORT_53_UDP_PORT: '53',
      MY_DB_PORT_53_UDP_ADDR: '10.96.0.9',
      MY_DB_PORT_5432_TCP: 'tcp://10.96.0.9:5432',
      MY_DB_PORT_5432_TCP_PROTO: 'tcp',
      MY_DB_PORT_5432_TCP_PORT: '5432',
      MY_DB_PORT_5432_TCP_ADDR: '10.96.0.9',
    });
  });

  const hosts = (links: boolean, namespace = 'ns', list = all) =>
    [...serviceVariables(list, namespace, links).keys()].filter((k) => k.endsWith('_SERVICE_HOST')).sort();

  test('own namespace with links, the API server always', () => {
    expect(hosts(true)).toEqual(['KUBERNETES_SERVICE_HOST', 'MY_DB_SERVICE_HOST']);
    expect(hosts(false)).toEqual(['KUBERNETES_SERVICE_HOST']);
  });

  test("a namespace's own Service called kubernetes wins only with links, whatever the order", () => {
    const own = service('ns', 'kubernetes', '10.96.0.77');
    for (const list of [
      [own, ...all],
      [...all, own],
    ]) {
      expect(serviceVariables(list, 'ns', true).get('KUBERNETES_SERVICE_HOST')).toBe('10.96.0.77');
      expect(serviceVariables(list, 'ns', false).get('KUBERNETES_SERVICE_HOST')).toBe('10.96.0.1');
    }
  });

  test('IPv6 is bracketed in URLs only', () => {
    const vars = serviceVariables([service('ns', 'six', 'fd00::1', { ports: [{ port: 80 }] })], 'ns', true);
    expect(vars.get('SIX_PORT')).toBe('tcp://[fd00::1]:80');
    expect(vars.get('SIX_SERVICE_HOST')).toBe('fd00::1');
  });
});
