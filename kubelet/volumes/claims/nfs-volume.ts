// NFS exports, named by pods or by PersistentVolumes: mounted in the directory of each pod by itself. After
// pkg/volume/nfs. What is mounted says what is set up, so that a killed agent finds its way back.
import { mkdir, rmdir } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { AgentError } from '../../../core/errors.ts';
import type { Mounter } from '../../../host/mounts.ts';
import { isMountPoint } from '../empty-dir.ts';

export const NFS_PLUGIN = 'kubernetes.io~nfs';

export interface NfsExport {
  readonly server: string;
  readonly path: string;
  readonly readOnly: boolean;
  /** Of the PersistentVolume. */
  readonly mountOptions: readonly string[];
}

/** As mount(8) wants it, e.g. `10.0.0.1:/export`. @throws {AgentError} NFS_VOLUME for what is no export. */
export function nfsSource({ server, path }: Pick<NfsExport, 'server' | 'path'>): string {
  if (server === '' || !path.startsWith('/')) {
    throw new AgentError(`${JSON.stringify(`${server}:${path}`)} is no NFS export`, { code: 'NFS_VOLUME' });
  }
  return `${isIPv6(server) ? `[${server}]` : server}:${path}`;
}

/** Each once, sorted. */
export function nfsOptions({ mountOptions, readOnly }: Pick<NfsExport, 'mountOptions' | 'readOnly'>): string[] {
  return [...new Set([...mountOptions, ...(readOnly ? ['ro'] : [])])].sort();
}

/** Mounts the export at `dir`. Idempotent. @throws {AgentError} NFS_VOLUME; MOUNT_FAILED with mount's own words. */
export async function setUpNfs(from: NfsExport, dir: string, mounter: Mounter, signal: AbortSignal): Promise<string> {
  const source = nfsSource(from);
  // Nothing may touch what is mounted already: while its server does not answer, that would hang.
  if (await isMountPoint(mounter, dir)) return dir;
  await mkdir(dir, { recursive: true, mode: 0o750 });
  try {
    await mounter.mountRemote('nfs', source, dir, nfsOptions(from), signal);
  } catch (err) {
    await rmdir(dir).catch(() => undefined); // made again by the next try, or removed with the pod
    throw err;
  }
  return dir;
}
