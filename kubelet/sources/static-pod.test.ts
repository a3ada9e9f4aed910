import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { isAgentError } from '../../core/errors.ts';
import { decodeStaticPods, type StaticPodOrigin } from './static-pod.ts';

const origin: StaticPodOrigin = { source: 'file', where: '/etc/manifests/web.yaml', nodeName: 'Node-1' };
const rules = {
  checkTypes: () => {},
  setDefaults: (pod: Pod) => {
    pod.spec!.restartPolicy ??= 'Always';
  },
  faultsOf: () => [],
};
const decode = (text: string, from: Partial<StaticPodOrigin> = {}) =>
  decodeStaticPods(text, { ...origin, ...from }, rules);

const web = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: main, image: busybox}]
`;

function refusal(text: string, from: Partial<StaticPodOrigin> = {}): string {
  try {
    decode(text, from);
  } catch (err) {
    if (isAgentError(err, 'STATIC_POD_INVALID')) return err.message;
    throw err;
  }
  throw new Error('it was accepted');
}

test('a manifest becomes a pod of this node', () => {
  const [pod] = decode(web);
  const uid = pod!.metadata!.uid!;
  expect(uid).toMatch(/^[0-9a-f]{32}$/);
  expect(pod).toMatchObject({
    metadata: {
      name: 'web-node-1',
      namespace: 'default',
      labels: { app: 'web' },
      annotations: { 'kubernetes.io/config.hash': uid },
    },
    spec: {
      nodeName: 'Node-1',
      restartPolicy: 'Always',
      tolerations: [{ operator: 'Exists', effect: 'NoExecute' }],
    },
    status: { phase: 'Pending' },
  });
});

test('its uid follows the content, the place and the node, and nothing else', () => {
  const uid = (text: string, from: Partial<StaticPodOrigin> = {}) => decode(text, from)[0]!.metadata!.uid;
  const json = JSON.stringify({
    spec: { containers: [{ image: 'busybox', name: 'main' }] },
    metadata: { labels: { app: 'web' }, name: 'web' },
    kind: 'Pod',
    apiVersion: 'v1',
  });
  expect(uid(json)).toBe(uid(web));
  expect(uid(web.replace('busybox', 'busybox:2'))).not.toBe(uid(web));
  expect(uid(web, { where: '/etc/manifests/other.yaml' })).not.toBe(uid(web));
  expect(uid(web, { nodeName: 'node-2' })).not.toBe(uid(web));
  expect(uid(web.replace('name: web,', 'name: web, uid: my-own,'))).toBe('my-own');
});

test('a URL gives one pod or a list, without the toleration of files', () => {
  const list = JSON.stringify({
    apiVersion: 'v1',
    kind: 'PodList',
    items: ['a', 'b'].map((name) => ({ metadata: { name }, spec: { containers: [] } })),
  });
  const from = { source: 'http', where: 'http://127.0.0.1/pods' } as const;
  expect(decode(list, from).map((p) => p.metadata!.name)).toEqual(['a-node-1', 'b-node-1']);
  expect(decode(web, from)[0]!.spec!.tolerations).toBeUndefined();
  expect(refusal(list)).toContain('expected kind Pod, got "PodList"');
});

test('YAML means what it means to kubelets: octal numbers, yes and on, the later of two keys, the first document', () => {
  const text = `
apiVersion: v1
kind: Pod
metadata: { name: lost, name: web, annotations: { day: 2026-11-21, time: 12:30:45 } }
spec:
  hostNetwork: yes
  hostPID: off
  volumes: [{ name: v, downwardAPI: { defaultMode: 0640 } }]
  containers: [{ name: c, image: busybox }]
---
is: { no: pod
`;
  const [pod] = decode(text);
  expect(pod!.metadata).toMatchObject({
    name: 'web-node-1',
    annotations: { day: '2026-11-21', time: '12:30:45' },
  });
  expect(pod!.spec).toMatchObject({
    hostNetwork: true,
    hostPID: false,
    volumes: [{ name: 'v', downwardAPI: { defaultMode: 0o640 } }],
  });
});

describe('is refused, with the reason', () => {
  const spec = (text: string) => web.replace('containers:', `${text}\n  containers:`);
  test.each([
    ['text that is no YAML', '{', 'is neither YAML nor JSON'],
    ['nothing', '', 'is empty'],
    ['nothing before the pod', `---\n---\n${web}`, 'is empty'],
    ['a list', '[1]', 'is no object'],
    ['another version', web.replace('v1', 'v2'), 'apiVersion: expected v1'],
    ['another kind', web.replace('Pod', 'Node'), 'expected kind Pod, got "Node"'],
    ['no name', web.replace('name: web,', ''), 'name is needed for the pod'],
    ['a name that is no text', web.replace('name: web,', 'name: {toString: ""},'), 'cannot be read'],
    ['no spec', 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}', 'spec: Required value'],
    ['a name that is a path', web.replace('name: web,', 'name: ../../web,'), 'metadata.name: Invalid value'],
    ['a namespace that is a path', web.replace('name: web,', 'name: web, namespace: ../x,'), 'metadata.namespace'],
    ['a uid that is a path', web.replace('name: web,', 'name: web, uid: ../../x,'), 'metadata.uid: Invalid value'],
    ['a secret', spec('volumes: [{name: v, secret: {secretName: s}}]'), 'may not reference secrets'],
    ['a config map', spec('volumes: [{name: v, configMap: {name: s}}]'), 'may not reference configmaps'],
    [
      'a claim',
      spec('volumes: [{name: v, persistentVolumeClaim: {claimName: s}}]'),
      'reference persistentvolumeclaims',
    ],
    [
      'a token',
      spec('volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]'),
      'serviceaccounts',
    ],
    ['a volume of a driver', spec('volumes: [{name: v, csi: {driver: d}}]'), 'may not reference csidrivers'],
    ['an identity', spec('serviceAccountName: robot'), 'may not reference serviceaccounts'],
    ['a pull secret', spec('imagePullSecrets: [{name: s}]'), 'may not reference secrets'],
    [
      'a variable from a secret',
      web.replace('image: busybox', 'image: busybox, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]'),
      'may not reference secrets',
    ],
  ])('%s', (_what, text, why) => {
    expect(refusal(text)).toContain(why);
    expect(refusal(text)).toContain('static pod file /etc/manifests/web.yaml: invalid pod: ');
  });

  test('what the rules of the API refuse', () => {
    const strict = { ...rules, faultsOf: () => ['spec.containers: Required value'] };
    expect(() => decodeStaticPods(web, origin, strict)).toThrow('invalid pod: spec.containers: Required value');
  });

  test('whatever it holds, never with another error', () => {
    const anything = fc.record({
      apiVersion: fc.constant('v1'),
      kind: fc.constant('Pod'),
      metadata: fc.oneof(fc.jsonValue(), fc.record({ name: fc.oneof(fc.string(), fc.jsonValue()) })),
      spec: fc.oneof(fc.jsonValue(), fc.record({ containers: fc.jsonValue(), volumes: fc.jsonValue() })),
    });
    fc.assert(
      fc.property(anything, (object) => {
        try {
          decode(JSON.stringify(object));
        } catch (err) {
          if (!isAgentError(err, 'STATIC_POD_INVALID')) throw err;
        }
      }),
      { numRuns: 500 },
    );
  });
});
