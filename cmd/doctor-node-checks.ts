// What a node needs besides the features of its kernel: free ports, valid certificates, a right clock, room on its disk.
import { X509Certificate } from 'node:crypto';
import path from 'node:path';
import { errorMessage, isAgentError } from '../core/errors.ts';
import { KERNEL_PARAMETERS } from './agent/kernel-part.ts';
import { nodeNameOf } from './config/node-identity.ts';
import { type Check, type DoctorOptions, type Finding, finding, type Host } from './doctor-finding.ts';

export const NODE_CHECKS: readonly Check[] = [
  nodeName,
  ports,
  kernelParameters,
  connectionTracking,
  fileWatches,
  timeSynchronization,
  certificates,
  disk,
];

async function nodeName(host: Host, opts: DoctorOptions): Promise<Finding[]> {
  const faults: string[] = [];
  const name = nodeNameOf(opts.nodeName, host.hostname, (_where, problem) => faults.push(problem));
  if (faults.length === 0) return [finding('node name', 'ok', name)];
  const message = `the host name ${JSON.stringify(name)} is no DNS name`;
  return [finding('node name', 'fail', message, 'hostnamectl set-hostname NAME, or run with --hostname-override=NAME')];
}

async function ports(host: Host, opts: DoctorOptions): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const { port, setting, needed } of opts.ports) {
    const holder = await host.portHolder(port).catch((err: unknown) => {
      if (!isAgentError(err, 'EXEC_NOT_FOUND')) throw err;
      return null;
    });
    if (holder === null) return [finding('ports', 'warn', 'not looked at: ss is missing', 'apt-get install iproute2')];
    if (holder === undefined || holder.startsWith('nodelet ')) continue; // free, or a node runs already
    const remedy = `end it (ss -ltnp 'sport = :${port}' shows it), or choose another one: ${setting}`;
    found.push(finding(`port ${port}`, needed ? 'fail' : 'warn', `is taken by ${holder}`, remedy));
  }
  return found.length > 0 ? found : [finding('ports', 'ok', `${opts.ports.map((p) => p.port).join(', ')} can be had`)];
}

async function kernelParameters(host: Host, opts: DoctorOptions): Promise<Finding[]> {
  const check = 'kernel parameters';
  const differing: [string, string][] = [];
  for (const [name, wanted] of Object.entries(KERNEL_PARAMETERS)) {
    const actual = (await host.read(`/proc/sys/${name}`))?.trim();
    if (actual !== undefined && actual !== wanted) differing.push([name.replaceAll('/', '.'), wanted]);
  }
  if (differing.length === 0) return [finding(check, 'ok', 'are as a node wants them')];
  const names = differing.map(([name]) => name).join(', ');
  const remedy = `sysctl -w ${differing.map(([name, wanted]) => `${name}=${wanted}`).join(' ')}`;
  switch (opts.kernelParameters) {
    case 'check':
      return [finding(check, 'fail', `${names} differ, which protectKernelDefaults refuses`, remedy)];
    case 'set':
      return [finding(check, 'ok', `${names} will be set by the agent`)];
    default:
      return [finding(check, 'warn', `${names} differ, and the agent is told to leave them`, remedy)];
  }
}

/** A table that is full drops new connections of every pod. */
const FULL_TABLE = 0.9;

async function connectionTracking(host: Host): Promise<Finding[]> {
  const check = 'connection tracking';
  const number = async (name: string): Promise<number | undefined> => {
    const text = await host.read(`/proc/sys/net/netfilter/nf_conntrack_${name}`);
    return text === undefined ? undefined : Number(text.trim());
  };
  const [count, max] = [await number('count'), await number('max')];
  if (count === undefined || max === undefined)
    return [finding(check, 'warn', 'is not loaded; the first rule of a Service loads it', 'modprobe nf_conntrack')];
  if (count < max * FULL_TABLE) return [finding(check, 'ok', `${count} of ${max} entries used`)];
  const remedy = `sysctl -w net.netfilter.nf_conntrack_max=${max * 2}`;
  return [finding(check, 'warn', `${count} of ${max} entries used: new connections will be dropped`, remedy)];
}

/** What one agent, a runtime and some pods that watch files take together. */
const MIN_INOTIFY_INSTANCES = 128;

