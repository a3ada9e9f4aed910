// What a node needs of its host, one check each. Nothing is changed: links and rules are tried in a network namespace
// that ends with the process that tries them.
import path from 'node:path';
import { errorMessage } from '../core/errors.ts';
import { findCgroups } from '../host/cgroup.ts';
import {
  type Check,
  type DoctorOptions,
  type Finding,
  finding,
  type Host,
  type Level,
  type RuntimeFacts,
} from './doctor-finding.ts';
import { NODE_CHECKS } from './doctor-node-checks.ts';

/** Every finding, in the order in which a person would mend them. */
export async function examine(host: Host, opts: DoctorOptions): Promise<Finding[]> {
  const checks: readonly Check[] = [
    privileges,
    namespaces,
    fileSystems,
    programs,
    links,
    rules,
    bridgeFilter,
    forwarding,
    cgroups,
    runtime,
    cniPlugins,
    swap,
    ...NODE_CHECKS,
  ];
  const findings: Finding[] = [];
  for (const check of checks) findings.push(...(await run(check, host, opts)));
  return findings;
}

async function run(check: Check, host: Host, opts: DoctorOptions): Promise<Finding[]> {
  try {
    return await check(host, opts);
  } catch (err) {
    return [{ check: check.name, level: 'fail', message: `could not be checked: ${errorMessage(err)}` }];
  }
}

/** Bits of CapEff in /proc/self/status (capabilities(7)) that pods cannot be made without. */
const CAPABILITIES = [
  ['CAP_NET_ADMIN', 12n],
  ['CAP_SYS_ADMIN', 21n],
] as const;

async function privileges(host: Host): Promise<Finding[]> {
  if (host.uid !== 0)
    return [finding('privileges', 'fail', `runs as user ${host.uid}; a node needs root`, 'sudo nodelet doctor')];
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec((await host.read('/proc/self/status')) ?? '')?.[1];
  const bits = BigInt(`0x${effective ?? '0'}`);
  const missing = CAPABILITIES.filter(([, bit]) => ((bits >> bit) & 1n) === 0n).map(([name]) => name);
  if (missing.length > 0)
    return [
      finding(
        'privileges',
        'fail',
        `root without ${missing.join(' and ')}`,
        'start the container or unit with these capabilities, e.g. docker run --privileged',
      ),
    ];
  return [finding('privileges', 'ok', 'root with CAP_NET_ADMIN and CAP_SYS_ADMIN')];
}

async function namespaces(host: Host): Promise<Finding[]> {
  const wanted = ['mnt', 'net', 'pid', 'ipc', 'uts'];
  const present = await Promise.all(wanted.map((ns) => host.exists(`/proc/self/ns/${ns}`)));
  const missing = wanted.filter((_, i) => !present[i]);
  if (missing.length === 0) return [finding('namespaces', 'ok', wanted.join(', '))];
  return [
    finding(
      'namespaces',
      'fail',
      `the kernel has no ${missing.join(', ')} namespaces`,
      'boot a kernel with CONFIG_NAMESPACES and its options',
    ),
  ];
}

async function fileSystems(host: Host): Promise<Finding[]> {
  const known = new Set(((await host.read('/proc/filesystems')) ?? '').split(/\s+/));
  if (known.has('overlay')) return [finding('overlayfs', 'ok', 'in the kernel')];
  if (await succeeds(host, 'modprobe', ['--dry-run', '--quiet', 'overlay']))
    return [finding('overlayfs', 'ok', 'as a module')];
  return [finding('overlayfs', 'fail', 'the kernel has no overlayfs', 'modprobe overlay')];
}

/** Program, Debian package, and whether a node cannot run without it. */
const PROGRAMS: readonly (readonly [string, string, Level])[] = [
  ['ip', 'iproute2', 'fail'],
  ['bridge', 'iproute2', 'fail'],
  ['iptables', 'iptables', 'fail'],
  ['iptables-save', 'iptables', 'fail'],
  ['iptables-restore', 'iptables', 'fail'],
  ['mount', 'mount', 'fail'],
  ['umount', 'mount', 'fail'],
  ['nsenter', 'util-linux', 'fail'],
  ['unshare', 'util-linux', 'fail'],
  ['nft', 'nftables', 'warn'],
  ['conntrack', 'conntrack', 'warn'],
];

