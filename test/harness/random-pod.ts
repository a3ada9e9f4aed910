// Pods as nobody would write them on purpose: what an API server lets through in all its combinations, and what it would
// refuse but a static manifest may hold. The types are right; the contents are whatever the seed says.
import type { Container, EnvVar, Pod, PodSpec, Volume, VolumeMount } from '../../api/pod.ts';
import type { Random } from './random.ts';

/** `valid`: an API server would take it. `odd`: it may well. `hostile`: anything of the right type. */
export type Taste = 'valid' | 'odd' | 'hostile';

export interface RandomPodOptions {
  readonly name: string;
  readonly namespace: string;
  readonly taste: Taste;
}

type Maker = (random: Random, taste: Taste) => unknown;

const EVIL_TEXTS = [
  ...['', ' ', '..', '../../../etc/shadow', '/', '//', '.', '\0', 'a\nb', '\u{1f525}', '$(A)$(B)$$(C)', '-rf', '%s%n'],
  ...[
    '__proto__',
    'constructor',
    'toString',
    'x'.repeat(5000),
    '=',
    'a=b',
    "metadata.labels['",
    '0',
    '-1',
    'NaN',
    '\ud800',
  ],
];
const EVIL_NUMBERS = [0, -1, 1, 65_536, 2 ** 31, 2 ** 53, -(2 ** 31), 0.5];
const EVIL_QUANTITIES = ['', 'abc', '-1', '1e400', '9'.repeat(40), '0x10', '1Zi', '1.5', 'Infinity', '1 Gi'];
const QUANTITIES = { cpu: ['1m', '10m', '100m', '0.5'], memory: ['16Mi', '64Mi', '100M', '33554432'] };
const FIELDS = [
  'metadata.name',
  'metadata.uid',
  'spec.nodeName',
  'status.hostIP',
  'status.podIP',
  "metadata.labels['a']",
];

const EVIL: Readonly<Record<Taste, number>> = { valid: 0, odd: 0.02, hostile: 0.2 };

function evil(random: Random, taste: Taste): boolean {
  return random.chance(EVIL[taste]);
}

/** `value` most of the time; something evil of the same type now and then, for hostile pods. */
function text(random: Random, taste: Taste, value: string): string {
  return evil(random, taste) ? random.pick(EVIL_TEXTS) : value;
}

function number(random: Random, taste: Taste, value: number): number {
  return evil(random, taste) ? random.pick(EVIL_NUMBERS) : value;
}

/** Each member of `makers` with `probability`. */
function some(random: Random, taste: Taste, probability: number, makers: Readonly<Record<string, Maker>>): object {
  const chosen = Object.entries(makers).filter(() => random.chance(probability));
  return Object.fromEntries(chosen.map(([name, make]) => [name, make(random, taste)]));
}

function listOf<T>(random: Random, most: number, make: (index: number) => T): T[] {
  return Array.from({ length: random.int(0, most) }, (_, i) => make(i));
}

function amounts(random: Random, taste: Taste): Record<string, string> {
  return Object.fromEntries(
    (['cpu', 'memory'] as const)
      .filter(() => random.chance(0.6))
      .map((name) => [name, evil(random, taste) ? random.pick(EVIL_QUANTITIES) : random.pick(QUANTITIES[name])]),
  );
}

function resources(random: Random, taste: Taste): object {
  const limits = amounts(random, taste);
  // Requests above their limits are refused by an API server.
  const requests = taste === 'hostile' ? amounts(random, taste) : random.chance(0.5) ? limits : {};
  return { limits, requests };
}

const securityContext: Maker = (random, taste) =>
  some(random, taste, 0.25, {
    runAsUser: () => number(random, taste, random.int(0, 70_000)),
    runAsGroup: () => number(random, taste, random.int(1, 70_000)),
    runAsNonRoot: () => random.chance(0.3),
    readOnlyRootFilesystem: () => random.chance(0.5),
    allowPrivilegeEscalation: () => random.chance(0.5),
    capabilities: () => ({ drop: [text(random, taste, 'ALL')], add: [text(random, taste, 'NET_BIND_SERVICE')] }),
    seccompProfile: () =>
      random.pick([
        { type: 'RuntimeDefault' },
        { type: 'Unconfined' },
        { type: 'Localhost', localhostProfile: text(random, taste, 'none.json') },
      ]),
    procMount: () => 'Default',
  });

