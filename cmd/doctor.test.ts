import { describe, expect, test } from 'vitest';
import { createCa } from '../api/pki.ts';
import { AgentError } from '../core/errors.ts';
import { renderFindings } from './doctor.ts';
import { examine } from './doctor-checks.ts';
import type { DoctorOptions, Finding, Host, RuntimeFacts } from './doctor-finding.ts';
import { driverInInfo } from './doctor-host.ts';

const OPTIONS: DoctorOptions = {
  runtimeEndpoint: 'unix:///run/c.sock',
  cniBinDir: '/opt/cni/bin',
  cgroupDriver: 'cgroupfs',
  failSwapOn: true,
  failCgroupV1: true,
  kernelParameters: 'set',
  ports: [
    { port: 10_250, setting: 'port', needed: true },
    { port: 10_256, setting: 'healthzBindAddress', needed: false },
  ],
  certDir: '/pki',
  rootDir: '/var/lib/kubelet',
  nodeName: undefined,
  configured: false,
};
const RUNTIME: RuntimeFacts = {
  name: 'containerd',
  version: '2.1.4',
  apiVersion: 'v1',
  ready: true,
  cgroupDriver: 'cgroupfs',
  driverIsTaken: false,
};
const PLUGINS = ['bridge', 'host-local', 'loopback', 'portmap'];
const PROGRAMS = 'ip bridge iptables iptables-save iptables-restore mount umount nsenter unshare nft conntrack'.split(
  ' ',
);

const FILES: Readonly<Record<string, string>> = {
  '/proc/self/status': 'Name:\tnode\nCapEff:\t000001ffffffffff\n',
  '/proc/filesystems': 'nodev\tsysfs\nnodev\toverlay\n\text4\n',
  '/proc/self/mountinfo': '30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n',
  '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory hugetlb pids\n',
  '/proc/sys/net/bridge/bridge-nf-call-iptables': '1\n',
  '/proc/sys/net/ipv4/ip_forward': '1\n',
  '/proc/swaps': 'Filename Type Size Used Priority\n',
  '/proc/sys/net/netfilter/nf_conntrack_count': '5\n',
  '/proc/sys/net/netfilter/nf_conntrack_max': '1000\n',
  '/run/c.sock': '',
  ...Object.fromEntries(['mnt', 'net', 'pid', 'ipc', 'uts'].map((ns) => [`/proc/self/ns/${ns}`, ''])),
  ...Object.fromEntries(PLUGINS.map((name) => [`/opt/cni/bin/${name}`, ''])),
  ...Object.fromEntries(PROGRAMS.map((name) => [`/sbin/${name}`, ''])),
};

const DAY_MS = 86_400_000;
const NOW = Date.parse('2026-06-15T12:00:00Z');

/** A certificate that ends so many days from now. */
function expiring(days: number): string {
  const lifetimeMs = 30 * DAY_MS;
  return createCa('node', { nowMs: NOW + days * DAY_MS - lifetimeMs, lifetimeMs }).cert;
}

interface Change {
  /** Files over those of a good host; undefined: not there. */
  readonly files?: Readonly<Record<string, string | undefined>>;
  readonly uid?: number;
  /** The command whose words include this fails so. */
  readonly refuses?: readonly [string, string];
  readonly askRuntime?: Host['askRuntime'];
  readonly options?: Partial<DoctorOptions>;
  readonly ports?: Readonly<Record<number, string>>;
  readonly free?: { readonly bytes: number; readonly inodes: number };
  readonly hostname?: string;
  /** What timedatectl says. */
  readonly synchronized?: 'yes' | 'no' | '';
}

/** A host on which a node can run, but for `change`. */
function host(change: Change = {}): Host {
  const files: Readonly<Record<string, string | undefined>> = { ...FILES, ...change.files };
  return {
    uid: change.uid ?? 0,
    programPath: ['/bin', '/sbin'],
    read: async (file) => files[file],
    exists: async (file) => files[file] !== undefined,
    exec: async (program, args) => {
      const [words, stderr] = change.refuses ?? ['', ''];
      const refused = words !== '' && [program, ...args].join(' ').includes(words);
      const stdout = program === 'timedatectl' ? `${change.synchronized ?? 'yes'}\n` : '';
      return { code: refused ? 2 : 0, signal: undefined, stdout, stderr: refused ? stderr : '' };
    },
    portHolder: async (port) => change.ports?.[port],
    freeShares: async () => change.free ?? { bytes: 0.5, inodes: 0.5 },
    hostname: change.hostname ?? 'node-1',
    now: () => NOW,
    askRuntime: change.askRuntime ?? (async () => RUNTIME),
  };
}

