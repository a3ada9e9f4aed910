// NFS volumes through the real mount(8), in a mount namespace of its own. There, a script stands where distributions
// put mount.nfs: it notes how it was called and shows a directory instead of the export of a server. Needs root.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Exec, execOk, systemExec } from '../../host/exec.ts';
import { type Mounter, parseMountInfo, systemMounter } from '../../host/mounts.ts';
import { setUpNfs } from '../../kubelet/volumes/claims/nfs-volume.ts';

/** Arguments: a directory of the test's own. What is mounted here ends with the namespace. */
const PREPARE = `set -e
mount -t tmpfs tmpfs "$1/over"
mkdir "$1/over/upper" "$1/over/work"
cp -p "$1/mount.nfs" "$1/over/upper/"
sbin=$(readlink -f /sbin)
mount -t overlay -o "lowerdir=$sbin,upperdir=$1/over/upper,workdir=$1/over/work" overlay "$sbin"
echo ready
exec cat
`;
const { signal } = new AbortController();

describe.skipIf(process.getuid?.() !== 0)('NFS volumes', () => {
  let dir: string;
  let holder: ChildProcess;
  let mounter: Mounter;
  const inside = (...command: string[]) => [`--mount=/proc/${holder.pid}/ns/mnt`, ...command];

  beforeAll(async () => {
    dir = await realpath(await mkdtemp(path.join(tmpdir(), 'nfs-volume-')));
    for (const name of ['over', 'export']) await mkdir(path.join(dir, name));
    await writeFile(path.join(dir, 'export/file'), 'from the server');
    const helper = `#!/bin/sh\necho "$@" >> ${dir}/called\n[ "$1" = refused:/ ] && echo denied >&2 && exit 32\nexec mount -i --bind ${dir}/export "$2"\n`;
    await writeFile(path.join(dir, 'mount.nfs'), helper);
    await chmod(path.join(dir, 'mount.nfs'), 0o755);
    holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', PREPARE, 'sh', dir], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await Promise.race([
      once(holder.stdout!, 'data'),
      once(holder, 'exit').then(() => Promise.reject(new Error('no namespace with a helper of mount'))),
    ]);
    const exec: Exec = (program, args, opts) => systemExec('nsenter', inside(program, ...args), opts);
    const list = async () => parseMountInfo(await readFile(`/proc/${holder.pid}/mountinfo`, 'utf8'));
    mounter = { ...systemMounter(exec), list };
  });
  afterAll(async () => {
    const ended = once(holder, 'exit');
    holder.stdin!.end();
    await ended;
    await rm(dir, { recursive: true });
  });

  test('an export is mounted with its options, once, and unmounted', async () => {
    const target = path.join(dir, 'pods/u/volumes/kubernetes.io~nfs/v');
    const from = { server: 'fd00::1', path: '/data', readOnly: true, mountOptions: ['vers=4.1'] };
    for (let i = 0; i < 2; i++) expect(await setUpNfs(from, target, mounter, signal)).toBe(target);
    const shown = await execOk(systemExec, 'nsenter', inside('cat', path.join(target, 'file')), { timeoutMs: 30_000 });
    expect(shown).toBe('from the server');
    const calls = (await readFile(path.join(dir, 'called'), 'utf8')).trimEnd().split('\n');
    expect(calls).toHaveLength(1);
    expect(calls[0]).toMatch(/^\[fd00::1\]:\/data \/\S+ .*-o \S*ro,vers=4\.1/);
    await mounter.unmount(target, signal);
    expect((await mounter.list()).filter((m) => m.mountPoint === target)).toEqual([]);
    expect(await readdir(target)).toEqual([]);
  });

  test('what the helper says reaches the user', async () => {
    const from = { server: 'refused', path: '/', readOnly: false, mountOptions: [] };
    await expect(setUpNfs(from, path.join(dir, 'pods/u/v2'), mounter, signal)).rejects.toMatchObject({
      code: 'MOUNT_FAILED',
      message: expect.stringContaining('denied'),
    });
  });
});
