import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { Container, Image } from '../../cri/gen/messages.ts';
import { binarySize, ImageGc, type ImageGcOptions } from './image-gc.ts';
import { bytesToFree, evictionOrder, type ImageRecord, usagePercent } from './image-gc-plan.ts';

const record = (id: string, more: Partial<ImageRecord> = {}): ImageRecord => ({
  id,
  sizeBytes: 10,
  pinned: false,
  firstDetectedMs: 0,
  lastUsedMs: Number.NEGATIVE_INFINITY,
  ...more,
});

describe('the plan', () => {
  test('the longest unused goes first, among equals the one seen first; used and pinned ones stay', () => {
    const records = [
      record('new', { lastUsedMs: 20 }),
      record('never-late', { firstDetectedMs: 5 }),
      record('never-early', { firstDetectedMs: 1 }),
      record('old', { lastUsedMs: 10 }),
      record('used', { lastUsedMs: 1 }),
      record('pinned', { pinned: true }),
    ];
    const ids = evictionOrder(records, new Set(['used'])).map((r) => r.id);
    expect(ids).toEqual(['never-early', 'never-late', 'old', 'new']);
  });

  test.each([
    [100, 16, 84, 0],
    [100, 15, 85, 5],
    [100, 0, 100, 20],
    [1000, 149, 86, 51],
  ])('of %i bytes %i are left: %i %% used, %i to free', (capacityBytes, availableBytes, percent, wanted) => {
    const fs = { capacityBytes, availableBytes };
    expect(usagePercent(fs)).toBe(percent);
    expect(bytesToFree(fs, { highPercent: 85, lowPercent: 80 })).toBe(wanted);
  });

  test('sizes as the Event shows them', () => {
    expect([512, 1024, 20 * 2 ** 30 + 2 ** 29].map(binarySize)).toEqual(['512 B', '1 KiB', '20.5 GiB']);
  });
});

const MINUTE = 60_000;
const stop = new AbortController();
let clock: FakeClock;
let images: Image[];
let containers: Container[];
let disk: { capacityBytes: number; availableBytes: number };
let failing: Set<string>;
let events: string[];
let left: readonly string[] | undefined;

beforeEach(() => {
  clock = new FakeClock();
  images = [];
  containers = [];
  disk = { capacityBytes: 100, availableBytes: 50 };
  failing = new Set();
  events = [];
  left = undefined;
});

const image = (id: string, pinned = false): Image => ({
  id,
  repoTags: [`docker.io/library/${id}:1`],
  repoDigests: [],
  size: 10,
  username: '',
  pinned,
});
const containerOf = (imageRef: string) => ({ imageRef, imageId: '', image: undefined }) as unknown as Container;

function start(opts: Partial<ImageGcOptions> = {}, alsoInUse: string[] = []): ImageGc {
  return new ImageGc(
    { minAgeMs: 2 * MINUTE, maxAgeMs: 0, highPercent: 85, lowPercent: 80, ...opts },
    {
      runtime: { listContainers: async () => containers },
      images: {
        listImages: async () => images,
        removeImage: async ({ image: id }) => {
          if (failing.has(id!)) throw new Error(`${id} is busy`);
          images = images.filter((i) => i.id !== id);
          disk = { ...disk, availableBytes: disk.availableBytes + 10 };
        },
        imageFsInfo: async () => ({ image: [{ timestamp: 0n, fsId: { mountpoint: '/images' } }], container: [] }),
      },
      alsoInUse: async () => alsoInUse,
      fileSystem: async () => disk,
      onCollected: async (ids) => {
        left = ids;
      },
      recorder: { event: (_, type, reason, message) => void events.push(`${type} ${reason} ${message}`) },
      node: { kind: 'Node', name: 'n' },
      clock,
      log: silentLog,
    },
  );
}
const ids = () => images.map((i) => i.id);

