// Which images may go, in which order, and how much must go. Pure. After pkg/kubelet/images/image_gc_manager.go.
import type { Image } from '../../cri/gen/messages.ts';

export interface ImageRecord {
  readonly id: string;
  readonly sizeBytes: number;
  readonly pinned: boolean;
  /** When this agent first saw it, monotonic ms. */
  readonly firstDetectedMs: number;
  /** When a container last used it as far as was seen; -Infinity for never. */
  readonly lastUsedMs: number;
}

/** The inventory of now: images that are gone are forgotten, those in use are used at `nowMs`. */
export function takeInventory(
  before: ReadonlyMap<string, ImageRecord>,
  images: readonly Image[],
  inUse: ReadonlySet<string>,
  times: { readonly nowMs: number; readonly newDetectedMs: number },
): Map<string, ImageRecord> {
  const records = new Map<string, ImageRecord>();
  for (const { id, size, pinned } of images) {
    const known = before.get(id);
    records.set(id, {
      id,
      sizeBytes: Number(size),
      pinned,
      firstDetectedMs: known?.firstDetectedMs ?? times.newDetectedMs,
      lastUsedMs: inUse.has(id) ? times.nowMs : (known?.lastUsedMs ?? Number.NEGATIVE_INFINITY),
    });
  }
  return records;
}

/** Neither in use nor pinned: the longest unused first, among equals the one that has been here longest. */
export function evictionOrder(records: Iterable<ImageRecord>, inUse: ReadonlySet<string>): ImageRecord[] {
  const candidates = [...records].filter((r) => !inUse.has(r.id) && !r.pinned);
  return candidates.sort(
    (a, b) => compare(a.lastUsedMs, b.lastUsedMs) || compare(a.firstDetectedMs, b.firstDetectedMs),
  );
}

/** -Infinity is a time, too: a difference of two of them would be no number. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Last use longer ago than `maxAgeMs`; one never used counts from when it was first seen. */
export function isTooOld(record: ImageRecord, maxAgeMs: number, nowMs: number): boolean {
  return nowMs - Math.max(record.lastUsedMs, record.firstDetectedMs) > maxAgeMs;
}

export interface FileSystemUse {
  readonly capacityBytes: number;
  readonly availableBytes: number;
}

export interface SpaceThresholds {
  readonly highPercent: number;
  readonly lowPercent: number;
}

/** Whole percent in use, rounded as the kubelet does. */
export function usagePercent({ capacityBytes, availableBytes }: FileSystemUse): number {
  return 100 - Math.trunc((availableBytes * 100) / capacityBytes);
}

/** Bytes to free; 0 below the high threshold. */
export function bytesToFree(fs: FileSystemUse, { highPercent, lowPercent }: SpaceThresholds): number {
  if (usagePercent(fs) < highPercent) return 0;
  return Math.max(0, Math.trunc((fs.capacityBytes * (100 - lowPercent)) / 100) - fs.availableBytes);
}

/** Whether a pass for space may take it: not used since the pass began, and not just pulled. */
export function mayFree(record: ImageRecord, minAgeMs: number, passMs: number): boolean {
  return record.lastUsedMs < passMs && passMs - record.firstDetectedMs >= minAgeMs;
}
