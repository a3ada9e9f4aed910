import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { MountPoint } from '../../host/mounts.ts';
import { PayloadMounts } from './payload-mounts.ts';
import { VolumePaths } from './volume-paths.ts';

let root: string;
let mounts: PayloadMounts;
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'payload-mounts-'));
  mounts = new PayloadMounts(new VolumePaths(root));
});
afterEach(() => rm(root, { recursive: true }));

const OURS = '0:40';
const at = (mountPoint: string, device = '0:41') => ({ mountPoint: path.join(root, mountPoint), device }) as MountPoint;
const volume = (pod: string, plugin: string, name = 'v') => `pods/${pod}/volumes/kubernetes.io~${plugin}/${name}`;

test.each([
  ['secret', volume('u', 'secret'), '0:41', true],
  ['projected', volume('u', 'projected'), '0:41', true],
  ['downward API', volume('u', 'downward-api'), '0:41', true],
  ['emptyDir, whose content is its pod’s', volume('u', 'empty-dir'), '0:41', false],
  ['mount within a volume', `${volume('u', 'secret')}/below`, '0:41', false],
  ['sub-path', 'pods/u/volume-subpaths/kubernetes.io~secret/v', '0:41', false],
  ['volume that we have handed over ourselves', volume('u', 'secret'), OURS, false],
])('whether a %s is one that a kubelet mounted', (_what, dir, device, expected) => {
  mounts.adopt([at('volatile', OURS), at(dir, device)]);
  expect(mounts.isAdopted(path.join(root, dir))).toBe(expected);
});

test('what a pod had is forgotten with it, and nothing else', () => {
  const [mine, others] = [volume('u', 'secret'), volume('u2', 'secret')];
  mounts.adopt([at(mine), at(others)]);
  mounts.forgetPod('u');
  expect([mine, others].map((dir) => mounts.isAdopted(path.join(root, dir)))).toEqual([false, true]);
});

test('what lies in our memory is shown where a kubelet looks for it, once, and nothing besides', async () => {
  const bound: (readonly [string, string])[] = [];
  const mounter = {
    list: async () => bound.map(([, target]) => ({ mountPoint: target }) as MountPoint),
    bindAll: async (binds: readonly (readonly [string, string])[]) => void bound.push(...binds),
  };
  const ours = path.join(root, 'volatile/u/kubernetes.io~secret/v');
  const onDisk = path.join(root, volume('u', 'configmap'));
  for (let i = 0; i < 2; i++) await mounts.handOver([ours, onDisk, '/srv'], mounter);
  const target = path.join(root, volume('u', 'secret'));
  expect(bound).toEqual([[ours, target]]);
  expect((await stat(target)).isDirectory()).toBe(true);
});
