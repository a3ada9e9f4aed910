// A directory that becomes a shared mount, in a mount namespace of its own. Needs root.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { prepareRootDir, releaseRootDir } from '../../cmd/agent/root-dir.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { type Exec, execOk, systemExec } from '../../host/exec.ts';
import { mountsUnder, parseMountInfo, systemMounter } from '../../host/mounts.ts';
import { mountHolding, shareMount, unshareMount } from '../../host/shared-mount.ts';

describe.skipIf(process.getuid?.() !== 0)('a shared mount', () => {
  let dir: string;
  let holder: ChildProcess;
  let exec: Exec;
  const inside = (program: string, ...args: string[]) => execOk(exec, program, args, { timeoutMs: 30_000 });
  const list = async () => parseMountInfo(await readFile(`/proc/${holder.pid}/mountinfo`, 'utf8'));
  const mountsAt = async (at: string) => (await list()).filter((m) => m.mountPoint === at);

  beforeEach(async () => {
    dir = await realpath(await mkdtemp(path.join(tmpdir(), 'shared-mount-')));
    for (const name of ['volume', 'later']) await mkdir(path.join(dir, name));
    const args = ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; exec cat'];
    holder = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(holder.stdout!, 'data');
    exec = (program, args, opts) =>
      systemExec('nsenter', [`--mount=/proc/${holder.pid}/ns/mnt`, program, ...args], opts);
  });
  afterEach(async () => {
    const ended = once(holder, 'exit');
    holder.stdin!.end(); // the kernel unmounts what was mounted inside
    await ended;
    await rm(dir, { recursive: true });
  });

  test('shows what is mounted below to others, keeps what was there, and goes again', async () => {
    await inside('mount', '-t', 'tmpfs', 'tmpfs', path.join(dir, 'volume'));
    expect(mountHolding(await list(), dir)?.isShared).toBe(false);
    expect(await shareMount(dir, { exec, list })).toBe(true);
    expect(await shareMount(dir, { exec, list })).toBe(false);
    expect(await mountsAt(dir)).toMatchObject([{ isShared: true }]);
    expect(mountHolding(await list(), path.join(dir, 'volume'))).toMatchObject({ fsType: 'tmpfs', isShared: true });
    await inside('mount', '-t', 'tmpfs', 'tmpfs', path.join(dir, 'later'));
    expect((await mountsAt(path.join(dir, 'later'))).map((m) => m.isShared)).toEqual([true]);

    await expect(unshareMount(dir, { exec, list })).rejects.toThrow(/busy/);
    for (const name of ['later', 'volume']) await inside('umount', path.join(dir, name));
    expect(await unshareMount(dir, { exec, list })).toBe(true);
    expect(await unshareMount(dir, { exec, list })).toBe(false);
    expect(await mountsAt(dir)).toEqual([]);
  });

  test('is made by another agent when one was killed between binding and sharing', async () => {
    await inside('mount', '--bind', dir, dir);
    expect(await shareMount(dir, { exec, list })).toBe(true);
    expect(await mountsAt(dir)).toMatchObject([{ isShared: true }]);
  });
});

test.skipIf(process.getuid?.() !== 0)(
  'the root directory is shared while an agent uses it, and has no mounts of ours after that',
  async () => {
    const dir = await realpath(await mkdtemp(path.join(tmpdir(), 'root-dir-')));
    const host = { exec: systemExec, log: silentLog, clock: systemClock };
    const { list, mountTmpfs, unmount } = systemMounter(systemExec);
    const below = async () => mountsUnder(await list(), dir).map((m) => m.mountPoint);
    try {
      const wanted = path.join(dir, 'kubelet');
      const dirs = {
        rootDir: wanted,
        podLogsDir: path.join(dir, 'pods'),
        containerLogsDir: path.join(dir, 'containers'),
      };
      const rootDir = await prepareRootDir(host, dirs);
      expect(mountHolding(await list(), rootDir)?.isShared).toBe(true);
      const ours = await below(); // none where the host shares its mounts
      const volatile = path.join(rootDir, 'volatile');
      await mkdir(path.join(volatile));
      await mountTmpfs(volatile, ['mode=0700']);
      await mkdir(path.join(volatile, 'uid'));
      await releaseRootDir(host, wanted);
      expect(await below()).toEqual([volatile, ...ours]); // a pod has something there
      await rm(path.join(volatile, 'uid'), { recursive: true });
      await releaseRootDir(host, wanted);
      expect(await below()).toEqual([]);
      await releaseRootDir(host, path.join(dir, 'never-used'));
    } finally {
      for (const mountPoint of await below()) await unmount(mountPoint);
      await rm(dir, { recursive: true });
    }
  },
);