/** What a node can do without, and then does not do. */
const USES: Readonly<Record<string, string>> = {
  nft: ' (needed for --proxy-mode=nftables)',
  conntrack: ' (stale UDP flows stay after their endpoint is gone)',
};

async function programs(host: Host): Promise<Finding[]> {
  const findings = await Promise.all(
    PROGRAMS.map(async ([name, pkg, level]) => {
      const file = await programFile(host, name);
      if (file !== undefined) return finding(`program ${name}`, 'ok', file);
      return finding(`program ${name}`, level, `not found on PATH${USES[name] ?? ''}`, `apt-get install ${pkg}`);
    }),
  );
  return findings;
}

const LINKS = [
  ['bridge', ['type', 'bridge'], 'modprobe bridge'],
  ['veth', ['type', 'veth', 'peer', 'name', 'doctor1'], 'modprobe veth'],
  ['vxlan', ['type', 'vxlan', 'id', '1', 'dstport', '8472'], 'modprobe vxlan, or run with --network-backend=host-gw'],
] as const;

async function links(host: Host): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, args, remedy] of LINKS) {
    const trial = { program: 'ip', args: ['link', 'add', 'doctor0', ...args], remedy };
    findings.push(await tried(host, `link ${name}`, name === 'vxlan' ? 'warn' : 'fail', 'can be made', trial));
  }
  return findings;
}

/** A rule of each kind that the proxy writes, so that the modules behind it are asked for as well. */
const IPTABLES_TRIAL = `*nat
:DOCTOR - [0:0]
-A DOCTOR -m comment --comment doctor -m statistic --mode random --probability 0.5 -p tcp -j DNAT --to-destination 192.0.2.1:80
-A DOCTOR -j MASQUERADE --random-fully
COMMIT
*filter
:DOCTOR - [0:0]
-A DOCTOR -m conntrack --ctstate INVALID -j DROP
COMMIT
`;
const NFT_TRIAL = `add table ip doctor
add chain ip doctor nat { type nat hook prerouting priority -100; }
add rule ip doctor nat ct state new accept
`;

async function rules(host: Host): Promise<Finding[]> {
  const taken = 'are taken by the kernel';
  return [
    await tried(host, 'iptables rules', 'fail', taken, {
      program: 'iptables-restore',
      args: ['--noflush'],
      input: IPTABLES_TRIAL,
      remedy: 'modprobe -a nf_tables nft_compat nf_nat xt_comment xt_statistic xt_conntrack xt_MASQUERADE',
    }),
    await tried(host, 'nftables rules', 'warn', taken, {
      program: 'nft',
      args: ['-f', '-'],
      input: NFT_TRIAL,
      remedy: 'modprobe nf_tables, or run with --proxy-mode=iptables',
    }),
  ];
}

async function bridgeFilter(host: Host): Promise<Finding[]> {
  const check = 'bridge-nf-call-iptables';
  const value = (await host.read('/proc/sys/net/bridge/bridge-nf-call-iptables'))?.trim();
  if (value === '1') return [finding(check, 'ok', 'is 1')];
  const harm = 'pods cannot reach Services whose endpoints are on their own node';
  if (value === undefined)
    return [finding(check, 'warn', `br_netfilter is not loaded: ${harm}`, 'modprobe br_netfilter')];
  return [finding(check, 'warn', `is ${value}: ${harm}`, 'sysctl -w net.bridge.bridge-nf-call-iptables=1')];
}

async function forwarding(host: Host): Promise<Finding[]> {
  const on = (await host.read('/proc/sys/net/ipv4/ip_forward'))?.trim() === '1';
  if (on) return [finding('ip_forward', 'ok', 'is 1')];
  return [
    finding(
      'ip_forward',
      'warn',
      'is off: pods of other nodes are not reached until it is on',
      'sysctl -w net.ipv4.ip_forward=1',
    ),
  ];
}

