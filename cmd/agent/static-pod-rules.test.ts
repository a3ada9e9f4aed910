// Manifests held against the rules of the API itself: what a node's owner may have written into them.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { Pod } from '../../api/pod.ts';
import { isAgentError } from '../../core/errors.ts';
import { decodeStaticPods, type StaticPodOrigin } from '../../kubelet/sources/static-pod.ts';
import { staticPodRules } from './static-pod-rules.ts';

const origin: StaticPodOrigin = { source: 'file', where: '/etc/manifests/web.yaml', nodeName: 'node-1' };

const main = { name: 'main', image: 'busybox' };
const manifest = (spec: object = {}, metadata: object = {}) =>
  stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', ...metadata },
    spec: { containers: [main], ...spec },
  });
const inContainer = (fields: object) => manifest({ containers: [{ ...main, ...fields }] });
const decode = (text: string): Pod => decodeStaticPods(text, origin, staticPodRules)[0]!;

test('what the API would fill in is filled in, amounts in their canonical form', () => {
  const text = inContainer({
    ports: [{ containerPort: 80 }],
    livenessProbe: { httpGet: { port: 80 } },
    resources: { limits: { cpu: 0.5, memory: '1024Mi' } },
  });
  expect(decode(text).spec).toMatchObject({
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    terminationGracePeriodSeconds: 30,
    enableServiceLinks: true,
    containers: [
      {
        imagePullPolicy: 'Always',
        terminationMessagePath: '/dev/termination-log',
        ports: [{ containerPort: 80, protocol: 'TCP' }],
        livenessProbe: { periodSeconds: 10, failureThreshold: 3, httpGet: { path: '/', scheme: 'HTTP' } },
        resources: { limits: { cpu: '500m', memory: '1Gi' }, requests: { cpu: '500m', memory: '1Gi' } },
      },
    ],
  });
});

test('fields that no pod has, and those that are null, do not count', () => {
  const { spec } = decode(manifest({ nodeSelecter: { a: 'b' }, volumes: null }));
  expect(spec).not.toHaveProperty('nodeSelecter');
  expect(spec).not.toHaveProperty('volumes');
});

describe('is refused, with its field', () => {
  test.each([
    ['containers that are none', manifest({ containers: 'none' }), 'Pod.spec.containers of type array'],
    ['a command that is one word', inContainer({ command: 'sh' }), 'Pod.spec.containers[0].command of type array'],
    ['a number as a name', manifest({}, { name: 7 }), 'Pod.metadata.name of type string'],
    [
      'a text as a port',
      inContainer({ ports: [{ containerPort: '80' }] }),
      'spec.containers[0].ports[0].containerPort',
    ],
    ['a text as a switch', manifest({ hostNetwork: 'yes please' }), 'Pod.spec.hostNetwork of type bool'],
    ['tolerations that are none', manifest({ tolerations: 5 }), 'Pod.spec.tolerations of type array'],
    ['an amount that is none', inContainer({ resources: { limits: { cpu: 'much' } } }), 'quantities must match'],
    ['no container', manifest({ containers: [] }), 'spec.containers: Required value'],
    ['no image', manifest({ containers: [{ name: 'main' }] }), 'spec.containers[0].image: Required value'],
    [
      'a restart policy that is none',
      manifest({ restartPolicy: 'Sometimes' }),
      'spec.restartPolicy: Unsupported value',
    ],
    [
      'a mount of a volume that is none',
      inContainer({ volumeMounts: [{ name: 'v', mountPath: '/v' }] }),
      'Not found: "v"',
    ],
    [
      'a path that leads up',
      manifest({ volumes: [{ name: 'v', hostPath: { path: '/var/../etc' } }] }),
      'spec.volumes[0].hostPath.path: Invalid value: "/var/../etc": must not contain \'..\'',
    ],
    ['a label that is none', manifest({}, { labels: { app: 'not a label' } }), 'metadata.labels: Invalid value'],
    [
      'two containers of a name',
      manifest({ containers: [main, main] }),
      'spec.containers[1].name: Duplicate value: "main"',
    ],
    ['a temporary container', manifest({ ephemeralContainers: [main] }), 'spec.ephemeralContainers: Forbidden'],
  ])('%s', (_what, text, why) => {
    expect(() => decode(text)).toThrow(why);
    expect(() => decode(text)).toThrow('static pod file /etc/manifests/web.yaml: invalid pod: ');
  });
});

test('whatever its fields hold, it is a pod or is refused', () => {
  const values = fc.dictionary(
    fc.constantFrom(
      'containers',
      'initContainers',
      'volumes',
      'tolerations',
      'securityContext',
      'dnsConfig',
      'affinity',
    ),
    fc.oneof(fc.jsonValue(), fc.array(fc.dictionary(fc.constantFrom('name', 'image', 'ports', 'env'), fc.jsonValue()))),
  );
  fc.assert(
    fc.property(values, (spec) => {
      try {
        decode(manifest(spec));
      } catch (err) {
        if (!isAgentError(err, 'STATIC_POD_INVALID')) throw err;
      }
    }),
    { numRuns: 300 },
  );
});