const podSecurityContext: Maker = (random, taste) => ({
  ...(securityContext(random, taste) as Record<string, unknown>),
  ...some(random, taste, 0.3, {
    fsGroup: () => number(random, taste, 2000),
    fsGroupChangePolicy: () => random.pick(['OnRootMismatch', 'Always']),
    supplementalGroups: () => [number(random, taste, 3000), 3001],
    sysctls: () => [
      { name: text(random, taste, 'net.ipv4.ip_unprivileged_port_start'), value: text(random, taste, '80') },
    ],
  }),
  // Of containers alone.
  ...{ readOnlyRootFilesystem: undefined, allowPrivilegeEscalation: undefined, capabilities: undefined },
  procMount: undefined,
});

function probe(random: Random, taste: Taste): object {
  const handlers = [
    { exec: { command: [text(random, taste, 'true')] } },
    { httpGet: { port: number(random, taste, 8080), path: text(random, taste, '/healthz') } },
    { httpGet: { port: text(random, taste, 'web'), path: '/', host: text(random, taste, '127.0.0.1') } },
    { tcpSocket: { port: number(random, taste, 80) } },
    { grpc: { port: number(random, taste, 80), service: text(random, taste, '') } },
  ];
  return {
    ...random.pick(handlers),
    ...some(random, taste, 0.3, {
      periodSeconds: () => number(random, taste, 1),
      timeoutSeconds: () => number(random, taste, 1),
      failureThreshold: () => number(random, taste, random.int(1, 3)),
      initialDelaySeconds: () => number(random, taste, 0),
    }),
  };
}

function envVar(random: Random, taste: Taste, index: number): EnvVar {
  const name = text(random, taste, `VAR_${index}`);
  const sources = [
    { fieldRef: { fieldPath: text(random, taste, random.pick(FIELDS)) } },
    { resourceFieldRef: { resource: text(random, taste, 'limits.cpu'), divisor: text(random, taste, '1m') } },
    { configMapKeyRef: { name: text(random, taste, 'settings'), key: text(random, taste, 'key'), optional: true } },
    { secretKeyRef: { name: 'missing', key: 'key', optional: random.chance(0.8) } },
  ];
  if (random.chance(0.4)) return { name, valueFrom: random.pick(sources) };
  return { name, value: text(random, taste, random.pick(['value', '$(VAR_0)', '$$(VAR_0)', '$(', ''])) };
}

function volume(random: Random, taste: Taste, index: number): Volume {
  const items = () => [{ key: text(random, taste, 'key'), path: text(random, taste, 'some/path') }];
  const mode = () => (random.chance(0.3) ? { defaultMode: number(random, taste, 0o400) } : {});
  const optional = { optional: taste === 'hostile' ? random.chance(0.5) : random.chance(0.9) };
  const downward = () => [
    { path: text(random, taste, 'name'), fieldRef: { fieldPath: text(random, taste, 'metadata.name') } },
  ];
  const sources: Omit<Volume, 'name'>[] = [
    { emptyDir: {} },
    { emptyDir: { medium: 'Memory', sizeLimit: evil(random, taste) ? random.pick(EVIL_QUANTITIES) : '1Mi' } },
    {
      configMap: {
        name: text(random, taste, 'settings'),
        ...optional,
        ...mode(),
        ...(random.chance(0.5) ? { items: items() } : {}),
      },
    },
    { secret: { secretName: text(random, taste, 'settings'), ...optional, ...mode() } },
    { downwardAPI: { items: downward(), ...mode() } },
    {
      projected: {
        sources: random.shuffle([
          { configMap: { name: 'settings', optional: true } },
          { downwardAPI: { items: downward() } },
          {
            serviceAccountToken: { path: text(random, taste, 'token'), expirationSeconds: number(random, taste, 3600) },
          },
        ]),
      },
    },
    {
      hostPath: {
        path: text(random, taste, '/proc/sys'),
        type: random.pick(['', 'Directory', 'File']),
      },
    },
  ];
  return { name: text(random, taste, `volume-${index}`), ...random.pick(sources) };
}

function mounts(random: Random, taste: Taste, volumes: readonly Volume[]): VolumeMount[] {
  return volumes
    .filter(() => random.chance(0.6))
    .map((v, i) => ({
      name: text(random, taste, v.name),
      mountPath: text(random, taste, `/mnt/${i}`),
      ...some(random, taste, 0.2, {
        readOnly: () => random.chance(0.7),
        subPath: () => text(random, taste, random.pick(['a', 'a/b', 'key'])),
        mountPropagation: () => random.pick(['None', 'HostToContainer']),
      }),
    }));
}

