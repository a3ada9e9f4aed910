import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { silentLog } from '../../../core/log.ts';
import { CsiRecords } from './csi-records.ts';

test('a disk that cannot be read at first is read again', async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'csi-records-'));
  try {
    const pods = path.join(root, 'pods');
    await symlink(pods, pods); // ELOOP stands for what passes, as EMFILE
    const records = new CsiRecords(root, silentLog);
    await expect(records.load()).rejects.toMatchObject({ code: 'ELOOP' });
    await rm(pods);
    await records.load();
    expect(records.volumeNames()).toEqual([]);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});
