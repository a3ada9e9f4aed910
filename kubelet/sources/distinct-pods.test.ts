import { beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { DistinctPods } from './distinct-pods.ts';

const pod = (name: string, uid: string): Pod => ({ metadata: { name, namespace: 'default', uid } });
const namesOf = (pods: readonly Pod[]) => pods.map((p) => p.metadata?.name);

let distinct: DistinctPods;
beforeEach(() => {
  distinct = new DistinctPods();
});

test('of several pods with one name the first one counts', () => {
  const { kept, refused } = distinct.pick('file', [pod('a', '1'), pod('b', '2'), pod('a', '3')]);
  expect(namesOf(kept)).toEqual(['a', 'b']);
  const why = 'Error validating pod a_default(3) from file due to duplicate pod name "a", ignoring';
  expect(refused).toEqual([{ pod: pod('a', '3'), why, isKnown: false }]);
});

test('of several pods with one uid the first one counts, and the others are told whose it is', () => {
  const { kept, refused } = distinct.pick('file', [pod('a', '1'), pod('b', '1')]);
  expect(namesOf(kept)).toEqual(['a']);
  const why =
    'Error validating pod b_default(1) from file due to duplicate pod uid "1", which is that of a_default, ignoring';
  expect(refused).toMatchObject([{ why }]);
});

test('a uid counts over all sources, a name within one; the uid is free again when its pod went', () => {
  distinct.pick('file', [pod('a', '1')]);
  expect(distinct.pick('http', [pod('b', '1'), pod('a', '2')])).toMatchObject({
    kept: [pod('a', '2')],
    refused: [{ pod: pod('b', '1') }],
  });
  expect(distinct.pick('file', [pod('a', '1')]).refused).toEqual([]);
  distinct.pick('file', []);
  expect(namesOf(distinct.pick('http', [pod('b', '1'), pod('a', '2')]).kept)).toEqual(['b', 'a']);
});

test('the same refusal is new once', () => {
  const isKnown = (...pods: Pod[]) => distinct.pick('file', pods).refused.map((r) => r.isKnown);
  expect(isKnown(pod('a', '1'), pod('b', '1'))).toEqual([false]);
  expect(isKnown(pod('a', '1'), pod('b', '1'), pod('c', '1'))).toEqual([true, false]);
  expect(isKnown(pod('a', '1'))).toEqual([]);
  expect(isKnown(pod('a', '1'), pod('b', '1'))).toEqual([false]);
});
