// Removes images that nobody uses: those too old, and as many as it takes when the disk of the images fills up. After
// pkg/kubelet/images/image_gc_manager.go.
import type { ObjectReference } from '../../api/kinds.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { ImageService, RuntimeService } from '../../cri/runtime-service.ts';
import {
  bytesToFree,
  evictionOrder,
  type FileSystemUse,
  type ImageRecord,
  isTooOld,
  mayFree,
  takeInventory,
  usagePercent,
} from './image-gc-plan.ts';

export interface ImageGcOptions {
  /** imageMinimumGCAge, ms. */
  readonly minAgeMs: number;
  /** imageMaximumGCAge, ms; 0: images do not get too old. */
  readonly maxAgeMs: number;
  /** imageGCHighThresholdPercent; 100: never for space. */
  readonly highPercent: number;
  readonly lowPercent: number;
}

export interface ImageGcDeps {
  readonly runtime: Pick<RuntimeService, 'listContainers'>;
  readonly images: Pick<ImageService, 'listImages' | 'removeImage' | 'imageFsInfo'>;
  /** Names or ids that must stay beside what containers were made from: mounted images, the one of sandboxes. */
  readonly alsoInUse: (signal: AbortSignal) => Promise<readonly string[]>;
  /** Of the file system that holds `mountpoint`. */
  readonly fileSystem: (mountpoint: string) => Promise<FileSystemUse>;
  /** Told after each pass which images are left, and the wall time at which the pass began. */
  readonly onCollected?: (imageIds: readonly string[], startedAtMs: number) => Promise<void>;
  /** Told of each image that was removed. Must not throw. */
  readonly onRemoved?: (why: 'age' | 'space') => void;
  readonly recorder: EventRecorder;
  readonly node: ObjectReference;
  readonly clock: Clock;
  readonly log: Logger;
}

const PERIOD_MS = 300_000;
/** A day: nothing is done then either. */
const OFF_MS = 86_400_000;

export class ImageGc {
  readonly #opts: ImageGcOptions;
  readonly #deps: ImageGcDeps;
  readonly #log: Logger;
  readonly #startedMs: number;
  #records: ReadonlyMap<string, ImageRecord> = new Map();
  #scanned = false;

