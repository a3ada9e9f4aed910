import { describe, expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod, PodSpec } from '../api/pod.ts';
import { admit, rejectedStatus } from './admission.ts';

const NODE: Node = {
  metadata: { name: 'n', labels: { 'kubernetes.io/os': 'linux', zone: 'a' } },
  status: { allocatable: { cpu: '2', memory: '1Gi', pods: '2' } },
};

function pod(spec: Partial<PodSpec> = {}, annotations: Record<string, string> = {}): Pod {
  return { metadata: { name: 'p', uid: 'u', annotations }, spec: { containers: [{ name: 'c' }], ...spec } };
}

const wanting = (requests: Record<string, string>) => pod({ containers: [{ name: 'c', resources: { requests } }] });
const onPort = (hostPort: number) => pod({ containers: [{ name: 'c', ports: [{ containerPort: 80, hostPort }] }] });
const STRICT = pod({ securityContext: { supplementalGroupsPolicy: 'Strict' } as object });
const STRICT_NODE = { ...NODE, status: { ...NODE.status, features: { supplementalGroupsPolicy: true } } } as Node;
const tainted: Node = { ...NODE, spec: { taints: [{ key: 'k', effect: 'NoExecute' }] } };

describe('admission', () => {
  test.each<[string, Pod, readonly Pod[], Node | undefined, string | undefined]>([
    ['a plain pod', pod(), [], NODE, undefined],
    ['an amount that cannot be read', wanting({ cpu: '1 core' }), [], NODE, 'UnexpectedAdmissionError'],
    ['no node', pod(), [], undefined, 'InvalidNodeInfo'],
    ['another system', pod({ os: { name: 'windows' } }), [], NODE, 'PodOSNotSupported'],
    [
      'an unsafe sysctl',
      pod({ securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }),
      [],
      NODE,
      'SysctlForbidden',
    ],
    ['strict groups and a runtime without them', STRICT, [], NODE, 'SupplementalGroupsPolicyNotSupported'],
    ['strict groups and a runtime with them', STRICT, [], STRICT_NODE, undefined],
    ['too much cpu', wanting({ cpu: '1500m' }), [wanting({ cpu: '600m' })], NODE, 'OutOfcpu'],
    ['just enough cpu', wanting({ cpu: '1400m' }), [wanting({ cpu: '600m' })], NODE, undefined],
    ['too much memory', wanting({ memory: '2Gi' }), [], NODE, 'OutOfmemory'],
    ['too many pods', pod(), [pod(), pod()], NODE, 'OutOfpods'],
    ['a resource that is not the node’s', wanting({ 'example.com/dongle': '1' }), [], NODE, undefined],
    ['another zone', pod({ nodeSelector: { zone: 'b' } }), [], NODE, 'NodeAffinity'],
    ['another node', pod({ nodeName: 'm' }), [], NODE, 'NodeName'],
    ['a taken port', onPort(80), [onPort(80)], NODE, 'NodePorts'],
    ['a free port', onPort(80), [onPort(81)], NODE, undefined],
    ['a taint', pod(), [], tainted, 'TaintToleration'],
    ['a tolerated taint', pod({ tolerations: [{ operator: 'Exists' }] }), [], tainted, undefined],
    ['a static pod and a taint', pod({}, { 'kubernetes.io/config.source': 'file' }), [], tainted, undefined],
  ])('%s', (_, p, activePods, node, reason) => expect(admit({ pod: p, activePods, node })?.reason).toBe(reason));

  test('a pod whose amounts cannot be read is told why, without a class', () => {
    const unreadable = wanting({ cpu: '1 core' });
    const rejection = admit({ pod: unreadable, activePods: [], node: NODE })!;
    expect(rejection.message).toContain('invalid quantity "1 core"');
    const status = rejectedStatus(unreadable, rejection, 0);
    expect(status).toMatchObject({ phase: 'Failed', reason: 'UnexpectedAdmissionError' });
    expect(status.qosClass).toBeUndefined();
  });
});
