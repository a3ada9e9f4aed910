// Files on the host that a container needs before it is created: log directory, termination log, /etc/hosts.
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Pod } from '../../api/pod.ts';
import { errnoOf } from '../../core/errors.ts';
import { renderEtcHosts, renderHostNetworkEtcHosts } from './etc-hosts.ts';
import type { PodHostname } from './hostname.ts';
import { etcHostsFile, podDir, podLogDir } from './pod-paths.ts';
import type { RuntimeSettings } from './runtime-deps.ts';

type Dirs = Pick<RuntimeSettings, 'rootDir' | 'podLogsDir' | 'containerLogsDir' | 'nodeHostsFile'>;

export async function ensurePodLogDir(dirs: Dirs, pod: Pod): Promise<string> {
  const dir = podLogDir(dirs, pod);
  await mkdir(dir, { recursive: true, mode: 0o755 });
  return dir;
}

/**
 * Makes the log directory of a container and returns the number of log files that are there already, as the next
 * restart count of a container that the runtime has forgotten: one more than the highest `<n>.log`.
 */
export async function ensureContainerLogDir(dirs: Dirs, pod: Pod, containerName: string): Promise<number> {
  const dir = path.join(podLogDir(dirs, pod), containerName);
  const created = await mkdir(dir, { recursive: true, mode: 0o755 });
  if (created !== undefined) return 0;
  let next = 0;
  for (const file of await readdir(dir)) {
    const count = /^(\d+)\.log/.exec(file)?.[1];
    if (count !== undefined) next = Math.max(next, Number(count) + 1);
  }
  return next;
}

/** A new empty file for one container's last words; writable by whatever user the container runs as. */
export async function createTerminationLog(dirs: Dirs, podUid: string, containerName: string): Promise<string> {
  const dir = path.join(podDir(dirs, podUid), 'containers', containerName);
  await mkdir(dir, { recursive: true, mode: 0o750 });
  const file = path.join(dir, randomBytes(4).toString('hex'));
  await writeFile(file, '', { flag: 'wx' });
  await chmod(file, 0o666); // beyond the umask
  return file;
}

/** A pod's /etc/hosts in the making. */
export interface EtcHosts {
  /** Its path, once it can be mounted. */
  readonly file: Promise<string>;
  /** Resolves when all of it has been written. */
  readonly written: Promise<void>;
}

/**
 * The pod's /etc/hosts before its addresses are known, so that it can be mounted; returns its path. One that is there
 * already stays as it is.
 */
export async function ensureEtcHosts(dirs: Dirs, pod: Pod, hostname: PodHostname): Promise<string> {
  const file = etcHostsFile(dirs, pod.metadata?.uid ?? '');
  await mkdir(path.dirname(file), { recursive: true, mode: 0o750 });
  try {
    await writeFile(file, await etcHosts(dirs, pod, [], hostname), { mode: 0o644, flag: 'wx' });
  } catch (err) {
    if (errnoOf(err) !== 'EEXIST') throw err;
  }
  return file;
}

/** Rewrites it in place, not by rename: running containers have this very file mounted and must see the change. */
export async function writeEtcHosts(
  dirs: Dirs,
  pod: Pod,
  ips: readonly string[],
  hostname: PodHostname,
): Promise<void> {
  const isKnown = ips.length > 0 || pod.spec?.hostNetwork === true;
  if (!isKnown) return; // what an earlier pass knew is not taken away
  const file = etcHostsFile(dirs, pod.metadata?.uid ?? '');
  await writeFile(file, await etcHosts(dirs, pod, ips, hostname), { mode: 0o644 });
}

async function etcHosts(dirs: Dirs, pod: Pod, ips: readonly string[], hostname: PodHostname): Promise<string> {
  return pod.spec?.hostNetwork
    ? renderHostNetworkEtcHosts(pod, await readFile(dirs.nodeHostsFile, 'utf8'))
    : renderEtcHosts(pod, ips, hostname);
}

/** Points the legacy link at the log once the runtime has made it; no log (another log driver) means no link. */
export async function linkContainerLog(link: string, logFile: string): Promise<void> {
  const exists = await stat(logFile).then(
    () => true,
    () => false,
  );
  if (!exists) return;
  await replaceLink(link, logFile);
}

async function replaceLink(link: string, target: string): Promise<void> {
  try {
    await symlink(target, link);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') {
      await mkdir(path.dirname(link), { recursive: true, mode: 0o755 });
      await symlink(target, link);
    } else if (errnoOf(err) === 'EEXIST' && (await lstat(link)).isSymbolicLink()) {
      await unlink(link);
      await symlink(target, link);
    } else {
      throw err;
    }
  }
}
