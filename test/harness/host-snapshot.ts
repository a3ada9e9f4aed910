// What a lab could leave behind on the host, before and after: processes, namespaces, links, routes, rules, mounts,
// cgroups, and files outside its directory. Other labs may come and go meanwhile: what bears another lab's id is theirs.
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { cgroupMounts } from '../../host/cgroup-tree.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { labNames } from '../../lab/names.ts';

/** Set for everything that a suite's lab starts, so that its processes are known by their environment, too. */
export const LAB_MARK_ENV = 'NODELET_TEST_LAB';

/** Where node software keeps state on a real machine. */
const WATCHED_DIRS = [
  '/etc',
  '/etc/cni/net.d',
  '/opt',
  '/run',
  '/run/containerd',
  '/run/flannel',
  '/run/lock',
  '/usr/lib/cni',
  '/var/lib',
  '/var/lib/cni',
  '/var/lib/cni/networks',
  '/var/lib/cni/results',
  '/var/lib/containerd',
  '/var/lib/kubelet',
  '/var/log',
  '/var/log/pods',
  '/var/log/containers',
];

/**
 * These stay as long as anything on the host needs them: another lab, another suite. On a machine that never had pods,
 * the first containerd of a suite without a lab makes those of containerd and of the network plugins.
 */
const SHARED: ReadonlySet<string> = new Set([
  'file /run/nodelet-labs',
  'file /run/netns',
  'mount /run/netns',
  'file /run/containerd',
  'file /run/containerd/fifo',
  'file /run/containerd/s',
  'file /run/xtables.lock', // of the first iptables-legacy on the machine
  'file /var/lib/cni',
  'file /var/lib/cni/networks',
  'file /var/lib/cni/results',
]);

/** One line per thing, `kind name`. */
export type HostSnapshot = ReadonlySet<string>;

export async function snapshotHost(): Promise<HostSnapshot> {
  const parts = await Promise.all([
    list('namespace', 'ip', ['netns', 'list']),
    list('link', 'ip', ['-brief', 'link', 'show']),
    list('route', 'ip', ['route', 'show']),
    list('neighbour', 'ip', ['neigh', 'show', 'nud', 'permanent']),
    rules('iptables-save'),
    rules('ip6tables-save'),
    mounts(),
    cgroups(),
    files(),
    sysctls(),
  ]);
  return new Set(parts.flat());
}

/** What is there now and was not in `before`, less what other labs made; and whatever still belongs to the lab of `dir`. */
export async function findLeaks(before: HostSnapshot, dir: string): Promise<string[]> {
  const { id } = labNames(dir);
  const isOurs = (line: string) =>
    !namesAnotherLab(line, id) && !isOfAnotherSuite(line, dir) && !isOfVanishedLink(line);
  const added = [...(await snapshotHost())].filter((line) => !before.has(line) && isOurs(line));
  return [...added, ...(await processesOf(dir))];
}

/** Processes with the lab's directory among their arguments, its mark in their environment or its id in their cgroup. */
export async function processesOf(dir: string): Promise<string[]> {
  const { id } = labNames(dir);
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const [args, env, cgroup] = await Promise.all(
      ['cmdline', 'environ', 'cgroup'].map((f) => readOr(`/proc/${pid}/${f}`)),
    );
    const isOurs =
      args!.includes(`${dir}/`) || env!.split('\0').includes(`${LAB_MARK_ENV}=${dir}`) || cgroup!.includes(`lab-${id}`);
    if (isOurs) found.push(`process ${pid} ${args!.replaceAll('\0', ' ').slice(0, 200)}`);
  }
  return found;
}

/** Names that labs and suites give: nodelet-<id>-…, ndl-<id>, nodelet-lab-<id>, t-<suite>-…, and their addresses. */
function namesAnotherLab(line: string, id: string): boolean {
  if (line.includes(id)) return false;
  return (
    /\b(nodelet-[0-9a-f]{6}-|nodelet-lab-[0-9a-f]{6}|ndl-[0-9a-f]{6}|t-[a-z0-9]+-[0-9a-f]{6}-)/.test(line) ||
    line.includes('/nodelet-cd-') ||
    // Those of suites that try cgroups alone, by their process ids.
    /^cgroup \S+\/(nodelet-cgroups|volumes-test)-\d+/.test(line) ||
    // What the network plugins remember of the sandboxes of suites without a lab, whose network is `test-…`.
    /^file \/var\/lib\/cni\/results\/(test-[0-9a-f]|cni-loopback-)/.test(line) ||
    SHARED.has(line) ||
    line === 'file /run/mount' // of mount(8) itself, on machines where nobody has mounted anything before
  );
}

/** ip(8) has only a number for a link that was taken away, with its routes, while they were listed. */
const isOfVanishedLink = (line: string): boolean => /^(route|neighbour) .* dev if\d+\b/.test(line);

/** Mounts in the temporary directory of another suite: each has one of its own, with a lab or without. */
function isOfAnotherSuite(line: string, dir: string): boolean {
  const temporary = `${tmpdir()}/`;
  const mountPoint = line.startsWith('mount ') ? line.slice('mount '.length) : '';
  const own = path.relative(temporary, dir).split('/')[0];
  return mountPoint.startsWith(temporary) && mountPoint.slice(temporary.length).split('/')[0] !== own;
}

async function list(kind: string, program: string, args: readonly string[]): Promise<string[]> {
  const out = await execOk(systemExec, program, args);
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `${kind} ${kind === 'link' ? line.split(/\s+/)[0] : line.trim()}`);
}

async function rules(program: string): Promise<string[]> {
  const out = await execOk(systemExec, program, []);
  return out
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => `${program} ${line.replace(/\[\d+:\d+\]/, '')}`);
}

async function mounts(): Promise<string[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `mount ${line.split(' ')[4]}`);
}

async function cgroups(): Promise<string[]> {
  const found: string[] = [];
  for (const mount of await cgroupMounts()) {
    for (const entry of await readdir(mount, { withFileTypes: true })) {
      if (entry.isDirectory()) found.push(`cgroup ${path.join(mount, entry.name)}`);
    }
  }
  return found;
}

async function files(): Promise<string[]> {
  const found: string[] = [];
  for (const dir of WATCHED_DIRS) {
    const names = await readdir(dir).catch(() => []); // most machines have few of them
    found.push(...names.map((name) => `file ${path.join(dir, name)}`));
  }
  return found;
}

async function sysctls(): Promise<string[]> {
  const names = ['net/ipv4/ip_forward', 'net/bridge/bridge-nf-call-iptables', 'net/ipv4/conf/all/route_localnet'];
  return await Promise.all(names.map(async (name) => `sysctl ${name}=${(await readOr(`/proc/sys/${name}`)).trim()}`));
}

/** A process may end while it is looked at. */
async function readOr(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch(() => '');
}