describe('a pass for space', () => {
  beforeEach(() => {
    images = ['a', 'b', 'c', 'd'].map((id) => image(id));
    disk = { capacityBytes: 100, availableBytes: 5 };
  });

  test('removes just enough of what is not used', async () => {
    const gc = start();
    containers = [containerOf('a')];
    await clock.advance(3 * MINUTE);
    await gc.collect(stop.signal);
    expect(ids()).toEqual(['a', 'd']); // 15 bytes were wanted
    expect(left).toEqual(['a', 'd']);
    expect(events).toEqual([]);
  });

  test('nothing below the threshold', async () => {
    disk = { capacityBytes: 100, availableBytes: 16 };
    const gc = start();
    await clock.advance(3 * MINUTE);
    await gc.collect(stop.signal);
    expect(ids()).toHaveLength(4);
  });

  test('images in use by tag, of sandboxes, and pinned ones stay even when the disk is full', async () => {
    images = [image('a'), image('b'), image('c', true), image('d')];
    containers = [containerOf('docker.io/library/a:1')];
    const gc = start({}, ['docker.io/library/b:1']);
    await clock.advance(3 * MINUTE);
    await expect(gc.collect(stop.signal)).rejects.toThrow('Insufficient free disk space');
    expect(ids()).toEqual(['a', 'b', 'c']);
    expect(events).toEqual([
      "Warning FreeDiskSpaceFailed Insufficient free disk space on the node's image filesystem (95% of 100 B used). Failed to free sufficient space by deleting unused images (freed 10 bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
    ]);
  });

  test('an image that was pulled less than the minimum age ago stays', async () => {
    images = [];
    disk = { capacityBytes: 100, availableBytes: 50 };
    const gc = start();
    await gc.collect(stop.signal);
    await clock.advance(10 * MINUTE);
    images = [image('fresh')];
    disk = { capacityBytes: 100, availableBytes: 5 };
    await expect(gc.collect(stop.signal)).rejects.toThrow('Insufficient');
    expect(ids()).toEqual(['fresh']);
    await clock.advance(2 * MINUTE);
    await expect(gc.collect(stop.signal)).rejects.toThrow('freed 10 bytes');
    expect(ids()).toEqual([]);
  });

  test('one that cannot be removed does not keep the others from it', async () => {
    failing.add('a');
    const gc = start();
    await clock.advance(3 * MINUTE);
    await expect(gc.collect(stop.signal)).rejects.toThrow(
      'freed 20 bytes space with errors in image deletion: a is busy',
    );
    expect(ids()).toEqual(['a', 'd']);
  });

  test('a disk without capacity is told', async () => {
    disk = { capacityBytes: 0, availableBytes: 0 };
    await expect(start().collect(stop.signal)).rejects.toThrow('invalid capacity 0');
    expect(events).toEqual(['Warning InvalidDiskCapacity invalid capacity 0 on image filesystem']);
  });

  test('removing all that is unused asks for no threshold and no age', async () => {
    disk = { capacityBytes: 100, availableBytes: 90 };
    containers = [containerOf('c')];
    const gc = start();
    await clock.advance(1);
    expect(await gc.removeUnused(stop.signal)).toBe(30);
    expect(ids()).toEqual(['c']);
  });
});

describe('a pass for age', () => {
  test('removes what was not used for longer, once the agent has run that long', async () => {
    images = [image('used'), image('unused')];
    containers = [containerOf('used')];
    const gc = start({ maxAgeMs: 10 * MINUTE });
    await clock.advance(9 * MINUTE);
    await gc.collect(stop.signal);
    expect(ids()).toEqual(['used', 'unused']);
    containers = [];
    await clock.advance(2 * MINUTE);
    await gc.collect(stop.signal);
    expect(ids()).toEqual(['used']); // its last use was 2 minutes ago
    await clock.advance(9 * MINUTE);
    await gc.collect(stop.signal);
    expect(ids()).toEqual([]);
  });
});

describe('the loop', () => {
  test('a first failure is logged, a second one in a row is told; a success in between forgives', async () => {
    images = [];
    disk = { capacityBytes: 0, availableBytes: 0 };
    const ended = new AbortController();
    const running = start().run(ended.signal);
    const failures = () => events.filter((e) => e.includes('ImageGCFailed'));
    await clock.advance(0);
    expect(failures()).toEqual([]);
    await clock.advance(5 * MINUTE);
    expect(failures()).toEqual(['Warning ImageGCFailed invalid capacity 0 on image filesystem']);
    disk = { capacityBytes: 100, availableBytes: 50 };
    await clock.advance(5 * MINUTE);
    disk = { capacityBytes: 0, availableBytes: 0 };
    await clock.advance(5 * MINUTE);
    expect(failures()).toHaveLength(1);
    ended.abort();
    await running;
    expect(clock.sleeping).toBe(0);
  });

  test('is off with a threshold of 100 and no age', async () => {
    images = [image('a')];
    const ended = new AbortController();
    const running = start({ highPercent: 100 }).run(ended.signal);
    await clock.advance(60 * MINUTE);
    expect(left).toBeUndefined();
    ended.abort();
    await running;
  });
});
