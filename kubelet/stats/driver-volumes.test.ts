import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { pollDriverVolumes } from './driver-volumes.ts';

const pod = (uid: string): Pod => ({ metadata: { uid }, spec: { containers: [] } });
const at = (hostPath: string): MountedVolume => ({ name: 'v', hostPath, readOnly: false, selinuxRelabel: false });
const VOLUMES = new Map([
  ['csi', new Map([['v', at('/k/pods/csi/volumes/kubernetes.io~csi/pv/mount')]])],
  ['local', new Map([['v', at('/k/pods/local/volumes/kubernetes.io~local-volume/pv')]])],
]);

async function polling(periodMs: number) {
  const clock = new FakeClock();
  const measured: string[][] = [];
  const stop = new AbortController();
  const deps = {
    periodMs,
    pods: () => ['csi', 'local', 'young'].map(pod),
    volumesOf: (uid: string) => VOLUMES.get(uid),
    measure: async (pods: readonly Pod[]) => void measured.push(pods.map((p) => p.metadata?.uid ?? '')),
  };
  const ended = pollDriverVolumes(deps, clock, stop.signal);
  const end = async () => {
    stop.abort();
    await ended;
  };
  return { clock, measured, end };
}

test('pods with volumes of CSI drivers are measured in every period', async () => {
  const { clock, measured, end } = await polling(60_000);
  await clock.advance(59_999);
  expect(measured).toEqual([]);
  await clock.advance(1);
  expect(measured).toEqual([['csi']]);
  await clock.advance(60_000);
  expect(measured).toEqual([['csi'], ['csi']]);
  await end();
  expect(clock.sleeping).toBe(0);
});

test.each([-1, 0])('a period of %d asks nobody', async (periodMs) => {
  const { clock, measured, end } = await polling(periodMs);
  await clock.advance(600_000);
  expect(measured).toEqual([]);
  await end();
});