/** By a default that can be changed it is a warning; by a configuration that is there, a failure. */
function refusedBy({ configured }: DoctorOptions): Level {
  return configured ? 'fail' : 'warn';
}

async function cgroups(host: Host, opts: DoctorOptions): Promise<Finding[]> {
  const { version, mounts } = findCgroups((await host.read('/proc/self/mountinfo')) ?? '');
  if (version === 1) {
    const missing = ['cpu', 'memory', 'pids'].filter((name) => !mounts.has(name));
    if (missing.length > 0) {
      const remedy = `mount -t cgroup -o ${missing[0]} cgroup /sys/fs/cgroup/${missing[0]}, each one`;
      return [finding('cgroups', 'fail', `version 1 without the controllers ${missing.join(', ')}`, remedy)];
    }
    if (!opts.failCgroupV1) return [finding('cgroups', 'ok', 'version 1, as failCgroupV1: false allows')];
    return [
      finding(
        'cgroups',
        refusedBy(opts),
        'version 1, which the kubelet of v1.36 refuses by default',
        'boot with systemd.unified_cgroup_hierarchy=1, or set failCgroupV1: false',
      ),
    ];
  }
  const root = mounts.get('unified') ?? '/sys/fs/cgroup';
  const controllers = new Set(((await host.read(`${root}/cgroup.controllers`)) ?? '').trim().split(/\s+/));
  const missing = ['cpu', 'memory', 'pids'].filter((name) => !controllers.has(name));
  if (missing.length === 0) return [finding('cgroups', 'ok', 'version 2 with cpu, memory and pids')];
  return [
    finding(
      'cgroups',
      'fail',
      `version 2 without the controllers ${missing.join(', ')}`,
      `echo '+${missing.join(' +')}' > ${root}/cgroup.subtree_control in the parent, or boot with cgroup_enable=memory`,
    ),
  ];
}