  constructor(opts: ImageGcOptions, deps: ImageGcDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'image-gc' });
    this.#startedMs = deps.clock.monotonicMs();
  }

  /** At once and then every five minutes, until `signal` aborts. Does nothing when switched off. */
  async run(signal: AbortSignal): Promise<void> {
    const { recorder, node, clock } = this.#deps;
    const off = this.#opts.highPercent === 100 && this.#opts.maxAgeMs === 0;
    while (off && !signal.aborted) await clock.sleep(OFF_MS, signal);
    for (let failedBefore = false; !signal.aborted; ) {
      try {
        await this.collect(signal);
        failedBefore = false;
      } catch (err) {
        if (signal.aborted) return;
        this.#log.warn({ err }, 'image garbage collection failed');
        // One failure may be a disk that has not been measured yet; a second one is for the operator.
        if (failedBefore) recorder.event(node, 'Warning', 'ImageGCFailed', errorMessage(err));
        failedBefore = true;
      }
      await clock.sleep(PERIOD_MS, signal);
    }
  }

  /** One pass for age and one for space. @throws {AgentError} IMAGE_GC_FAILED when too little could be freed. */
  async collect(signal: AbortSignal): Promise<void> {
    const wallMs = this.#deps.clock.now();
    const passMs = this.#deps.clock.monotonicMs();
    let candidates = await this.#scan(signal);
    if (this.#opts.maxAgeMs > 0 && passMs - this.#startedMs >= this.#opts.maxAgeMs) {
      candidates = await this.#removeOld(candidates, passMs, signal);
    }
    try {
      await this.#freeSpace(candidates, passMs, signal);
    } finally {
      await this.#deps.onCollected?.([...this.#records.keys()], wallMs);
    }
  }

  /** Every image that is not in use, whatever the thresholds: for a node that is out of disk. Returns bytes freed. */
  async removeUnused(signal: AbortSignal): Promise<number> {
    const wallMs = this.#deps.clock.now();
    const passMs = this.#deps.clock.monotonicMs();
    const candidates = await this.#scan(signal);
    const { freedBytes } = await this.#free(candidates, Number.POSITIVE_INFINITY, passMs, 0, signal);
    await this.#deps.onCollected?.([...this.#records.keys()], wallMs);
    return freedBytes;
  }

  /** Refreshes the inventory. Returns what may be removed, in order. */
  async #scan(signal: AbortSignal): Promise<ImageRecord[]> {
    const { runtime, images, clock } = this.#deps;
    const [present, containers, others] = await Promise.all([
      images.listImages({ signal }),
      runtime.listContainers(undefined, { signal }),
      this.#deps.alsoInUse(signal),
    ]);
    const nowMs = clock.monotonicMs();
    const names = [...containers.flatMap((c) => [c.imageRef, c.imageId, c.image?.image ?? '']), ...others];
    const inUse = imageIds(names, present);
    // What was there before the agent may be old: its age is counted from the start, not from a late first look.
    const newDetectedMs = this.#scanned ? nowMs : this.#startedMs;
    this.#records = takeInventory(this.#records, present, inUse, { nowMs, newDetectedMs });
    this.#scanned = true;
    return evictionOrder(this.#records.values(), inUse);
  }

  async #removeOld(candidates: ImageRecord[], passMs: number, signal: AbortSignal): Promise<ImageRecord[]> {
    const left: ImageRecord[] = [];
    for (const record of candidates) {
      if (isTooOld(record, this.#opts.maxAgeMs, passMs) && !signal.aborted) await this.#remove(record, 'age', signal);
      else left.push(record);
    }
    return left;
  }

  async #freeSpace(candidates: readonly ImageRecord[], passMs: number, signal: AbortSignal): Promise<void> {
    const { recorder, node } = this.#deps;
    if (this.#opts.highPercent === 100) return;
    const fs = await this.#imageFileSystem(signal);
    if (fs.capacityBytes === 0) {
      const text = 'invalid capacity 0 on image filesystem';
      recorder.event(node, 'Warning', 'InvalidDiskCapacity', text);
      throw new AgentError(text, { code: 'IMAGE_GC_FAILED', retryable: true });
    }
    const wantedBytes = bytesToFree(fs, this.#opts);
    if (wantedBytes === 0) return;
    const { freedBytes, errors } = await this.#free(candidates, wantedBytes, passMs, this.#opts.minAgeMs, signal);
    if (errors.length > 0) {
      throw new AgentError(
        `wanted to free ${wantedBytes} bytes, but freed ${freedBytes} bytes space with errors in image deletion: ${errors.join(', ')}`,
        { code: 'IMAGE_GC_FAILED', retryable: true },
      );
    }
    if (freedBytes >= wantedBytes) return;
    const text = `Insufficient free disk space on the node's image filesystem (${usagePercent(fs)}% of ${binarySize(fs.capacityBytes)} used). Failed to free sufficient space by deleting unused images (freed ${freedBytes} bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.`;
    recorder.event(node, 'Warning', 'FreeDiskSpaceFailed', text);
    throw new AgentError(text, { code: 'IMAGE_GC_FAILED', retryable: true });
  }

  async #free(
    candidates: readonly ImageRecord[],
    wantedBytes: number,
    passMs: number,
    minAgeMs: number,
    signal: AbortSignal,
  ): Promise<{ freedBytes: number; errors: string[] }> {
    let freedBytes = 0;
    const errors: string[] = [];
    for (const record of candidates) {
      if (freedBytes >= wantedBytes || signal.aborted) break;
      if (!mayFree(record, minAgeMs, passMs)) continue;
      const error = await this.#remove(record, 'space', signal);
      if (error === undefined) freedBytes += record.sizeBytes;
      else errors.push(error);
    }
    return { freedBytes, errors };
  }

  /** Returns what went wrong: the others are to be removed all the same. */
  async #remove(record: ImageRecord, why: 'age' | 'space', signal: AbortSignal): Promise<string | undefined> {
    try {
      await this.#deps.images.removeImage({ image: record.id }, { signal });
      this.#log.info({ imageId: record.id, sizeBytes: record.sizeBytes, why }, 'image removed');
      this.#deps.onRemoved?.(why);
      this.#records = new Map([...this.#records].filter(([id]) => id !== record.id));
      return undefined;
    } catch (err) {
      if (!signal.aborted) this.#log.warn({ err, imageId: record.id }, 'image not removed, will retry');
      return errorMessage(err);
    }
  }

  async #imageFileSystem(signal: AbortSignal): Promise<FileSystemUse> {
    const { image } = await this.#deps.images.imageFsInfo({ signal });
    const mountpoint = image[0]?.fsId?.mountpoint ?? '';
    if (mountpoint === '') {
      throw new AgentError('the runtime does not say where its images are', {
        code: 'IMAGE_GC_FAILED',
        retryable: true,
      });
    }
    return await this.#deps.fileSystem(mountpoint);
  }
}

/** The images that `names` stand for, each an id, a tag or a digest. */
function imageIds(
  names: readonly string[],
  images: readonly {
    readonly id: string;
    readonly repoTags: readonly string[];
    readonly repoDigests: readonly string[];
  }[],
): Set<string> {
  const idOf = new Map(
    images.flatMap((i) => [i.id, ...i.repoTags, ...i.repoDigests].map((name) => [name, i.id] as const)),
  );
  return new Set(names.flatMap((name) => idOf.get(name) ?? []));
}

/** `19.5 GiB`, as the Event shows it. */
export function binarySize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : Number(value.toFixed(1))} ${units[unit]}`;
}