async function troubles(change: Change): Promise<Finding[]> {
  return (await examine(host(change), { ...OPTIONS, ...change.options })).filter((f) => f.level !== 'ok');
}

test('a good host has nothing to mend', async () => {
  expect(await troubles({})).toEqual([]);
});

const runtimeFails = async (): Promise<never> => {
  throw new Error('unknown service runtime.v1.RuntimeService');
};
const v1Mounts = ['cpu', 'memory', 'pids']
  .map((c, i) => `3${i} 23 0:2${i} / /sys/fs/cgroup/${c} rw - cgroup cgroup rw,${c}\n`)
  .join('');

describe('each fault has its level, its words and what mends it', () => {
  test.each<[string, Change, Partial<Finding>]>([
    ['no root', { uid: 1000 }, { check: 'privileges', level: 'fail', message: 'runs as user 1000; a node needs root' }],
    [
      'few capabilities',
      { files: { '/proc/self/status': 'CapEff:\t00000000a80425fb\n' } },
      { check: 'privileges', level: 'fail', message: 'root without CAP_NET_ADMIN and CAP_SYS_ADMIN' },
    ],
    ['no net namespaces', { files: { '/proc/self/ns/net': undefined } }, { check: 'namespaces', level: 'fail' }],
    [
      'no overlayfs',
      { files: { '/proc/filesystems': 'ext4' }, refuses: ['modprobe', ''] },
      { check: 'overlayfs', level: 'fail', remedy: 'modprobe overlay' },
    ],
    [
      'no iptables',
      { files: { '/sbin/iptables': undefined } },
      { check: 'program iptables', level: 'fail', remedy: 'apt-get install iptables' },
    ],
    [
      'no conntrack',
      { files: { '/sbin/conntrack': undefined } },
      { check: 'program conntrack', level: 'warn', remedy: 'apt-get install conntrack' },
    ],
    [
      'no bridge',
      { refuses: ['type bridge', 'RTNETLINK answers: Operation not supported\n'] },
      { check: 'link bridge', level: 'fail', message: 'ip failed: RTNETLINK answers: Operation not supported' },
    ],
    ['no vxlan', { refuses: ['type vxlan', 'Error: Unknown device type.'] }, { check: 'link vxlan', level: 'warn' }],
    [
      'iptables refused',
      { refuses: ['iptables-restore', ''] },
      { check: 'iptables rules', level: 'fail', message: 'iptables-restore failed: exit 2' },
    ],
    ['nft refused', { refuses: ['nft -f', 'nope'] }, { check: 'nftables rules', level: 'warn' }],
    [
      'br_netfilter',
      { files: { '/proc/sys/net/bridge/bridge-nf-call-iptables': undefined } },
      { check: 'bridge-nf-call-iptables', level: 'warn', remedy: 'modprobe br_netfilter' },
    ],
    [
      'bridges are not filtered',
      { files: { '/proc/sys/net/bridge/bridge-nf-call-iptables': '0' } },
      { check: 'bridge-nf-call-iptables', level: 'warn', remedy: 'sysctl -w net.bridge.bridge-nf-call-iptables=1' },
    ],
    [
      'no forwarding',
      { files: { '/proc/sys/net/ipv4/ip_forward': '0\n' } },
      { check: 'ip_forward', level: 'warn', remedy: 'sysctl -w net.ipv4.ip_forward=1' },
    ],
    ['cgroup v1', { files: { '/proc/self/mountinfo': v1Mounts } }, { check: 'cgroups', level: 'warn' }],
    [
      'no memory controller',
      { files: { '/sys/fs/cgroup/cgroup.controllers': 'cpu pids' } },
      { check: 'cgroups', level: 'fail', message: 'version 2 without the controllers memory' },
    ],
    [
      'no cgroups at all',
      { files: { '/proc/self/mountinfo': '' } },
      { check: 'cgroups', level: 'fail', message: 'could not be checked: no cgroup file system is mounted' },
    ],
    [
      'no socket',
      { files: { '/run/c.sock': undefined } },
      { check: 'container runtime', level: 'fail', message: 'no socket at /run/c.sock' },
    ],
    [
      'no CRI',
      { askRuntime: runtimeFails },
      {
        check: 'container runtime',
        level: 'fail',
        message: '/run/c.sock does not answer CRI v1: unknown service runtime.v1.RuntimeService',
      },
    ],
    [
      'runtime not ready',
      { askRuntime: async () => ({ ...RUNTIME, ready: false }) },
      { check: 'container runtime', level: 'fail' },
    ],
    [
      'no CNI plugin',
      { files: { '/opt/cni/bin/portmap': undefined } },
      { check: 'CNI plugins', level: 'fail', message: 'portmap not found in /opt/cni/bin' },
    ],
    [
      'another cgroup driver',
      { askRuntime: async () => ({ ...RUNTIME, cgroupDriver: 'systemd' }) },
      {
        check: 'cgroup driver',
        level: 'warn',
        message: 'containerd has systemd, the configuration cgroupfs',
      },
    ],
    [
      'another cgroup driver than is configured',
      { askRuntime: async () => ({ ...RUNTIME, cgroupDriver: 'systemd' }), options: { configured: true } },
      { check: 'cgroup driver', level: 'fail' },
    ],
    [
      'cgroup v1 where it is refused for sure',
      { files: { '/proc/self/mountinfo': v1Mounts }, options: { configured: true } },
      { check: 'cgroups', level: 'fail' },
    ],
    [
      'cgroup v1 without memory',
      { files: { '/proc/self/mountinfo': v1Mounts.split('\n')[0]! } },
      { check: 'cgroups', level: 'fail', message: 'version 1 without the controllers memory, pids' },
    ],
    [
      'swap where it is refused for sure',
      { files: { '/proc/swaps': 'Filename\n/dev/sda2 partition 1 0 -2\n' }, options: { configured: true } },
      { check: 'swap', level: 'fail' },
    ],
    [
      'no name for a node',
      { hostname: 'my_host' },
      { check: 'node name', level: 'fail', message: 'the host name "my_host" is no DNS name' },
    ],
    [
      "the kubelet's port",
      { ports: { 10250: 'kubelet (pid 7)' } },
      {
        check: 'port 10250',
        level: 'fail',
        message: 'is taken by kubelet (pid 7)',
        remedy: "end it (ss -ltnp 'sport = :10250' shows it), or choose another one: port",
      },
    ],
    ["the proxy's port", { ports: { 10256: 'kube-proxy (pid 8)' } }, { check: 'port 10256', level: 'warn' }],
    [
      'kernel parameters that are to be right already',
      { files: { '/proc/sys/vm/overcommit_memory': '0\n' }, options: { kernelParameters: 'check' } },
      {
        check: 'kernel parameters',
        level: 'fail',
        message: 'vm.overcommit_memory differ, which protectKernelDefaults refuses',
        remedy: 'sysctl -w vm.overcommit_memory=1',
      },
    ],
    [
      'kernel parameters that nobody sets',
      { files: { '/proc/sys/kernel/panic': '0\n' }, options: { kernelParameters: 'leave' } },
      { check: 'kernel parameters', level: 'warn' },
    ],
    [
      'no connection tracking',
      { files: { '/proc/sys/net/netfilter/nf_conntrack_max': undefined } },
      { check: 'connection tracking', level: 'warn', remedy: 'modprobe nf_conntrack' },
    ],
    [
      'a full table of connections',
      { files: { '/proc/sys/net/netfilter/nf_conntrack_count': '950\n' } },
      { check: 'connection tracking', level: 'warn', remedy: 'sysctl -w net.netfilter.nf_conntrack_max=2000' },
    ],
    [
      'few inotify instances',
      { files: { '/proc/sys/fs/inotify/max_user_instances': '64' } },
      { check: 'file watches', level: 'warn', message: 'only 64 inotify instances for each user' },
    ],
    ['a clock of its own', { synchronized: 'no' }, { check: 'time', level: 'warn' }],
    [
      'an expired client certificate',
      { files: { '/pki/kubelet-client-current.pem': expiring(-1) } },
      {
        check: 'certificate kubelet-client-current.pem',
        level: 'fail',
        message: `has expired ${new Date(NOW - DAY_MS).toISOString().slice(0, 10)}`,
      },
    ],
    [
      'an expired serving certificate',
      { files: { '/pki/kubelet-server-current.pem': expiring(-1) } },
      { check: 'certificate kubelet-server-current.pem', level: 'warn' },
    ],
    [
      'a certificate near its end',
      { files: { '/pki/kubelet-client-current.pem': expiring(3) } },
      { check: 'certificate kubelet-client-current.pem', level: 'warn' },
    ],
    [
      'a file that is no certificate',
      { files: { '/pki/kubelet-client-current.pem': 'lost+found' } },
      { check: 'certificate kubelet-client-current.pem', level: 'fail' },
    ],
    ['a full disk', { free: { bytes: 0.05, inodes: 0.5 } }, { check: 'disk', level: 'warn' }],
    ['no inodes', { free: { bytes: 0.5, inodes: 0.01 } }, { check: 'disk', level: 'warn' }],
    [
      'swap',
      { files: { '/proc/swaps': 'Filename\n/dev/sda2 partition 1 0 -2\n' } },
      { check: 'swap', level: 'warn', remedy: 'swapoff -a, or set failSwapOn: false' },
    ],
  ])('%s', async (_name, change, expected) => {
    const found = await troubles(change);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject(expected);
    if (!found[0]!.message.startsWith('could not be checked')) expect(found[0]!.remedy).toBeTruthy();
  });

  test("Debian's directory of CNI plugins is found", async () => {
    const moved = [
      ...PLUGINS.map((p) => [`/opt/cni/bin/${p}`, undefined]),
      ...PLUGINS.map((p) => [`/usr/lib/cni/${p}`, '']),
    ];
    const [found] = await troubles({ files: Object.fromEntries(moved) as Record<string, string | undefined> });
    expect(found).toMatchObject({ check: 'CNI plugins', level: 'warn' });
  });
});