async function runtime(host: Host, opts: DoctorOptions): Promise<Finding[]> {
  const { runtimeEndpoint } = opts;
  const check = 'container runtime';
  const socket = runtimeEndpoint.replace(/^unix:\/\//, '');
  if (!(await host.exists(socket)))
    return [
      finding(
        check,
        'fail',
        `no socket at ${socket}`,
        'apt-get install containerd && systemctl enable --now containerd, or name another one with --container-runtime-endpoint',
      ),
    ];
  let facts: RuntimeFacts;
  try {
    facts = await host.askRuntime(runtimeEndpoint);
  } catch (err) {
    return [
      finding(
        check,
        'fail',
        `${socket} does not answer CRI v1: ${errorMessage(err)}`,
        'systemctl restart containerd; "cri" may not be among disabled_plugins of /etc/containerd/config.toml',
      ),
    ];
  }
  const said = `${facts.name} ${facts.version}, CRI ${facts.apiVersion}`;
  if (facts.apiVersion !== 'v1')
    return [finding(check, 'fail', `${said}; CRI v1 is needed`, 'upgrade to containerd 1.6 or later')];
  if (!facts.ready)
    return [finding(check, 'fail', `${said}, but says that it is not ready`, 'journalctl -u containerd')];
  return [finding(check, 'ok', said), driverFinding(facts, opts)];
}

/** One manager for all cgroups of pods: with two that disagree no sandbox starts. */
function driverFinding({ name, cgroupDriver: theirs, driverIsTaken }: RuntimeFacts, opts: DoctorOptions): Finding {
  const check = 'cgroup driver';
  const ours = opts.cgroupDriver;
  if (theirs === undefined) return finding(check, 'ok', `${ours}; ${name} does not tell its own`);
  if (theirs === ours) return finding(check, 'ok', `${ours}, as that of ${name}`);
  if (driverIsTaken)
    return finding(check, 'ok', `${theirs}, which ${name} tells; the configured ${ours} does not count`);
  const remedy = `set cgroupDriver: ${theirs} (KubeletConfiguration), or change SystemdCgroup in the runtime's configuration`;
  return finding(check, refusedBy(opts), `${name} has ${theirs}, the configuration ${ours}`, remedy);
}

async function cniPlugins(host: Host, { cniBinDir }: DoctorOptions): Promise<Finding[]> {
  const needed = ['bridge', 'host-local', 'loopback', 'portmap'];
  const missingIn = async (dir: string): Promise<string[]> => {
    const present = await Promise.all(needed.map((name) => host.exists(path.join(dir, name))));
    return needed.filter((_, i) => !present[i]);
  };
  const missing = await missingIn(cniBinDir);
  if (missing.length === 0) return [finding('CNI plugins', 'ok', `${needed.join(', ')} in ${cniBinDir}`)];
  const debian = '/usr/lib/cni';
  if (cniBinDir !== debian && (await missingIn(debian)).length === 0)
    return [
      finding(
        'CNI plugins',
        'warn',
        `are in ${debian}, not in ${cniBinDir}`,
        `set cniBinDir: ${debian} (NodeletConfiguration) and bin_dir in containerd's config.toml`,
      ),
    ];
  return [
    finding(
      'CNI plugins',
      'fail',
      `${missing.join(', ')} not found in ${cniBinDir}`,
      'apt-get install containernetworking-plugins',
    ),
  ];
}

async function swap(host: Host, opts: DoctorOptions): Promise<Finding[]> {
  const areas = ((await host.read('/proc/swaps')) ?? '').trim().split('\n').slice(1);
  if (areas.length === 0) return [finding('swap', 'ok', 'is off')];
  const names = areas.map((line) => line.split(/\s+/)[0]).join(', ');
  if (!opts.failSwapOn) return [finding('swap', 'ok', `is on (${names}), as failSwapOn: false allows`)];
  return [
    finding(
      'swap',
      refusedBy(opts),
      `is on (${names}), which the kubelet refuses by default`,
      'swapoff -a, or set failSwapOn: false',
    ),
  ];
}

async function succeeds(host: Host, program: string, args: readonly string[]): Promise<boolean> {
  try {
    return (await host.exec(program, args, { timeoutMs: 10_000 })).code === 0;
  } catch {
    return false; // not installed
  }
}

async function programFile(host: Host, name: string): Promise<string | undefined> {
  for (const dir of host.programPath) {
    const file = path.join(dir, name);
    if (await host.exists(file)) return file;
  }
  return undefined;
}

interface Trial {
  readonly program: string;
  readonly args: readonly string[];
  readonly input?: string;
  /** What mends the kernel that refuses it. */
  readonly remedy: string;
}

/** Asks the kernel, in a network namespace that ends with the question. What cannot be asked says nothing of the kernel. */
async function tried(host: Host, check: string, bad: Level, good: string, trial: Trial): Promise<Finding> {
  if (host.uid !== 0) return finding(check, 'ok', 'not tried: that needs root'); // which is a finding of its own
  for (const [name, pkg] of PROGRAMS.filter(([name]) => name === 'unshare' || name === trial.program)) {
    if ((await programFile(host, name)) !== undefined) continue;
    return finding(check, bad, `not tried: ${name} is missing`, `apt-get install ${pkg}`);
  }
  const why = await refusal(host, trial);
  return why === undefined ? finding(check, 'ok', good) : finding(check, bad, why, trial.remedy);
}

/** Why the kernel refused it, else undefined. */
async function refusal(host: Host, { program, args, input }: Trial): Promise<string | undefined> {
  try {
    const opts = { timeoutMs: 10_000, ...(input === undefined ? {} : { input }) };
    const result = await host.exec('unshare', ['--net', program, ...args], opts);
    if (result.code === 0) return undefined;
    const words = result.stderr.trim().split('\n')[0];
    return `${program} failed: ${words === '' || words === undefined ? `exit ${result.code}` : words}`;
  } catch (err) {
    return errorMessage(err);
  }
}
