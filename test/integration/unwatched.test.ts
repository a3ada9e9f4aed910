// A host whose inotify watches are used up (fs.inotify.max_user_watches), which others bring about: plugins are found all
// the same, only later.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemExec } from '../../host/exec.ts';

const MAIN = path.resolve(import.meta.dirname, '../harness/unwatched-main.ts');

test('without a watch left, the sockets of plugins are looked for from time to time', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-unwatched-'));
  try {
    const script = 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$@"';
    const inside = ['sh', '-c', script, 'sh', process.execPath, MAIN, dir];
    const r = await systemExec('unshare', ['--user', '--map-root-user', ...inside], { timeoutMs: 60_000 });
    expect(r).toMatchObject({ code: 0, stdout: 'late.sock\n' });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