describe('what is as the configuration allows is fine', () => {
  test.each<[string, Change]>([
    ['swap', { files: { '/proc/swaps': 'Filename\n/dev/sda2 partition 1 0 -2\n' }, options: { failSwapOn: false } }],
    ['cgroup v1', { files: { '/proc/self/mountinfo': v1Mounts }, options: { failCgroupV1: false } }],
    [
      'a cgroup driver that the runtime tells',
      { askRuntime: async () => ({ ...RUNTIME, cgroupDriver: 'systemd', driverIsTaken: true }) },
    ],
    ['a node that runs already', { ports: { 10250: 'nodelet (pid 9)' } }],
    ['kernel parameters that the agent sets', { files: { '/proc/sys/vm/overcommit_memory': '0\n' } }],
    ['no systemd to ask about time', { synchronized: '' }],
    ['a certificate with time left', { files: { '/pki/kubelet-client-current.pem': expiring(100) } }],
    ['a name for a host without a good one', { hostname: 'my_host', options: { nodeName: 'node-7' } }],
  ])('%s', async (_name, change) => {
    expect(await troubles(change)).toEqual([]);
  });
});

test.each([
  ['{"containerd": {"runtimes": {"runc": {"options": {"SystemdCgroup": true}}}}}', 'systemd'],
  ['{"containerd": {"runtimes": {"runc": {"options": {}}}}}', 'cgroupfs'],
  ['{"containerd": {"defaultRuntimeName": "kata", "runtimes": {"runc": {}}}}', undefined],
  ['{"storage": 1}', undefined],
  ['', undefined],
])('the cgroup driver in the configuration of containerd: %s', (config, driver) => {
  expect(driverInInfo({ config })).toBe(driver);
});