function container(random: Random, taste: Taste, name: string, script: string, volumes: readonly Volume[]): Container {
  return {
    name: text(random, taste, name),
    image: text(random, taste, random.pick(['busybox', 'busybox:1.36', 'docker.io/library/busybox:latest'])),
    imagePullPolicy: random.pick(['IfNotPresent', 'Never']),
    command: ['sh', '-c', script].map((word) => text(random, taste, word)),
    ...some(random, taste, 0.3, {
      args: () => [text(random, taste, '$(VAR_0)')],
      env: () => listOf(random, 4, (i) => envVar(random, taste, i)),
      envFrom: () => [
        { prefix: text(random, taste, 'P_'), configMapRef: { name: text(random, taste, 'settings'), optional: true } },
      ],
      workingDir: () => text(random, taste, '/tmp'),
      resources: () => resources(random, taste),
      securityContext,
      volumeMounts: () => mounts(random, taste, volumes),
      ports: () => [
        {
          name: 'web',
          containerPort: number(random, taste, 80),
          hostPort: number(random, taste, random.int(20_000, 30_000)),
        },
      ],
      terminationMessagePath: () => text(random, taste, '/dev/end'),
      terminationMessagePolicy: () => random.pick(['File', 'FallbackToLogsOnError']),
      stdin: () => random.chance(0.5),
      tty: () => random.chance(0.5),
    }),
  };
}

/** Long-lived containers end within a second of being asked to. */
const SCRIPTS = [
  'trap "exit 0" TERM; sleep 1000000 & wait',
  'trap "exit 0" TERM; sleep 1000000 & wait',
  'exit 0',
  'exit 7',
  'sleep 0.3; exit 3',
];

export function randomPod(random: Random, { name, namespace, taste }: RandomPodOptions): Pod {
  const volumes = listOf(random, 4, (i) => volume(random, taste, i));
  const many = (prefix: string, most: number, scripts: readonly string[]) =>
    listOf(random, most, (i) => container(random, taste, `${prefix}-${i}`, random.pick(scripts), volumes));
  const main = container(random, taste, 'main', random.pick(SCRIPTS), volumes);
  const probed = random.chance(0.3)
    ? { ...main, readinessProbe: probe(random, taste), livenessProbe: probe(random, taste) }
    : main;
  const spec: PodSpec = {
    terminationGracePeriodSeconds: number(random, taste, random.int(0, 2)),
    restartPolicy: random.pick(['Always', 'OnFailure', 'Never']),
    containers: [probed, ...many('other', 2, SCRIPTS)],
    initContainers: many('init', 2, ['exit 0', 'exit 0', 'true', 'exit 1']),
    volumes,
    ...some(random, taste, 0.15, {
      hostname: () => text(random, taste, 'host'),
      subdomain: () => text(random, taste, 'sub'),
      setHostnameAsFQDN: () => random.chance(0.3),
      shareProcessNamespace: () => random.chance(0.5),
      hostNetwork: () => taste === 'hostile' && random.chance(0.5),
      hostPID: () => random.chance(0.2),
      enableServiceLinks: () => random.chance(0.5),
      activeDeadlineSeconds: () => number(random, taste, 2),
      dnsPolicy: () => random.pick(['Default', 'ClusterFirst', 'ClusterFirstWithHostNet']),
      dnsConfig: () => ({
        nameservers: [text(random, taste, '10.0.0.1')],
        searches: [text(random, taste, 'example.org')],
        options: [{ name: text(random, taste, 'ndots'), value: '2' }],
      }),
      hostAliases: () => [{ ip: text(random, taste, '10.1.2.3'), hostnames: [text(random, taste, 'alias')] }],
      securityContext: podSecurityContext,
      readinessGates: () => [{ conditionType: text(random, taste, 'example.org/gate') }],
      tolerations: () => [{ operator: 'Exists' }],
      nodeSelector: () => ({ [text(random, taste, 'kubernetes.io/os')]: text(random, taste, 'linux') }),
      priority: () => number(random, taste, 0),
      imagePullSecrets: () => [{ name: text(random, taste, 'missing') }],
      overhead: () => (taste === 'hostile' ? amounts(random, taste) : undefined),
    }),
  };
  const labels = { a: 'label' };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels }, spec };
}
