import { describe, expect, test } from 'vitest';
import type { Container, Pod, PodSpec } from '../../api/pod.ts';
import type { Image } from '../../cri/gen/messages.ts';
import { containerConfig } from './container-config.ts';
import { FAKE_RESOURCES } from './fake-runtime.ts';
import { makeMounts, subPathRequests } from './mounts.ts';
import { normaliseSysctl, sandboxConfig } from './sandbox-config.ts';
import { containerSecurityContext, namespaceOptions } from './security-context.ts';

const security = { seccompDefault: false, seccompDir: '/root/seccomp', extraMaskedPaths: [] };
const image = (more: Partial<Image> = {}): Image => ({
  id: 'i',
  repoTags: [],
  repoDigests: [],
  size: 1,
  username: '',
  pinned: false,
  ...more,
});
const podOf = (spec: Partial<PodSpec>): Pod => ({
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: { containers: [], ...spec },
});

test('the groups of volumes come after those of the pod, each once', () => {
  const { linux } = containerConfig({
    pod: podOf({ securityContext: { fsGroup: 1, supplementalGroups: [2] } }),
    container: { name: 'c' },
    restartCount: 0,
    imageRef: '',
    image: image(),
    env: new Map(),
    mounts: [],
    targetId: '',
    volumeGroups: [7, 2, 7],
    resources: FAKE_RESOURCES,
    security,
  });
  expect(linux?.securityContext?.supplementalGroups).toEqual([1, 2, 7]);
});

test('a container configuration', () => {
  const container: Container = {
    name: 'c',
    image: 'busybox',
    command: ['echo', '$(A)'],
    args: ['$(B)', '$$(A)'],
    workingDir: '/w',
    tty: true,
  };
  const got = containerConfig({
    pod: podOf({}),
    container,
    restartCount: 2,
    imageRef: 'sha256:1',
    image: image(),
    env: new Map([['A', 'ä']]),
    mounts: [],
    targetId: '',
    resources: FAKE_RESOURCES,
    security,
  });
  expect(got).toMatchObject({
    metadata: { name: 'c', attempt: 2 },
    image: { image: 'sha256:1', userSpecifiedImage: 'busybox' },
    command: ['echo', 'ä'],
    args: ['$(B)', '$(A)'],
    workingDir: '/w',
    logPath: 'c/2.log',
    tty: true,
    stdin: false,
    envs: [{ key: 'A', value: Buffer.from('ä') }],
  });
});

test('in a user namespace every mount shows the owners it has on the host', () => {
  const userIds = { hostId: 131_072, containerId: 0, length: 65_536 };
  const got = containerConfig({
    pod: podOf({ hostUsers: false }),
    container: { name: 'c' },
    restartCount: 0,
    imageRef: 'i',
    image: image(),
    env: new Map(),
    mounts: [{ containerPath: '/a', hostPath: '/b' }],
    targetId: '',
    userIds,
    resources: FAKE_RESOURCES,
    security,
  });
  expect(got.mounts).toEqual([{ containerPath: '/a', hostPath: '/b', uidMappings: [userIds], gidMappings: [userIds] }]);
  expect(got.linux?.securityContext?.namespaceOptions?.usernsOptions).toEqual({
    mode: 'POD',
    uids: [userIds],
    gids: [userIds],
  });
});

