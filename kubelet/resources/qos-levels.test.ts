import { beforeEach, describe, expect, test } from 'vitest';
import type { CgroupLimits } from '../../host/cgroup.ts';
import { type PodShare, QosLevels, type QosReserved, qosMemoryLimits } from './qos-levels.ts';

const GIB = 2 ** 30;
const BURSTABLE = 'kubepods/burstable';
const BEST_EFFORT = 'kubepods/besteffort';

describe('what the classes may have of the memory', () => {
  const all = (percent: number): QosReserved => ({ percent, allocatableBytes: 10 * GIB });
  test.each<[string, QosReserved, number, number, [number, number] | undefined]>([
    ['nothing is asked for', all(100), 0, 0, [10 * GIB, 10 * GIB]],
    ['all that is asked for is kept', all(100), 4 * GIB, 3 * GIB, [6 * GIB, 3 * GIB]],
    ['half of it is kept', all(50), 4 * GIB, 3 * GIB, [8 * GIB, 6.5 * GIB]],
    ['none of it is kept', all(0), 4 * GIB, 3 * GIB, [10 * GIB, 10 * GIB]],
    ['parts of bytes are not kept', { percent: 50, allocatableBytes: 10 }, 3, 3, [9, 8]],
    ['more is asked for than there is', all(100), 8 * GIB, 8 * GIB, [2 * GIB, 0]],
    ['it is not known how much there is', { percent: 100, allocatableBytes: 0 }, 1, 1, undefined],
  ])('%s', (_, reserved, guaranteed, burstable, limits) => {
    const found = qosMemoryLimits(reserved, guaranteed, burstable);
    expect(found && [found.burstableBytes, found.bestEffortBytes]).toEqual(limits);
  });
});

describe('the groups of the classes', () => {
  const written: [string, CgroupLimits][] = [];
  let usageBytes = 0;
  let fault: Error | undefined;
  beforeEach(() => {
    written.length = 0;
    usageBytes = 0;
    fault = undefined;
  });

  const levels = (reserved?: QosReserved) =>
    new QosLevels({
      reservesMemory: false,
      ...(reserved === undefined ? {} : { reserved }),
      // A kernel with cgroup v1: limits below what is used are refused.
      write: async (level, limits) => {
        if (fault !== undefined) throw fault;
        if ((limits.memoryBytes ?? usageBytes) < usageBytes) throw new Error('EBUSY');
        written.push([level.join('/'), limits]);
      },
      usage: async () => usageBytes,
    });
  const share = (qos: PodShare['qos'], memoryGib: number): PodShare => ({
    qos,
    cpuMillis: 500,
    memoryBytes: memoryGib * GIB,
  });
  const RESERVED: QosReserved = { percent: 100, allocatableBytes: 10 * GIB };

  test('pods of a class are kept from the memory that those above them ask for', async () => {
    const of = levels(RESERVED);
    await of.set('g', share('Guaranteed', 4));
    await of.set('b', share('Burstable', 1));
    expect(written).toEqual([
      [BURSTABLE, { cpuShares: 2, memoryBytes: 6 * GIB }],
      [BEST_EFFORT, { memoryBytes: 6 * GIB }],
      [BURSTABLE, { cpuShares: 512, memoryBytes: 6 * GIB }],
      [BEST_EFFORT, { memoryBytes: 5 * GIB }],
    ]);
    await of.set('g');
    expect(written.slice(-2)).toEqual([
      [BURSTABLE, { cpuShares: 512, memoryBytes: 10 * GIB }],
      [BEST_EFFORT, { memoryBytes: 9 * GIB }],
    ]);
  });

  test('a class that uses more than it may is kept to what it uses, until it uses less', async () => {
    const of = levels(RESERVED);
    usageBytes = 8 * GIB;
    await of.set('g', share('Guaranteed', 4));
    expect(written).toEqual([
      [BURSTABLE, { cpuShares: 2, memoryBytes: 8 * GIB }],
      [BEST_EFFORT, { memoryBytes: 8 * GIB }],
    ]);
    usageBytes = GIB;
    await of.refresh();
    expect(written.slice(2)).toEqual([
      [BURSTABLE, { cpuShares: 2, memoryBytes: 6 * GIB }],
      [BEST_EFFORT, { memoryBytes: 6 * GIB }],
    ]);
  });

  test('what others have done to the groups is taken back at the next refresh', async () => {
    const of = levels();
    await of.refresh(); // pods have not been seen yet: what a former agent has given their class stays
    expect(written).toEqual([]);
    await of.set('b', share('Burstable', 1));
    await of.refresh();
    expect(written).toEqual([
      [BURSTABLE, { cpuShares: 512 }],
      [BURSTABLE, { cpuShares: 512 }],
    ]);
  });

  test('what could not be written is told, and written at the next refresh', async () => {
    const of = levels(RESERVED);
    fault = new Error('EIO');
    await expect(of.set('b', share('Burstable', 1))).rejects.toThrow('EIO');
    fault = undefined;
    await of.refresh();
    expect(written[0]).toEqual([BURSTABLE, { cpuShares: 512, memoryBytes: 10 * GIB }]);
  });
});
