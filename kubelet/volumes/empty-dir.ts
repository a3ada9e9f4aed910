// emptyDir volumes on disk and in memory. After pkg/volume/emptydir/empty_dir.go.
import { chmod, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { EmptyDirVolumeSource, Pod } from '../../api/pod.ts';
import { isPodLimited, podLimits } from '../../api/pod-resources.ts';
import { parseQuantity, quantityValue } from '../../api/quantity.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Mounter } from '../../host/mounts.ts';
import { applyFsGroup } from './ownership.ts';

export interface EmptyDirRequest {
  readonly pod: Pod;
  readonly source: EmptyDirVolumeSource;
  readonly dir: string;
  readonly readyFile: string;
  /** Memory that pods of this node may use, bytes. */
  readonly nodeMemoryBytes: number;
}

/** Makes the volume once; one that was finished before is left as it is, whatever its pod has done to it. */
export async function setUpEmptyDir(
  request: EmptyDirRequest,
  deps: { mounter: Mounter; log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const { pod, source, dir, readyFile } = request;
  const inMemory = source.medium === 'Memory';
  if (!inMemory && (source.medium ?? '') !== '') {
    throw new AgentError(`emptyDir medium ${source.medium} is not supported by this agent`, {
      code: 'VOLUME_UNSUPPORTED',
    });
  }
  const isThere = inMemory ? await isMountPoint(deps.mounter, dir) : await exists(dir);
  if (isThere && (await exists(readyFile))) return;
  await rm(readyFile, { force: true }); // the mark of a directory that has gone since, e.g. tmpfs over a reboot
  await mkdir(dir, { recursive: true, mode: 0o750 });
  if (inMemory && !isThere) await mountSized(deps.mounter, dir, memoryLimit(request), signal);
  await chmod(dir, 0o777);
  const fsGroup = pod.spec?.securityContext?.fsGroup;
  if (fsGroup !== undefined) await applyFsGroup(dir, fsGroup, false, deps.log);
  await mkdir(path.dirname(readyFile), { recursive: true, mode: 0o750 });
  await writeFile(readyFile, '');
}

/** The smallest of what the node has for pods, what the pod may use and `sizeLimit`, bytes. */
export function memoryLimit({ pod, source, nodeMemoryBytes }: EmptyDirRequest): number {
  const limits = [nodeMemoryBytes];
  const ofPod = isPodLimited(pod, 'memory') ? podLimits(pod).get('memory') : undefined;
  if (ofPod !== undefined) limits.push(quantityValue(ofPod));
  if (source.sizeLimit !== undefined) limits.push(quantityValue(parseQuantity(source.sizeLimit)));
  return Math.min(...limits.filter((bytes) => bytes > 0));
}

async function mountSized(mounter: Mounter, dir: string, bytes: number, signal: AbortSignal): Promise<void> {
  const size = Number.isFinite(bytes) ? [`size=${bytes}`] : [];
  await mountNoSwap(mounter, dir, size, signal);
}

/** tmpfs that is never swapped out where the kernel can promise that (6.4 and newer), else a plain one. */
export async function mountNoSwap(
  mounter: Mounter,
  dir: string,
  options: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  try {
    await mounter.mountTmpfs(dir, [...options, 'noswap'], signal);
  } catch (err) {
    if (signal.aborted) throw err;
    await mounter.mountTmpfs(dir, options.length === 0 ? ['rw'] : options, signal);
  }
}

export async function isMountPoint(mounter: Mounter, dir: string): Promise<boolean> {
  return (await mounter.list()).some((m) => m.mountPoint === dir);
}

async function exists(file: string): Promise<boolean> {
  return await stat(file).then(
    () => true,
    () => false,
  );
}
