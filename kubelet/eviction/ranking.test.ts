import { describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { storageOf } from './fake-usage.ts';
import { type PodUse, rankForEviction } from './ranking.ts';
import type { Signal } from './signals.ts';

interface Sample {
  readonly use?: PodUse;
  readonly requests?: Readonly<Record<string, string>>;
  readonly priority?: number;
}

function ranked(signal: Signal, samples: Readonly<Record<string, Sample>>, hasImageFs = false): string {
  const pods = Object.entries(samples).map(
    ([name, { requests, priority }]): Pod => ({
      metadata: { name, uid: name },
      spec: {
        containers: [{ name: 'c', ...(requests === undefined ? {} : { resources: { requests } }) }],
        ...(priority === undefined ? {} : { priority }),
      },
    }),
  );
  const uses = Object.entries(samples).flatMap(([name, { use }]) => (use === undefined ? [] : [[name, use] as const]));
  const order = rankForEviction(pods, new Map(uses), signal, hasImageFs);
  return order.map((p) => p.metadata?.name).join(' ');
}

const memory = (workingSetBytes: number, more: Omit<Sample, 'use'> = {}): Sample => ({
  use: { workingSetBytes },
  ...more,
});
const asking = (bytes: string, priority = 0) => ({ requests: { memory: bytes }, priority });

describe('who is evicted first', () => {
  test.each<[string, Record<string, Sample>, string]>([
    [
      'who uses more than asked for, before who uses more',
      { within: memory(900, asking('1000')), over: memory(200, asking('100')) },
      'over within',
    ],
    [
      'of those the less important',
      { high: memory(900, asking('100', 10)), low: memory(200, asking('100')) },
      'low high',
    ],
    ['then who is furthest beyond', { a: memory(500, asking('300')), b: memory(400, asking('100')) }, 'b a'],
    ['who asked for nothing is over with anything', { be: memory(1), g: memory(1000, asking('1000')) }, 'be g'],
    [
      'within the request, too, the nearest to it',
      { far: memory(1, asking('99')), near: memory(98, asking('99')) },
      'near far',
    ],
    ['who cannot be measured', { known: memory(1000), unknown: {} }, 'unknown known'],
  ])('memory: %s', (_, samples, order) => {
    expect(ranked('memory.available', samples)).toBe(order);
    expect(ranked('allocatableMemory.available', samples)).toBe(order);
  });

  test('processes: the less important, then who has more of them', () => {
    const use = (processes: number, priority: number): Sample => ({ use: { processes }, priority });
    expect(ranked('pid.available', { many: use(50, 1), few: use(5, 0), more: use(9, 0) })).toBe('more few many');
  });

  const disk = {
    layer: { use: { storage: storageOf({ rootfs: { c: 300 }, logs: { c: 1 } }) } },
    logs: { use: { storage: storageOf({ rootfs: { c: 1 }, logs: { c: 200 } }) } },
    volumes: { use: { storage: storageOf({ volumes: { v: 250, mem: 900 } }, ['mem']) } },
  };

  test.each<[Signal, boolean, string]>([
    ['nodefs.available', false, 'layer volumes logs'],
    ['imagefs.available', false, 'layer volumes logs'],
    ['nodefs.available', true, 'volumes logs layer'],
    ['imagefs.available', true, 'layer logs volumes'],
    ['containerfs.inodesFree', true, 'layer logs volumes'],
    ['nodefs.inodesFree', false, 'layer volumes logs'],
  ])('%s with images apart: %s counts what lies there', (signal, hasImageFs, order) => {
    expect(ranked(signal, disk, hasImageFs)).toBe(order);
  });

  test('short of inodes who has many files goes first, short of bytes who has large ones', () => {
    const logs = (usedBytes: number, inodesUsed: number): Sample => ({
      use: { storage: { ...storageOf({}), logs: new Map([['c', { usedBytes, inodesUsed }]]) } },
    });
    const samples = { large: logs(900, 1), many: logs(5, 50) };
    expect(ranked('nodefs.inodesFree', samples)).toBe('many large');
    expect(ranked('nodefs.available', samples)).toBe('large many');
  });

  test('disk: a request for ephemeral storage protects, one for inodes cannot be made', () => {
    const use = { storage: storageOf({ logs: { c: 500 } }) };
    const samples = { asked: { use, requests: { 'ephemeral-storage': '1000' } }, not: { use } };
    expect(ranked('nodefs.available', samples)).toBe('not asked');
    expect(ranked('nodefs.inodesFree', samples)).toBe('asked not');
  });

  test('a container and a volume in memory of one name are not mixed up', () => {
    const twins = { use: { storage: storageOf({ rootfs: { x: 100 }, volumes: { x: 900 } }, ['x']) } };
    expect(ranked('nodefs.available', { twins, other: { use: { storage: storageOf({ logs: { c: 50 } }) } } })).toBe(
      'twins other',
    );
  });
});