async function fileWatches(host: Host): Promise<Finding[]> {
  const text = await host.read('/proc/sys/fs/inotify/max_user_instances');
  const instances = Number(text?.trim() ?? Number.POSITIVE_INFINITY);
  if (instances >= MIN_INOTIFY_INSTANCES) return [finding('file watches', 'ok', 'are enough')];
  const remedy = 'sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288';
  return [finding('file watches', 'warn', `only ${instances} inotify instances for each user`, remedy)];
}

/** Tokens and certificates are refused by clocks that disagree. */
async function timeSynchronization(host: Host): Promise<Finding[]> {
  const check = 'time';
  let answer: string;
  try {
    const args = ['show', '--property=NTPSynchronized', '--value'];
    const { code, stdout } = await host.exec('timedatectl', args, { timeoutMs: 10_000 });
    answer = code === 0 ? stdout.trim() : '';
  } catch {
    answer = ''; // no systemd here
  }
  if (answer === 'yes') return [finding(check, 'ok', 'is synchronized')];
  if (answer !== 'no') return [finding(check, 'ok', 'nobody here tells whether it is synchronized')];
  return [finding(check, 'warn', 'is not synchronized', 'timedatectl set-ntp true, or apt-get install chrony')];
}

const DAY_MS = 86_400_000;
/** Certificates are renewed when a good part of their time is over; one that has come so far was not. */
const SOON_MS = 7 * DAY_MS;

/** File, whether a node can do without, and what brings a new one. */
const CERTIFICATES = [
  [
    'kubelet-client-current.pem',
    false,
    'join the node again: kubeadm reset && kubeadm join, or give --bootstrap-kubeconfig',
  ],
  ['kubelet-server-current.pem', true, 'approve its request: kubectl get csr, kubectl certificate approve NAME'],
  ['kubelet.crt', true, 'rm kubelet.crt kubelet.key there: the agent makes new ones'],
] as const;

async function certificates(host: Host, { certDir }: DoctorOptions): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const [name, dispensable, remedy] of CERTIFICATES) {
    const file = path.join(certDir, name);
    const pem = await host.read(file);
    if (pem === undefined) continue;
    const check = `certificate ${name}`;
    const bad = dispensable ? 'warn' : 'fail';
    const endMs = endOf(pem);
    if (typeof endMs === 'string') found.push(finding(check, bad, `${file} is no certificate: ${endMs}`, remedy));
    else if (endMs < host.now()) found.push(finding(check, bad, `has expired ${day(endMs)}`, remedy));
    else if (endMs < host.now() + SOON_MS) found.push(finding(check, 'warn', `expires ${day(endMs)}`, remedy));
    else found.push(finding(check, 'ok', `is valid until ${day(endMs)}`));
  }
  return found.length > 0 ? found : [finding('certificates', 'ok', `none in ${certDir} yet`)];
}

/** When the first certificate of a file ends, ms; a text when there is none. */
function endOf(pem: string): number | string {
  try {
    return Date.parse(new X509Certificate(pem).validTo);
  } catch (err) {
    return errorMessage(err);
  }
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** Hard eviction thresholds by default: below them the node takes no pods (nodefs.available, nodefs.inodesFree). */
const MIN_FREE = { bytes: 0.1, inodes: 0.05 } as const;

async function disk(host: Host, { rootDir }: DoctorOptions): Promise<Finding[]> {
  const check = 'disk';
  const free = await host.freeShares(rootDir);
  const percent = (share: number): string => `${Math.floor(share * 100)} %`;
  const remedy = 'crictl rmi --prune, and find what else fills it: du -xh --max-depth=2 / | sort -h';
  if (free.bytes < MIN_FREE.bytes)
    return [
      finding(check, 'warn', `${percent(free.bytes)} of that of ${rootDir} is free: pods will be evicted`, remedy),
    ];
  if (free.inodes < MIN_FREE.inodes)
    return [
      finding(
        check,
        'warn',
        `${percent(free.inodes)} of the inodes of ${rootDir} are free: pods will be evicted`,
        remedy,
      ),
    ];
  return [finding(check, 'ok', `${percent(free.bytes)} free`)];
}
