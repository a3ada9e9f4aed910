import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../../core/errors.ts';
import type { Exec } from '../../host/exec.ts';
import { parseSubIds, UserNamespaces, userNamespacePool } from './user-namespaces.ts';

const IDS_PER_POD = 65_536;
const sizes = { idsPerPod: IDS_PER_POD, maxPods: 110 };

describe('id ranges', () => {
  let rootDir: string;
  beforeEach(async () => {
    rootDir = await mkdtemp(path.join(tmpdir(), 'userns-'));
  });
  afterEach(() => rm(rootDir, { recursive: true }));
  const started = (length = 4 * IDS_PER_POD) =>
    new UserNamespaces({ rootDir, pool: { start: IDS_PER_POD, length }, idsPerPod: IDS_PER_POD });

  test('each pod has one of its own, the same for the next agent, recorded as the kubelet does', async () => {
    const ranges = started();
    const both = await Promise.all([ranges.mappingOf('a'), ranges.mappingOf('b'), ranges.mappingOf('a')]);
    expect(both.map((m) => m.hostId)).toEqual([65_536, 131_072, 65_536]);
    expect((await started().mappingOf('b')).hostId).toBe(131_072);
    expect(JSON.parse(await readFile(path.join(rootDir, 'pods/b/userns'), 'utf8'))).toEqual({
      uidMappings: [{ hostId: 131_072, containerId: 0, length: 65_536 }],
      gidMappings: [{ hostId: 131_072, containerId: 0, length: 65_536 }],
    });
  });

  test('a removed pod makes room; a full pool is said to be full', async () => {
    const ranges = started(2 * IDS_PER_POD);
    await ranges.mappingOf('a');
    await ranges.mappingOf('b');
    await expect(ranges.mappingOf('c')).rejects.toThrow('could not find an empty slot to allocate a user namespace');
    await rm(path.join(rootDir, 'pods/a'), { recursive: true });
    expect((await ranges.mappingOf('c')).hostId).toBe(65_536);
  });

  test.each(['', '{}', '{"uidMappings":[{"hostId":-1,"containerId":0,"length":65536}]}', 'null'])(
    'a record that cannot be read (%s) never frees its range',
    async (text) => {
      await mkdir(path.join(rootDir, 'pods/broken'), { recursive: true });
      await writeFile(path.join(rootDir, 'pods/broken/userns'), text);
      await expect(started().mappingOf('a')).rejects.toThrow('wrong user namespace record');
    },
  );
});

describe('the pool', () => {
  const everything = { start: 65_536, length: 2 ** 32 - 65_536 };
  const answering =
    (uids: string, gids = uids): Exec =>
    async (_, args) => ({ code: 0, signal: undefined, stdout: args[0] === '-g' ? gids : uids, stderr: '' });
  const passwd = 'root:x:0:0::/:/bin/sh\nkubelet:x:998:998::/:/bin/false\n';

  test('everything but the first range where the host says nothing', async () => {
    const never: Exec = async () => expect.fail('nothing is to be run');
    expect(await userNamespacePool(never, 'root:x:0:0::/:/bin/sh\n', sizes)).toEqual(everything);
    const missing: Exec = async () => {
      throw new AgentError('cannot run getsubids: no such program on PATH', { code: 'EXEC_NOT_FOUND' });
    };
    expect(await userNamespacePool(missing, passwd, sizes)).toEqual(everything);
  });

  test('what the host gives to kubelet', async () => {
    const given = answering('0: kubelet 131072 7208960\n');
    expect(await userNamespacePool(given, passwd, sizes)).toEqual({ start: 131_072, length: 7_208_960 });
  });

  test.each([
    ['0: kubelet 65536 7208960\n', '0: kubelet 131072 7208960\n', /differ/],
    ['0: kubelet 65536 65536\n1: kubelet 655360 65536\n', undefined, /one range expected/],
    ['0: kubelet 1000 7208960\n', undefined, /no multiples/],
    ['0: kubelet 0 7208960\n', undefined, /no multiples/],
    ['0: kubelet 65536 65536\n', undefined, /do not do for 110 pods/],
  ])('%j is refused', (uids, gids, message) => {
    expect(() => parseSubIds(uids, gids ?? uids, sizes)).toThrow(message);
  });
});
