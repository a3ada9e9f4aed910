import { describe, expect, test } from 'vitest';
import type { Pod, PodSpec, PodStatus } from '../../../api/pod.ts';
import { status as statusRules } from '../kinds/pod-subresources.ts';
import { podStatusFaults } from './pod-status.ts';

const SPEC = {
  restartPolicy: 'Never',
  containers: [
    { name: 'c', resources: { requests: { 'example.com/gpu': '1' }, claims: [{ name: 'k', request: 'r' }] } },
  ],
  initContainers: [{ name: 'i' }, { name: 'side', restartPolicy: 'Always' }],
  ephemeralContainers: [{ name: 'e' }],
  resourceClaims: [{ name: 'k', resourceClaimTemplateName: 't' }],
} as unknown as PodSpec;

const podWith = (status: object): Pod => ({ metadata: { name: 'p' }, spec: SPEC, status: status as PodStatus });
const faults = (next: object, old: object = {}) =>
  podStatusFaults(podWith(next), podWith(old)).map((f) => `${f.field}: ${f.message}`);
const ips = (...list: string[]) => ({ podIPs: list.map((ip) => ({ ip })) });
const hosts = (...list: string[]) => ({ hostIP: list[0], hostIPs: list.map((ip) => ({ ip })) });
const user = (uid: number, groups: number[] = []) => ({
  containerStatuses: [{ name: 'c', user: { linux: { uid, gid: 0, supplementalGroups: groups } } }],
});
const devices = (list: string, name: string, ...resources: object[]) => ({
  [list]: [{ name: list.startsWith('eph') ? 'e' : 'c', allocatedResourcesStatus: [{ name, resources }] }],
});

