import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { swapLimitBytes, swapResizeRefusal } from './swap.ts';

const GiB = 2 ** 30;
const LIMITED = { limited: true, nodeMemoryBytes: 8 * GiB, nodeSwapBytes: 4 * GiB };

function pod(
  request: string | undefined,
  limit?: string,
  more: Partial<NonNullable<Pod['spec']>> = {},
  policy?: string,
): Pod {
  const resources = {
    ...(request === undefined ? {} : { requests: { memory: request } }),
    ...(limit === undefined ? {} : { limits: { memory: limit } }),
  };
  const resizePolicy =
    policy === undefined ? {} : { resizePolicy: [{ resourceName: 'memory', restartPolicy: policy }] };
  return { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', resources, ...resizePolicy }], ...more } } as Pod;
}

test.each<[string, Pod, Partial<typeof LIMITED>, number]>([
  ['its share of the node', pod('2Gi', '3Gi'), {}, GiB],
  ['its share, without a limit', pod('2Gi'), {}, GiB],
  ['rounded down', pod('1'), {}, 0],
  ['NoSwap', pod('2Gi', '3Gi'), { limited: false }, 0],
  ['a node without swap', pod('2Gi', '3Gi'), { nodeSwapBytes: 0 }, 0],
  ['nothing asked for', pod(undefined), {}, 0],
  ['a limit alone is the request too', pod(undefined, '2Gi'), {}, 0],
  ['request and limit the same', pod('2Gi', '2Gi'), {}, 0],
  ['a critical pod', pod('2Gi', '3Gi', { priority: 2_000_001_000 }), {}, 0],
])('%s', (_name, given, settings, bytes) => {
  expect(swapLimitBytes(given, given.spec!.containers[0]!, { ...LIMITED, ...settings })).toBe(bytes);
});

const REFUSAL = 'In-place resize of containers with swap is not supported.';
test.each<[string, Pod, Pod | undefined, typeof LIMITED | undefined, string | undefined]>([
  ['more memory for one that may swap', pod('3Gi'), pod('2Gi'), LIMITED, REFUSAL],
  [
    'that restarts for it',
    pod('3Gi', undefined, {}, 'RestartContainer'),
    pod('2Gi', undefined, {}, 'RestartContainer'),
    LIMITED,
    undefined,
  ],
  ['the same memory', pod('2Gi', '4Gi'), pod('2Gi', '3Gi'), LIMITED, undefined],
  ['NoSwap', pod('3Gi'), pod('2Gi'), { ...LIMITED, limited: false }, undefined],
  ['no swap that can be limited', pod('3Gi'), pod('2Gi'), undefined, undefined],
  ['a pod that was given nothing yet', pod('3Gi'), undefined, LIMITED, undefined],
])('resize: %s', (_name, desired, allocated, settings, refusal) => {
  expect(swapResizeRefusal(desired, allocated, settings)?.message).toBe(refusal);
});
