import { describe, expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod, PodSpec } from '../api/pod.ts';
import { admit, isActive, rejectedStatus } from './admission.ts';

const NODE: Node = {
  metadata: { name: 'n', labels: { 'kubernetes.io/os': 'linux', zone: 'a' } },
  status: { allocatable: { cpu: '2', memory: '1Gi', pods: '2' } },
};

function pod(spec: Partial<PodSpec> = {}, annotations: Record<string, string> = {}): Pod {
  return { metadata: { name: 'p', uid: 'u', annotations }, spec: { containers: [{ name: 'c' }], ...spec } };
}

const wanting = (requests: Record<string, string>) => pod({ containers: [{ name: 'c', resources: { requests } }] });
const labelled = (labels: Record<string, string>): Pod => ({ ...pod(), metadata: { name: 'p', uid: 'u', labels } });
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

  test('a pod that needs what this node does not declare', () => {
    const rule = { action: 'RestartAllContainers' as const, exitCodes: { operator: 'In' as const, values: [1] } };
    const p = pod({ containers: [{ name: 'c', restartPolicyRules: [rule] }] });
    const asked = (declaredFeatures: readonly string[]) =>
      admit({ pod: p, activePods: [], node: NODE, declaredFeatures });
    expect(asked([])).toEqual({
      reason: 'PodFeatureUnsupported',
      message: 'Pod requires node features that are not available: RestartAllContainersOnContainerExits',
    });
    expect(asked(['RestartAllContainersOnContainerExits'])).toBeUndefined();
    expect(admit({ pod: p, activePods: [], node: NODE })).toBeUndefined(); // nobody is asked where nothing is declared
  });

  test('what is said first, and of a critical pod what nobody could make room for', () => {
    const everything = {
      ...wanting({ cpu: '4', memory: '2Gi' }),
      spec: { ...wanting({ cpu: '4', memory: '2Gi' }).spec!, nodeSelector: { zone: 'b' } },
    };
    const reasonOf = (p: Pod, activePods: readonly Pod[] = []) => admit({ pod: p, activePods, node: NODE })?.reason;
    const critical = (p: Pod): Pod => ({ ...p, spec: { ...p.spec!, priority: 2_000_000_000 } });
    expect(reasonOf(everything)).toBe('OutOfcpu');
    expect(reasonOf(critical(everything))).toBe('NodeAffinity');
    expect(admit({ pod: critical(wanting({ cpu: '4' })), activePods: [wanting({ cpu: '500m' })], node: NODE })).toEqual(
      {
        reason: 'UnexpectedAdmissionError',
        message:
          'Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods ' +
          'to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 2000), ]',
      },
    );
  });

  test('a critical pod names those that would have to go', () => {
    const victim = wanting({ cpu: '1500m' });
    const critical: Pod = {
      ...wanting({ cpu: '1' }),
      metadata: { name: 'crit', annotations: { 'kubernetes.io/config.source': 'file' } },
    };
    expect(admit({ pod: critical, activePods: [victim], node: NODE })?.victims).toEqual([victim]);
  });

  test('only labels: worth another look at the node; with more in the way it is not', () => {
    const elsewhere = pod({ nodeSelector: { zone: 'b' } });
    expect(admit({ pod: elsewhere, activePods: [], node: NODE })?.onlyNodeLabels).toBe(true);
    const other = pod({ nodeSelector: { zone: 'b' }, nodeName: 'm' });
    expect(admit({ pod: other, activePods: [], node: NODE })?.onlyNodeLabels).toBeUndefined();
  });

  test.each([
    ['a label for another system', labelled({ 'kubernetes.io/os': 'windows' }), 'PodOSSelectorNodeLabelDoesNotMatch'],
    ['a selector for another system', pod({ nodeSelector: { 'kubernetes.io/os': 'windows' } }), 'NodeAffinity'],
  ])('%s', (_, p, reason) => expect(admit({ pod: p, activePods: [], node: NODE })?.reason).toBe(reason));

  test('the figures of a refusal: cpu in thousandths, others in units, what is in use with them', () => {
    const messageOf = (requests: Record<string, string>, used: Record<string, string>) =>
      admit({ pod: wanting(requests), activePods: [wanting(used)], node: NODE })?.message;
    expect(messageOf({ cpu: '1.5' }, { cpu: '0.6' })).toBe(
      "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000",
    );
    expect(messageOf({ memory: '1Gi' }, { memory: '1Mi' })).toBe(
      "Node didn't have enough resource: memory, requested: 1073741824, used: 1048576, capacity: 1073741824",
    );
  });

  test('what a pod that is here asks for is read once, however many pods come after it', () => {
    let reads = 0;
    const container = {
      name: 'c',
      get resources() {
        reads++;
        return { requests: { cpu: '600m' } };
      },
    };
    const here = pod({ containers: [container] });
    const reasons = [1, 2, 3].map(() => admit({ pod: wanting({ cpu: '2' }), activePods: [here], node: NODE })?.reason);
    expect(reasons).toEqual(['OutOfcpu', 'OutOfcpu', 'OutOfcpu']);
    expect(reads).toBe(1);
  });

  test('another pod whose amounts cannot be read counts as a pod', () => {
    const unreadable = wanting({ cpu: 'much' });
    expect(admit({ pod: pod(), activePods: [unreadable], node: NODE })).toBeUndefined();
    expect(admit({ pod: pod(), activePods: [unreadable, unreadable], node: NODE })?.reason).toBe('OutOfpods');
  });

  test.each([
    ['admitted and running', 'Running', 'sync', true],
    ['over, and being stopped', 'Failed', 'terminating', true],
    ['over, and not yet stopped', 'Failed', 'sync', false],
    ['stopped', 'Failed', 'terminated', false],
    ['refused: without a worker', 'Failed', undefined, false],
  ] as const)('holds resources: %s', (_, phase, worker, wanted) => {
    expect(isActive(pod(), { phase }, worker)).toBe(wanted);
  });

  test('a pod whose amounts cannot be read is told why, without a class', () => {
    const unreadable = wanting({ cpu: '1 core' });
    const rejection = admit({ pod: unreadable, activePods: [], node: NODE })!;
    expect(rejection.message).toContain('invalid quantity "1 core"');
    const status = rejectedStatus(unreadable, rejection, 0);
    expect(status).toMatchObject({ phase: 'Failed', reason: 'UnexpectedAdmissionError' });
    expect(status.qosClass).toBeUndefined();
  });

  test('a refusal tells of which spec', () => {
    const one = pod();
    const status = rejectedStatus(
      { ...one, metadata: { ...one.metadata, generation: 3 } },
      { reason: 'x', message: 'y' },
      0,
    );
    expect(status.observedGeneration).toBe(3);
  });
});