describe('security context', () => {
  const of = (c: Partial<Container>, spec: Partial<PodSpec> = {}, img: Image | undefined = image()) =>
    containerSecurityContext(podOf(spec), { name: 'c', ...c }, img, {}, security);
  const nonRoot = { securityContext: { runAsNonRoot: true } };

  test.each<[string, ReturnType<typeof of>, object]>([
    [
      'nothing said',
      of({}),
      { runAsUser: { value: 0 }, privileged: false, noNewPrivs: false, seccomp: { profileType: 'Unconfined' } },
    ],
    ['image uid', of({}, {}, image({ uid: { value: 7 } })), { runAsUser: { value: 7 } }],
    ['image user name', of({}, {}, image({ username: 'www' })), { runAsUsername: 'www' }],
    [
      'pod user',
      of({}, { securityContext: { runAsUser: 5, runAsGroup: 6 } }),
      { runAsUser: { value: 5 }, runAsGroup: { value: 6 } },
    ],
    [
      'container user wins',
      of({ securityContext: { runAsUser: 0 } }, { securityContext: { runAsUser: 5 } }),
      { runAsUser: { value: 0 } },
    ],
    [
      'groups',
      of({}, { securityContext: { fsGroup: 1, supplementalGroups: [2, 3] } }),
      { supplementalGroups: [1, 2, 3] },
    ],
    ['no escalation', of({ securityContext: { allowPrivilegeEscalation: false } }), { noNewPrivs: true }],
    ['unmasked', of({ securityContext: { procMount: 'Unmasked' } }), { maskedPaths: [], readonlyPaths: [] }],
    [
      'seccomp of the pod',
      of({}, { securityContext: { seccompProfile: { type: 'RuntimeDefault' } } }),
      { seccomp: { profileType: 'RuntimeDefault' } },
    ],
    [
      'seccomp of the container',
      of({ securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'a.json' } } }),
      { seccomp: { profileType: 'Localhost', localhostRef: '/root/seccomp/a.json' } },
    ],
    [
      'capabilities',
      of({ securityContext: { capabilities: { add: ['NET_ADMIN'] } } }),
      { capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: [] } },
    ],
    ['non-root uid of the image', of(nonRoot, {}, image({ uid: { value: 7 } })), { runAsUser: { value: 7 } }],
  ])('%s', (_, got, want) => {
    expect(got).toMatchObject(want);
  });

  const where = '(pod: "p_ns(u)", container: c)';
  test.each<[string, () => unknown, string]>([
    [
      'uid 0',
      () => of({ securityContext: { runAsNonRoot: true, runAsUser: 0 } }),
      `container's runAsUser breaks non-root policy ${where}`,
    ],
    ['image without user', () => of(nonRoot), `container has runAsNonRoot and image will run as root ${where}`],
    ['image uid 0', () => of(nonRoot, {}, image({ uid: { value: 0 } })), 'image will run as root'],
    [
      'a name',
      () => of(nonRoot, {}, image({ username: 'www' })),
      `image has non-numeric user (www), cannot verify user is non-root ${where}`,
    ],
    [
      'Localhost without a name',
      () => of({ securityContext: { seccompProfile: { type: 'Localhost' } } }),
      'localhostProfile must be set',
    ],
  ])('%s is refused', (_, make, message) => {
    expect(make).toThrow(message);
  });

  test.each<[Partial<PodSpec>, string, object]>([
    [{}, '', { network: 'POD', ipc: 'POD', pid: 'CONTAINER' }],
    [{ hostNetwork: true, hostIPC: true, hostPID: true }, '', { network: 'NODE', ipc: 'NODE', pid: 'NODE' }],
    [{ shareProcessNamespace: true }, 'x', { pid: 'POD', targetId: '' }],
    [{}, 'x', { pid: 'TARGET', targetId: 'x' }],
  ])('namespaces of %j', (spec, target, want) => {
    const got = namespaceOptions(podOf(spec), { targetId: target, userIds: undefined });
    expect(got).toMatchObject({ ...want, usernsOptions: { mode: 'NODE' } });
  });
});

