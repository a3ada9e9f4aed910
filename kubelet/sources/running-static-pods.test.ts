import { expect, test } from 'vitest';
import type { RuntimePod } from '../runtime/pod-runtime-status.ts';
import { RunningStaticPods } from './running-static-pods.ts';

const KUBELETS = 'd7adeb6d3137d04273a4acd9be95a1fd';
const [OURS, EDITED] = ['f663ca4a32e30933308cfc1aa372058d', '46e5b7fd3f07cffc00fad072b53ce138'];
const CREATED_AT_MS = 1_000_000;
const [EARLIER, LATER] = [CREATED_AT_MS - 60_000, CREATED_AT_MS + 1];

function running(uid: string, change: Partial<RuntimePod> = {}): RuntimePod {
  const sandboxes = [{ id: uid, ready: true, createdAtMs: CREATED_AT_MS }];
  return { uid, name: 'etcd-node-1', namespace: 'kube-system', sandboxes, containers: [], ...change };
}
const uidOf = (pods: readonly RuntimePod[], changedAtMs = EARLIER) =>
  new RunningStaticPods(pods).uidOf('etcd-node-1_kube-system', OURS, changedAtMs);

test('a static pod of a kubelet goes on under its uid, for as long as its manifest says the same', () => {
  const pods = new RunningStaticPods([running(KUBELETS)]);
  expect(pods.uidOf('etcd-node-1_kube-system', OURS, EARLIER)).toBe(KUBELETS);
  expect(pods.uidOf('etcd-node-1_kube-system', OURS, LATER)).toBe(KUBELETS); // touched, not changed
  expect(pods.uidOf('etcd-node-1_kube-system', EDITED, LATER)).toBe(EDITED);
});

test.each([
  ['whose manifest was changed while nobody looked', [running(KUBELETS)], LATER],
  ['that has ended', [running(KUBELETS, { sandboxes: [{ id: 's', ready: false, createdAtMs: CREATED_AT_MS }] })]],
  ['of another name', [running(KUBELETS, { name: 'etcd-node-2' })]],
  ['of the API', [running('855fc7a9-85e5-43cc-848d-1942f26752b0')]],
  ['that runs beside our own', [running(KUBELETS), running(OURS)]],
  ['that runs twice', [running(KUBELETS), running(EDITED)]],
])('a pod %s is not taken for it', (_, pods, changedAtMs = EARLIER) => {
  expect(uidOf(pods, changedAtMs)).toBe(OURS);
});

test('what counts is when the newest sandbox of a pod was made', () => {
  const made = (createdAtMs: number) => ({ id: `s${createdAtMs}`, ready: true, createdAtMs });
  const pod = running(KUBELETS, { sandboxes: [made(CREATED_AT_MS), made(LATER + 1)] });
  expect(uidOf([pod], LATER)).toBe(KUBELETS);
});