describe('admission to a node that is short of something', () => {
  const memory = ['MemoryPressure'];
  const disk = ['DiskPressure', 'MemoryPressure'];
  const asking = wanting({ memory: '1Mi' });
  const tolerant = pod({ tolerations: [{ key: 'node.kubernetes.io/memory-pressure', operator: 'Exists' }] });
  const critical = pod({ priority: 2_000_000_000 });
  test.each<[string, Pod, readonly string[], boolean]>([
    ['memory: a pod that asks for none', pod(), memory, false],
    ['memory: one that asks for some', asking, memory, true],
    ['memory: one that does not mind', tolerant, memory, true],
    ['disk: a pod that asks for memory', asking, disk, false],
    ['disk: one that does not mind the lack of memory', tolerant, disk, false],
    ['processes', asking, ['PIDPressure'], false],
    ['everything: a pod that runs already', { ...pod(), status: { phase: 'Running' } }, disk, true],
    ['everything: a critical pod', critical, [...disk, 'PIDPressure'], true],
    ['nothing', pod(), [], true],
  ])('%s', (_, one, pressure, admitted) => {
    const rejection = admit({ pod: one, activePods: [], node: NODE, pressure });
    const wanted = { reason: 'Evicted', message: `The node had condition: [${pressure.join(' ')}]. ` };
    expect(rejection).toEqual(admitted ? undefined : wanted);
  });
});
