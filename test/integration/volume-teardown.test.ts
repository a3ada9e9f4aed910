// Taking volumes away while others mount into them or the agent is killed, with real mounts. Needs root.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Secret } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { secrets } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { systemExec } from '../../host/exec.ts';
import { type Mounter, mountsUnder, systemMounter } from '../../host/mounts.ts';
import { LocalVolumes } from '../../kubelet/volumes/local-volumes.ts';
import { ObjectCache } from '../../kubelet/volumes/object-cache.ts';
import { TokenManager } from '../../kubelet/volumes/token-manager.ts';

const UID = '11111111-2222-3333-4444-666666666666';
const POD: Pod = {
  metadata: { namespace: 'default', name: 'p', uid: UID },
  spec: {
    volumes: [
      { name: 'disk', emptyDir: {} },
      { name: 'ram', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
      { name: 's', secret: { secretName: 's' } },
    ],
    containers: [
      { name: 'c', volumeMounts: ['disk', 'ram', 's'].map((name) => ({ name, mountPath: `/mnt/${name}` })) },
    ],
  },
};

const real = systemMounter(systemExec);
const signal = AbortSignal.timeout(300_000);
const CHILD = path.join(import.meta.dirname, '../harness/teardown-main.ts');

let root = '';
let outside = '';
let disposables = new DisposableStack();

async function startVolumes(mounter: Mounter = real): Promise<LocalVolumes> {
  const api = new FakeApi();
  const secret: Secret = { metadata: { namespace: 'default', name: 's' }, data: { pw: 'c2VjcmV0' } };
  await api.create(secrets, { namespace: 'default' }, secret);
  const deps = { client: api, clock: systemClock, log: silentLog };
  const objects = disposables.use(new ObjectCache(deps));
  const tokens = disposables.use(new TokenManager({ ...deps, onRefreshDue: () => {} }));
  const fieldFacts = () => ({ podIps: [], hostIps: [], nodeAllocatable: {} });
  const events = { event: () => {} };
  const options = { rootDir: root, nodeMemoryBytes: 1 << 30 };
  return disposables.use(new LocalVolumes(options, { ...deps, objects, tokens, mounter, fieldFacts, events }));
}

/** Mounts the pod's volumes and puts into one what a container may leave there: files, directories, links out of it. */
async function fill(volumes: LocalVolumes): Promise<string> {
  const disk = (await volumes.mountPod(POD, signal)).get('disk')!.hostPath;
  await mkdir(path.join(disk, 'a/b'), { recursive: true });
  for (const name of ['one', 'two', 'a/three', 'a/b/four']) await writeFile(path.join(disk, name), '');
  await symlink(outside, path.join(disk, 'a/link'));
  return disk;
}

async function expectNothingLeft(volumes: LocalVolumes): Promise<void> {
  expect(await volumes.listPodDirs()).toEqual([]);
  const mounts = mountsUnder(await real.list(), root).map((m) => m.mountPoint);
  expect(mounts.filter((m) => m !== path.join(root, 'volatile'))).toEqual([]);
}

const expectOutsideKept = async () => {
  expect(await readdir(outside)).toEqual(['precious']);
  expect(await readFile(path.join(outside, 'precious'), 'utf8')).toBe('x');
};

describe.skipIf(process.getuid?.() !== 0)('volumes that are taken away', () => {
  beforeEach(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'teardown-'));
    outside = path.join(root, 'outside');
    await mkdir(outside);
    await writeFile(path.join(outside, 'precious'), 'x');
    disposables = new DisposableStack();
  });

  afterEach(async () => {
    disposables.dispose();
    for (const mount of mountsUnder(await real.list(), root)) await real.unmount(mount.mountPoint);
    expect(mountsUnder(await real.list(), root)).toEqual([]);
    await rm(root, { recursive: true });
  });

  test('a mount that comes in between is not emptied, at whatever step it comes', async () => {
    const codes: unknown[] = [];
    // The table is looked at before sub-paths are taken away, before the rest, and after the rest was unmounted.
    for (let atLook = 1; atLook <= 3; atLook++) {
      let looks = 0;
      let target = '';
      // A bind mount of the same file system: device numbers do not tell it from the volume.
      const list = async () => {
        const mounts = await real.list();
        looks += 1;
        if (target !== '' && looks === atLook) await real.bind(outside, target);
        return mounts;
      };
      const volumes = await startVolumes({ ...real, list });
      target = path.join(await fill(volumes), 'a/b');
      looks = 0;
      const outcome = await volumes.removePodDir(UID, signal).catch((err: unknown) => err);
      expect(looks).toBeGreaterThanOrEqual(atLook);
      codes.push((outcome as { code?: string } | undefined)?.code);
      await expectOutsideKept();
      await volumes.removePodDir(UID, signal);
      await expectNothingLeft(volumes);
      await expectOutsideKept();
    }
    expect(codes).toContain('REMOVE_REFUSED');
  });

  test('a file that is a mount point, and a volume that is one itself, are refused', async () => {
    let hidden = '';
    const list = async () => (await real.list()).filter((m) => m.mountPoint !== hidden); // mounted after the look
    const volumes = await startVolumes({ ...real, list });
    const disk = path.join(root, 'pods', UID, 'volumes/kubernetes.io~empty-dir/disk');
    for (const [source, target] of [
      [path.join(outside, 'precious'), path.join(disk, 'one')],
      [outside, disk],
    ] as const) {
      await fill(volumes);
      await real.bind(source, target);
      hidden = target;
      const refused = { code: 'REMOVE_REFUSED', message: expect.stringContaining(target) };
      await expect(volumes.unmountPod(UID, signal)).rejects.toMatchObject(refused);
      await expectOutsideKept();
      hidden = '';
      await volumes.removePodDir(UID, signal);
      await expectNothingLeft(volumes);
      await expectOutsideKept();
    }
  });

  test('an agent that is killed at any step leaves what the next one takes away', async () => {
    const signals: unknown[] = [];
    for (const step of [1, 2, 4, 6, 7, 9, 13, 18, 24, 1000]) {
      const volumes = await startVolumes();
      const disk = await fill(volumes);
      await mkdir(path.join(disk, 'mounted'));
      await real.bind(outside, path.join(disk, 'mounted'));
      const child = spawn(process.execPath, [CHILD, root, UID, String(step)], { stdio: 'inherit' });
      const [code, killedBy] = await once(child, 'exit');
      signals.push(killedBy ?? code);
      await expectOutsideKept();
      await volumes.removePodDir(UID, signal);
      await expectNothingLeft(volumes);
      await expectOutsideKept();
    }
    expect(signals).toEqual([...Array(9).fill('SIGKILL'), 0]);
  });
});
