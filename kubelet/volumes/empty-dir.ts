// emptyDir volumes on disk, in memory and in huge pages. After pkg/volume/emptydir/empty_dir.go.
import { chmod, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { EmptyDirVolumeSource, Pod } from '../../api/pod.ts';
import { isPodLimited, podLimits } from '../../api/pod-resources.ts';
import { isQuantity, parseQuantity, quantityValue } from '../../api/quantity.ts';
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
  const medium = mediumOf(pod, source.medium ?? '');
  const isThere = medium.kind === 'disk' ? await exists(dir) : await isMountPoint(deps.mounter, dir);
  if (isThere && (await exists(readyFile))) return;
  await rm(readyFile, { force: true }); // the mark of a directory that has gone since, e.g. tmpfs over a reboot
  await mkdir(dir, { recursive: true, mode: 0o750 });
  if (medium.kind === 'memory' && !isThere) await mountSized(deps.mounter, dir, memoryLimit(request), signal);
  if (medium.kind === 'huge pages' && !isThere) await deps.mounter.mountHugePages(dir, medium.pageBytes, signal);
  await chmod(dir, MODES[medium.kind]);
  const fsGroup = pod.spec?.securityContext?.fsGroup;
  if (fsGroup !== undefined) await applyFsGroup(dir, fsGroup, false, deps.log);
  await mkdir(path.dirname(readyFile), { recursive: true, mode: 0o750 });
  await writeFile(readyFile, '');
}

type Medium = { readonly kind: 'disk' | 'memory' } | { readonly kind: 'huge pages'; readonly pageBytes: number };

/** Of the volume's directory: what pods find with a kubelet, which leaves a new mount the mode that its kernel gave it. */
const MODES: Readonly<Record<Medium['kind'], number>> = { disk: 0o777, memory: 0o1777, 'huge pages': 0o755 };

const HUGE_PAGES = 'HugePages';
const HUGE_PAGE_RESOURCE = 'hugepages-';

function mediumOf(pod: Pod, medium: string): Medium {
  if (medium === '') return { kind: 'disk' };
  if (medium === 'Memory') return { kind: 'memory' };
  if (medium === HUGE_PAGES || medium.startsWith(`${HUGE_PAGES}-`)) {
    return { kind: 'huge pages', pageBytes: hugePageBytes(pod, medium) };
  }
  throw refusal(`unknown storage medium ${JSON.stringify(medium)}`);
}

/**
 * The size of pages that `HugePages` or `HugePages-2Mi` means for the pod, bytes: one that it requests.
 * @throws {AgentError} VOLUME_MEDIUM with upstream's words.
 */
export function hugePageBytes(pod: Pod, medium: string): number {
  const { containers = [], initContainers = [], resources } = pod.spec ?? {};
  const lists = [resources, ...containers.map((c) => c.resources), ...initContainers.map((c) => c.resources)];
  const requested = new Set(
    lists
      .flatMap((list) => Object.keys({ ...list?.limits, ...list?.requests })) // the two must be the same
      .filter((name) => name.startsWith(HUGE_PAGE_RESOURCE))
      .map((name) => quantityValue(parseQuantity(name.slice(HUGE_PAGE_RESOURCE.length)))),
  );
  if (medium === HUGE_PAGES && requested.size > 1) {
    throw refusal(`medium: ${medium} can't be used if container requests multiple huge page sizes`);
  }
  const wanted = medium === HUGE_PAGES ? [...requested][0] : sizeOfMedium(medium);
  if (wanted !== undefined && requested.has(wanted)) return wanted;
  throw refusal(`medium ${medium}: hugePages storage requested, but there is no resource request for huge pages`);
}

function sizeOfMedium(medium: string): number {
  const text = medium.slice(HUGE_PAGES.length + 1);
  if (isQuantity(text)) return quantityValue(parseQuantity(text));
  throw refusal(`medium ${medium}: ${JSON.stringify(text)} is no size of pages`);
}

function refusal(text: string): AgentError {
  return new AgentError(text, { code: 'VOLUME_MEDIUM' });
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
