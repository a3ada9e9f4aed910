import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../core/log.ts';
import { temporaryOf } from '../../../host/files.ts';
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

describe('what an agent that was killed left', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'csi-records-'));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  const use = { podUid: 'u', specName: 'pv', driver: 'd', handle: 'h', isBlock: false };
  const data = { driverName: 'd', volumeHandle: 'h' };
  async function loaded(): Promise<CsiRecords> {
    const records = new CsiRecords(root, silentLog);
    await records.load();
    return records;
  }

  test('while it wrote of a volume keeps the pod from nothing', async () => {
    const records = await loaded();
    await records.addUse(use, data);
    await records.addStaged({ ...use, blockSpecName: undefined });
    const dirs = [records.paths.podVolumeDir('u', 'pv'), records.paths.stagingDir('d', 'h')];
    for (const dir of dirs) await writeFile(temporaryOf(path.join(dir, 'vol_data.json')), '{"dri');
    await records.removeUse(use);
    await records.removeStaged({ ...use, blockSpecName: undefined });
    for (const dir of dirs) await expect(readdir(dir)).rejects.toThrow('ENOENT');
  });

  test('before it wrote that a volume is staged, or after it wrote that it is no more, is removed', async () => {
    const { paths } = new CsiRecords(root, silentLog);
    await mkdir(paths.stagingTarget('d', 'before'), { recursive: true });
    await mkdir(paths.stagingDir('d', 'after'), { recursive: true });
    await mkdir(paths.stagingTarget('d', 'unreadable'), { recursive: true });
    await writeFile(path.join(paths.stagingDir('d', 'unreadable'), 'vol_data.json'), '{');
    await mkdir(paths.blockDataDir('block'), { recursive: true });
    await writeFile(path.join(paths.blockDataDir('block'), 'vol_data.json'), JSON.stringify(data));
    await loaded();
    expect(await readdir(path.join(paths.csiDir, 'd'))).toEqual([path.basename(paths.stagingDir('d', 'unreadable'))]);
    expect(await readdir(paths.stagingDir('d', 'unreadable'))).toContain('globalmount');
    expect(await readdir(path.join(paths.csiDir, 'volumeDevices'))).toEqual([]);
  });

  test('of a block volume that is used or staged stays', async () => {
    const records = await loaded();
    await records.addUse({ ...use, isBlock: true }, data);
    await records.addUse(
      { ...use, specName: 'staged', handle: 'staged', isBlock: true },
      { ...data, volumeHandle: 'staged' },
    );
    await records.addStaged({ driver: 'd', handle: 'staged', blockSpecName: 'staged' });
    await rm(records.paths.podDeviceLink('u', 'staged'));
    expect((await loaded()).volumeNames()).toEqual(records.volumeNames());
    expect(await readdir(path.join(records.paths.csiDir, 'volumeDevices'))).toEqual(['pv', 'staged', 'staging']);
  });
});