describe('what a status may say', () => {
  test.each<[string, object, string[]]>([
    ['nothing', {}, []],
    ['one address of each family', { ...ips('10.0.0.1', 'fd00::1'), ...hosts('fd00::2', '192.0.2.1') }, []],
    [
      'two of one family',
      ips('10.0.0.1', '10.0.0.2'),
      [
        'status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: may specify no more than one IP for each IP family',
      ],
    ],
    [
      'one address twice',
      hosts('10.0.0.1', '10.0.0.1'),
      [
        'status.hostIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.1"}]: may specify no more than one IP for each IP family',
      ],
    ],
    [
      'what is no address',
      ips('10.0.0.01'),
      ['status.podIPs[0]: Invalid value: "10.0.0.01": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    ],
    [
      'one family in the clothes of the other',
      ips('::ffff:10.0.0.1'),
      ['status.podIPs[0]: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address'],
    ],
    [
      'a first address that is another than the only one',
      { hostIP: '10.0.0.1', hostIPs: [{ ip: '10.0.0.2' }] },
      ['status.hostIPs[0].ip: Invalid value: "10.0.0.2": must be equal to `hostIP`'],
    ],
    ["a condition of one's own", { conditions: [{ type: 'example.com/warm', status: 'True' }] }, []],
    ['users up to the last', user(2 ** 31 - 1, [0, 5]), []],
    [
      'a user beyond it',
      user(2 ** 32 - 1, [-1]),
      [
        'status.containerStatuses[0].user.linux.uid: Invalid value: 4294967295: must be between 0 and 2147483647, inclusive',
        'status.containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive',
      ],
    ],
    [
      'devices of plugins and drivers',
      devices('containerStatuses', 'claim:k/r', { resourceID: 'd/p/0', health: 'Unknown' }),
      [],
    ],
    [
      'devices that the container did not ask for',
      devices('containerStatuses', 'example.com/fpga', { resourceID: '1', health: 'Healthy' }),
      [
        'status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "example.com/fpga": must match one of the container\'s resource requests',
      ],
    ],
    [
      'a device twice, once without health',
      devices('containerStatuses', 'example.com/gpu', { resourceID: '1', health: 'Healthy' }, { resourceID: '1' }),
      [
        'status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].health: Unsupported value: "": supported values: "Healthy", "Unhealthy", "Unknown"',
        'status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "1"',
      ],
    ],
    [
      'devices of an ephemeral container',
      devices('ephemeralContainerStatuses', 'example.com/gpu'),
      [
        'status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status',
      ],
    ],
    ['the claim of an entry', { resourceClaimStatuses: [{ name: 'k', resourceClaimName: 'p-k-1' }] }, []],
    [
      'the claim of no entry',
      { resourceClaimStatuses: [{ name: 'other' }] },
      [
        'status.resourceClaimStatuses[0].name: Invalid value: "other": must match the name of an entry in `spec.resourceClaims`',
      ],
    ],
    [
      'a generation below nought',
      { observedGeneration: -1 },
      ['status.observedGeneration: Invalid value: -1: must be a non-negative integer'],
    ],
  ])('%s', (_, next, expected) => {
    expect(faults(next)).toEqual(expected);
  });

  test('a condition type is a qualified name', () => {
    expect(faults({ conditions: [{ type: 'not good', status: 'True' }] })[0]).toMatch(
      /^status\.conditions\[0\]\.Type: Invalid value: "not good": /,
    );
  });

  test('a pod that has a node is not nominated for one; what it was nominated for may stay', () => {
    const bound = (nominatedNodeName: string) =>
      ({ metadata: { name: 'p' }, spec: { ...SPEC, nodeName: 'n1' }, status: { nominatedNodeName } }) as Pod;
    const texts = (next: Pod, old: Pod) => podStatusFaults(next, old).map((f) => `${f.field}: ${f.message}`);
    expect(texts(bound('n2'), bound('n1'))).toEqual([
      'status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node',
    ]);
    expect(texts(bound('n1'), bound('n1'))).toEqual([]);
    expect(texts(podWith({ nominatedNodeName: 'n2' }), podWith({}))).toEqual([]);
  });

  test('no status makes a pod a mirror, or takes that from one', () => {
    const annotated = (value?: string): Pod => ({
      ...podWith({}),
      metadata: { name: 'p', annotations: value === undefined ? {} : { 'kubernetes.io/config.mirror': value } },
    });
    const texts = (next: Pod, old: Pod) => podStatusFaults(next, old).map((f) => f.message);
    expect(texts(annotated('h'), annotated('h'))).toEqual([]);
    expect(texts(annotated('h'), annotated())).toEqual(['Forbidden: may not add mirror pod annotation']);
    const withdrawn = ['Forbidden: may not remove or update mirror pod annotation'];
    expect(texts(annotated(), annotated('h'))).toEqual(withdrawn);
    expect(texts(annotated('i'), annotated('h'))).toEqual(withdrawn);
  });

  test('an address from before the rule may stay', () => {
    expect(faults(ips('10.0.0.01'), ips('10.0.0.01'))).toEqual([]);
  });
});

describe('what may become of a status', () => {
  const ended = (name: string, exitCode: number) => [{ name, state: { terminated: { exitCode } } }];
  const runs = (name: string) => [{ name, state: { running: {} } }];
  const refusal = (list: string) => [
    `status.${list}[0].state: Forbidden: may not be transitioned to non-terminated state`,
  ];

  test.each<[string, string, boolean]>([
    ['containerStatuses', 'c', false],
    ['initContainerStatuses', 'i', false],
    ['initContainerStatuses', 'side', true],
    ['ephemeralContainerStatuses', 'e', false],
  ])('%s: %s runs again under Never: %s', (list, name, may) => {
    const found = faults({ [list]: runs(name) }, { [list]: ended(name, 1) });
    expect(found).toEqual(may ? [] : refusal(list));
  });

  test.each<[string, object, number, boolean]>([
    ['a policy of its own', { restartPolicy: 'OnFailure' }, 1, true],
    ['a policy of its own that a good end does not meet', { restartPolicy: 'OnFailure' }, 0, false],
    [
      'a rule that names its exit code',
      {
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
      },
      42,
      true,
    ],
    [
      'a rule that names another',
      {
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
      },
      43,
      false,
    ],
    [
      'a rule about all containers, whichever it is',
      {
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }],
      },
      0,
      true,
    ],
  ])('%s', (_, container, exitCode, may) => {
    const spec = { ...SPEC, containers: [{ name: 'c', ...container }] } as PodSpec;
    const [next, old] = [runs('c'), ended('c', exitCode)].map((containerStatuses) => ({
      spec,
      status: { containerStatuses } as unknown as PodStatus,
    }));
    expect(podStatusFaults(next!, old!)).toHaveLength(may ? 0 : 1);
  });

  test('an ephemeral container is tried once whatever the policy; one that vanishes is no revival', () => {
    const always = (status: object): Pod => ({
      ...podWith(status),
      spec: { ...SPEC, restartPolicy: 'Always' },
    });
    const list = 'ephemeralContainerStatuses';
    const next = always({ [list]: runs('e') });
    const old = always({ [list]: ended('e', 0) });
    expect(podStatusFaults(next, old).map((f) => `${f.field}: ${f.message}`)).toEqual(refusal(list));
    expect(podStatusFaults(always({}), old)).toEqual([]);
  });

  test('the QoS class stays', () => {
    expect(faults({ qosClass: 'Burstable' }, { qosClass: 'BestEffort' })).toEqual([
      'status.qosClass: Invalid value: "Burstable": field is immutable',
    ]);
  });

  test('podIP counts where podIPs says something else, and follows it where it is missing', () => {
    const written = (status: object) => {
      const next = podWith(status);
      statusRules.reset(next, podWith({ qosClass: 'BestEffort' }));
      return [next.status?.podIP, next.status?.podIPs];
    };
    expect(written({ podIP: '10.0.0.9', ...ips('10.0.0.1', 'fd00::1') })).toEqual(['10.0.0.9', [{ ip: '10.0.0.9' }]]);
    expect(written({ podIP: '10.0.0.9' })).toEqual(['10.0.0.9', [{ ip: '10.0.0.9' }]]);
    expect(written(ips('fd00::1', '10.0.0.1'))).toEqual(['fd00::1', [{ ip: 'fd00::1' }, { ip: '10.0.0.1' }]]);
    expect(written({})).toEqual([undefined, undefined]);
  });
});
