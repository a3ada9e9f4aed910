// Where a pod's files are on the host. These names are read by others: log collectors, and the agent after a restart.
import path from 'node:path';
import type { Pod } from '../../api/pod.ts';

interface Dirs {
  readonly rootDir: string;
  readonly podLogsDir: string;
  readonly containerLogsDir: string;
}

const MAX_FILE_NAME = 255;

export function podDir(dirs: Pick<Dirs, 'rootDir'>, podUid: string): string {
  return path.join(dirs.rootDir, 'pods', podUid);
}

export function podLogDir(dirs: Pick<Dirs, 'podLogsDir'>, pod: Pod): string {
  const { namespace = '', name = '', uid = '' } = pod.metadata ?? {};
  return path.join(dirs.podLogsDir, `${namespace}_${name}_${uid}`);
}

/** Relative to the pod's log directory, as CRI wants it. */
export function containerLogPath(containerName: string, restartCount: number): string {
  return path.posix.join(containerName, `${restartCount}.log`);
}

export function etcHostsFile(dirs: Pick<Dirs, 'rootDir'>, podUid: string): string {
  return path.join(podDir(dirs, podUid), 'etc-hosts');
}

/** The link that log collectors look for, cut to what a file name may hold. */
export function legacyLogLink(
  dirs: Pick<Dirs, 'containerLogsDir'>,
  container: { podName: string; podNamespace: string; containerName: string; containerId: string },
): string {
  const { podName, podNamespace, containerName, containerId } = container;
  const base = `${podName}_${podNamespace}_${containerName}-${containerId}`.slice(0, MAX_FILE_NAME - '.log'.length);
  return path.join(dirs.containerLogsDir, `${base}.log`);
}
