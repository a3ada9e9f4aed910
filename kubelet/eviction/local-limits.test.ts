import { describe, expect, test } from 'vitest';
import type { Pod, PodSpec } from '../../api/pod.ts';
import type { PodStorage } from '../stats/usage.ts';
import { storageOf } from './fake-usage.ts';
import { exceededLimit, hasLocalLimit } from './local-limits.ts';

const MIB = 2 ** 20;

function podOf(spec: Partial<PodSpec>): Pod {
  return { metadata: { name: 'p' }, spec: { containers: [{ name: 'c' }], ...spec } };
}

const limited = (...limits: (string | undefined)[]): Pod =>
  podOf({
    containers: limits.map((limit, i) => ({
      name: `c${i}`,
      ...(limit === undefined ? {} : { resources: { limits: { 'ephemeral-storage': limit } } }),
    })),
  });
const withDir = (sizeLimit?: string): Pod =>
  podOf({ volumes: [{ name: 'v', emptyDir: sizeLimit === undefined ? {} : { sizeLimit } }] });

describe('a pod beyond its own limits of storage', () => {
  test.each<[string, Pod, PodStorage, string | undefined]>([
    [
      'an emptyDir',
      withDir('10Mi'),
      storageOf({ volumes: { v: 10 * MIB + 1 } }),
      'emptydirfs.limit Usage of EmptyDir volume "v" exceeds the limit "10Mi". ',
    ],
    [
      'an emptyDir in memory',
      withDir('10Mi'),
      storageOf({ volumes: { v: 11 * MIB } }, ['v']),
      'emptydirfs.limit Usage of EmptyDir volume "v" exceeds the limit "10Mi". ',
    ],
    ['an emptyDir that is just full', withDir('10Mi'), storageOf({ volumes: { v: 10 * MIB } }), undefined],
    ['an emptyDir with the limit 0', withDir('0'), storageOf({ volumes: { v: MIB } }), undefined],
    ['an emptyDir without a limit', withDir(), storageOf({ volumes: { v: MIB } }), undefined],
    [
      'all containers together, where one has a limit',
      limited('1Mi', undefined),
      storageOf({ rootfs: { c1: MIB }, logs: { c1: 1 } }),
      'ephemeralpodfs.limit Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ',
    ],
    [
      'one container, where together they are within',
      limited('1Mi', '5Mi'),
      storageOf({ rootfs: { c0: MIB }, logs: { c0: 1 } }),
      'ephemeralcontainerfs.limit Container c0 exceeded its local ephemeral storage limit "1Mi". ',
    ],
    ['nobody', limited('1Mi'), storageOf({ rootfs: { c0: MIB } }), undefined],
  ])('%s', (_, pod, storage, wanted) => {
    const found = exceededLimit(pod, storage, false);
    expect(found === undefined ? undefined : `${found.signal} ${found.message}`).toBe(wanted);
  });

  test('a layer on a disk of its own does not count against the container', () => {
    const storage = storageOf({ rootfs: { c0: 2 * MIB } });
    expect(exceededLimit(limited('1Mi', '5Mi'), storage, false)?.signal).toBe('ephemeralcontainerfs.limit');
    expect(exceededLimit(limited('1Mi', '5Mi'), storage, true)).toBeUndefined();
  });

  test('only pods with such limits are measured', () => {
    const ofPod = podOf({ resources: { limits: { 'ephemeral-storage': '1Gi' } } });
    expect([withDir('1Mi'), limited('1Mi'), ofPod].map(hasLocalLimit)).toEqual([true, true, true]);
    expect([withDir(), limited(undefined)].map(hasLocalLimit)).toEqual([false, false]);
  });
});
