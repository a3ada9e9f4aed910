import { describe, expect, test } from 'vitest';
import { renderFindings } from './doctor.ts';
import { type DoctorOptions, examine, type Finding, type Host } from './doctor-checks.ts';

const OPTIONS: DoctorOptions = { runtimeEndpoint: 'unix:///run/c.sock', cniBinDir: '/opt/cni/bin' };
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
  '/run/c.sock': '',
  ...Object.fromEntries(['mnt', 'net', 'pid', 'ipc', 'uts'].map((ns) => [`/proc/self/ns/${ns}`, ''])),
  ...Object.fromEntries(PLUGINS.map((name) => [`/opt/cni/bin/${name}`, ''])),
  ...Object.fromEntries(PROGRAMS.map((name) => [`/sbin/${name}`, ''])),
};

interface Change {
  /** Files over those of a good host; undefined: not there. */
  readonly files?: Readonly<Record<string, string | undefined>>;
  readonly uid?: number;
  /** The command whose words include this fails so. */
  readonly refuses?: readonly [string, string];
  readonly askRuntime?: Host['askRuntime'];
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
      return { code: refused ? 2 : 0, signal: undefined, stdout: '', stderr: refused ? stderr : '' };
    },
    askRuntime:
      change.askRuntime ?? (async () => ({ name: 'containerd', version: '2.1.4', apiVersion: 'v1', ready: true })),
  };
}

async function troubles(change: Change): Promise<Finding[]> {
  return (await examine(host(change), OPTIONS)).filter((f) => f.level !== 'ok');
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
      { askRuntime: async () => ({ name: 'containerd', version: '1.7', apiVersion: 'v1', ready: false }) },
      { check: 'container runtime', level: 'fail' },
    ],
    [
      'no CNI plugin',
      { files: { '/opt/cni/bin/portmap': undefined } },
      { check: 'CNI plugins', level: 'fail', message: 'portmap not found in /opt/cni/bin' },
    ],
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

test('the text has the remedy under its finding, and a verdict', () => {
  const findings: Finding[] = [
    { check: 'a', level: 'ok', message: 'fine' },
    { check: 'bcd', level: 'fail', message: 'broken', remedy: 'mend' },
  ];
  expect(renderFindings(findings)).toBe(
    'ok    a    fine\nFAIL  bcd  broken\n           → mend\n\nA node cannot run here: 1 to mend, 0 to look at.',
  );
});