describe('mounts', () => {
  const volume = (name: string, readOnly = false) => ({
    name,
    hostPath: `/v/${name}`,
    readOnly,
    selinuxRelabel: false,
  });
  const volumes = new Map([
    ['data', volume('data')],
    ['conf', volume('conf', true)],
  ]);
  const base = {
    volumes,
    env: new Map<string, string>(),
    subPaths: new Map<number, string>(),
    etcHostsFile: '/h',
    terminationLogFile: '/t',
    supportsRecursiveReadOnly: false,
  };
  const mounts = (container: Partial<Container>, more = {}) =>
    makeMounts({ container: { name: 'c', ...container }, ...base, ...more });

  test('volumes, then hosts, then the termination log', () => {
    const got = mounts({
      volumeMounts: [
        { name: 'data', mountPath: 'rel', mountPropagation: 'HostToContainer' },
        { name: 'conf', mountPath: '/conf' },
      ],
    });
    expect(got).toMatchObject([
      { containerPath: '/rel', hostPath: '/v/data', readonly: false, propagation: 'PROPAGATION_HOST_TO_CONTAINER' },
      { containerPath: '/conf', hostPath: '/v/conf', readonly: true, propagation: 'PROPAGATION_PRIVATE' },
      { containerPath: '/etc/hosts', hostPath: '/h', readonly: false },
      { containerPath: '/dev/termination-log', hostPath: '/t', readonly: false },
    ]);
  });

  test('a container that mounts /etc/hosts itself keeps its own', () => {
    const got = mounts({ volumeMounts: [{ name: 'data', mountPath: '/etc/hosts/' }], terminationMessagePath: '/m' });
    expect(got.map((m) => m.containerPath)).toEqual(['/etc/hosts/', '/m']);
  });

  test('sub-paths', () => {
    const container: Container = {
      name: 'c',
      volumeMounts: [
        { name: 'data', mountPath: '/a', subPath: 'x//y/' },
        { name: 'data', mountPath: '/b', subPathExpr: '$(POD)/z' },
        { name: 'data', mountPath: '/c', subPath: '.' },
      ],
    };
    const requests = subPathRequests(container, volumes, new Map([['POD', 'p']]));
    expect(requests.map((r) => [r.index, r.subPath])).toEqual([
      [0, 'x/y'],
      [1, 'p/z'],
    ]);
    const got = makeMounts({ ...base, container, subPaths: new Map([[0, '/bound']]) });
    expect(got[0]?.hostPath).toBe('/bound');
  });

  test.each<[string, object, string]>([
    [
      'unknown volume',
      { name: 'nope', mountPath: '/a', subPath: 'x' },
      'cannot find volume "nope" to mount into container "c"',
    ],
    ['absolute', { name: 'data', mountPath: '/a', subPath: '/etc' }, 'must not be an absolute path'],
    ['upwards', { name: 'data', mountPath: '/a', subPath: 'x/../..' }, 'unable to provision SubPath `x/../..`'],
    ['upwards by a variable', { name: 'data', mountPath: '/a', subPathExpr: '$(UP)/x' }, 'unable to provision SubPath'],
    ['unset variable', { name: 'data', mountPath: '/a', subPathExpr: '$(NONE)/x' }, 'missing value for NONE'],
  ])('%s is refused', (_, mount, message) => {
    const container = { name: 'c', volumeMounts: [mount] } as Container;
    expect(() => subPathRequests(container, volumes, new Map([['UP', '..']]))).toThrow(message);
  });

  test.each<[string, object, boolean, boolean | string]>([
    ['IfPossible with support', { readOnly: true, recursiveReadOnly: 'IfPossible' }, true, true],
    ['IfPossible without', { readOnly: true, recursiveReadOnly: 'IfPossible' }, false, false],
    [
      'Enabled without',
      { readOnly: true, recursiveReadOnly: 'Enabled' },
      false,
      'but it is not supported by the runtime',
    ],
    [
      'not read-only',
      { recursiveReadOnly: 'Enabled' },
      true,
      'volume "data" requested recursive read-only mode, but it is not read-only',
    ],
  ])('recursive read-only: %s', (_, mount, supportsRecursiveReadOnly, want) => {
    const make = () =>
      mounts({ volumeMounts: [{ name: 'data', mountPath: '/a', ...mount }] }, { supportsRecursiveReadOnly });
    if (typeof want === 'string') expect(make).toThrow(want);
    else expect(make()[0]?.recursiveReadOnly).toBe(want);
  });
});

describe('sandbox configuration', () => {
  const config = (pod: Pod) =>
    sandboxConfig({
      pod,
      attempt: 1,
      logDirectory: '/l',
      hostname: 'h',
      dns: { servers: [], searches: [], options: [] },
      cgroupParent: '/k',
      resources: FAKE_RESOURCES,
    });

  test('ports without duplicates, sysctls with dots, no host name on the host network', () => {
    const ports = [
      { containerPort: 80, name: 'http' },
      { containerPort: 81, name: 'http' },
      { containerPort: 53, protocol: 'UDP', hostPort: 53 },
      { containerPort: 53, protocol: 'UDP', hostPort: 53 },
      { containerPort: 53 },
    ];
    const got = config(
      podOf({
        hostNetwork: true,
        containers: [{ name: 'c', ports }],
        securityContext: { sysctls: [{ name: 'net/core/somaxconn', value: '1' }] },
      }),
    );
    expect(got.portMappings?.map((p) => [p.protocol, p.containerPort, p.hostPort])).toEqual([
      ['TCP', 80, 0],
      ['UDP', 53, 53],
      ['TCP', 53, 0],
    ]);
    expect(got.linux?.sysctls).toEqual({ 'net.core.somaxconn': '1' });
    expect(got).toMatchObject({
      hostname: '',
      metadata: { name: 'p', namespace: 'ns', uid: 'u', attempt: 1 },
      linux: { cgroupParent: '/k' },
    });
  });

  test('privileged when any container is', () => {
    const got = config(podOf({ initContainers: [{ name: 'i', securityContext: { privileged: true } }] }));
    expect(got.linux?.securityContext?.privileged).toBe(true);
  });

  test('a dot inside a sysctl element survives', () => {
    expect(normaliseSysctl('net/ipv4/conf/eth0.100/forwarding')).toBe('net.ipv4.conf.eth0/100.forwarding');
    expect(normaliseSysctl('kernel.shm_rmid_forced')).toBe('kernel.shm_rmid_forced');
  });
});
