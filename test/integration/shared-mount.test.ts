// A directory that becomes a shared mount, in a mount namespace of its own. Needs root.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Exec, execOk, systemExec } from '../../host/exec.ts';
import { parseMountInfo } from '../../host/mounts.ts';
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