test('the text has the remedy under its finding, and a verdict', () => {
  const findings: Finding[] = [
    { check: 'a', level: 'ok', message: 'fine' },
    { check: 'bcd', level: 'fail', message: 'broken', remedy: 'mend' },
  ];
  expect(renderFindings(findings)).toBe(
    'ok    a    fine\nFAIL  bcd  broken\n           → mend\n\nA node cannot run here: 1 to mend, 0 to look at.',
  );
});

describe('what cannot be tried says nothing of the kernel', () => {
  const triedOnly = (findings: readonly Finding[]) =>
    findings.filter((f) => /^(link|iptables rules|nftables)/.test(f.check));

  test('without root', async () => {
    const found = triedOnly(await examine(host({ uid: 1000, refuses: ['unshare', 'not permitted'] }), OPTIONS));
    expect(found).toHaveLength(5);
    for (const f of found) expect(f).toMatchObject({ level: 'ok', message: 'not tried: that needs root' });
  });

  test.each([
    ['unshare', 'util-linux', 5],
    ['ip', 'iproute2', 3],
    ['nft', 'nftables', 1],
  ])('without %s', async (name, pkg, count) => {
    const found = triedOnly(await troubles({ files: { [`/sbin/${name}`]: undefined } }));
    expect(found).toHaveLength(count);
    for (const f of found) {
      expect(f).toMatchObject({ message: `not tried: ${name} is missing`, remedy: `apt-get install ${pkg}` });
    }
  });

  test('without ss', async () => {
    const missing = async () => {
      throw new AgentError('cannot run ss: no such program on PATH', { code: 'EXEC_NOT_FOUND' });
    };
    const found = await examine({ ...host(), portHolder: missing }, OPTIONS);
    expect(found.filter((f) => f.check.startsWith('port'))).toEqual([
      { check: 'ports', level: 'warn', message: 'not looked at: ss is missing', remedy: 'apt-get install iproute2' },
    ]);
  });
});
