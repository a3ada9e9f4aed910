// PersistentVolumes of type local: a directory of this node, bound into the pod's directory, or a block device of it.
// After pkg/volume/local.
import { mkdir, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import type { PersistentVolume } from '../../../api/kinds.ts';
import type { Pod } from '../../../api/pod.ts';
import { AgentError, errnoOf } from '../../../core/errors.ts';
import type { Logger } from '../../../core/log.ts';
import type { Mounter } from '../../../host/mounts.ts';
import { isMountPoint } from '../empty-dir.ts';
import { applyFsGroup, matchesFsGroup } from '../ownership.ts';
import type { VolumePaths } from '../volume-paths.ts';

const PLUGIN = 'kubernetes.io~local-volume';

export interface LocalVolumeDeps {
  readonly paths: VolumePaths;
  readonly mounter: Mounter;
  readonly log: Logger;
}

/** Idempotent. Answers where the file system is mounted, or the link to the device. @throws {AgentError} LOCAL_VOLUME */
export async function setUpLocalVolume(
  pod: Pod,
  pv: PersistentVolume,
  readOnly: boolean,
  deps: LocalVolumeDeps,
  signal: AbortSignal,
): Promise<string> {
  const source = pv.spec?.local?.path ?? '';
  const uid = pod.metadata?.uid ?? '';
  const name = pv.metadata?.name ?? '';
  const stats = await statOrRefuse(source);
  if (pv.spec?.volumeMode === 'Block') {
    if (!stats.isBlockDevice()) throw refusal(`path ${JSON.stringify(source)} is not a block device`);
    return await linkDevice(deps.paths.deviceLink(uid, PLUGIN, name), source);
  }
  if (!stats.isDirectory()) {
    throw refusal(`path ${JSON.stringify(source)} is not a directory; devices are not formatted by this agent`);
  }
  const dir = deps.paths.volumeDir(uid, PLUGIN, name);
  await mkdir(dir, { recursive: true, mode: 0o750 });
  if (!(await isMountPoint(deps.mounter, dir))) await deps.mounter.bind(source, dir, signal);
  const { fsGroup, fsGroupChangePolicy } = pod.spec?.securityContext ?? {};
  if (fsGroup === undefined || readOnly) return dir;
  const isDone = fsGroupChangePolicy === 'OnRootMismatch' && (await matchesFsGroup(dir, fsGroup, false));
  if (!isDone) await applyFsGroup(dir, fsGroup, false, deps.log);
  return dir;
}

async function statOrRefuse(source: string) {
  try {
    return await stat(source);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') throw refusal(`path ${JSON.stringify(source)} does not exist`);
    throw err;
  }
}

async function linkDevice(link: string, device: string): Promise<string> {
  await mkdir(path.dirname(link), { recursive: true, mode: 0o750 });
  await rm(link, { force: true });
  await symlink(device, link);
  return link;
}

function refusal(text: string): AgentError {
  return new AgentError(text, { code: 'LOCAL_VOLUME', retryable: true });
}
