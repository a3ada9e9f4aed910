import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseEnvFile, readEnvFile } from './env-file.ts';

describe('syntax', () => {
  test.each<[string, string, string | undefined]>([
    ["A='1'\n", 'A', '1'],
    ["A='1'", 'A', '1'],
    ["\n  # a comment\n\tA='1'  # another\nB='2'\r\n", 'B', '2'],
    ["A='two\nlines'\nB='x'", 'A', 'two\nlines'],
    ["A='$(B) \\n \"'\n", 'A', '$(B) \\n "'],
    ["A='1'\nA='2'\n", 'A', '1'],
    ["A=''\n", 'A', ''],
    ["A='1'\n", 'B', undefined],
    ['', 'A', undefined],
  ])('%j has %s as %j', (text, key, want) => {
    expect(parseEnvFile(text, key)).toBe(want);
  });

  test.each(['A=1', 'A="1"', "A = '1'", "A='1", "A='1' x", "A='1'B='2'", "export A='1'", "='1'", 'A'])(
    '%j is refused',
    (text) => {
      expect(() => parseEnvFile(`OK='0'\n${text}\n`, 'Z')).toThrow(/^invalid environment variable format at line 2$/);
    },
  );
});

describe('reading', () => {
  let dir: string;
  const read = (file: string) =>
    readEnvFile({ name: 'v', hostPath: path.join(dir, 'volume'), readOnly: false, selinuxRelabel: false }, file);
  beforeEach(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'env-file-'));
    await mkdir(path.join(dir, 'volume/sub'), { recursive: true });
    await writeFile(path.join(dir, 'volume/sub/env'), "A='1'");
    await writeFile(path.join(dir, 'secret'), "A='secret'");
  });
  afterEach(() => rm(dir, { recursive: true }));

  test('a file of the volume, or none', async () => {
    expect(await read('sub/env')).toBe("A='1'");
    expect(await read('sub/none')).toBeUndefined();
    expect(await read('none/env')).toBeUndefined();
  });

  test.each([
    ['a link out of the volume', () => symlink('../secret', path.join(dir, 'volume/env'))],
    ['an absolute link', () => symlink(path.join(dir, 'secret'), path.join(dir, 'volume/env'))],
    ['a FIFO, which would block', () => promisify(execFile)('mkfifo', [path.join(dir, 'volume/env')])],
    ['a directory', () => mkdir(path.join(dir, 'volume/env'))],
    ['a file without end', () => writeFile(path.join(dir, 'volume/env'), 'x'.repeat(70_000))],
  ])('%s is refused', async (_, make) => {
    await make();
    await expect(read('env')).rejects.toThrow();
  });

  test('no way up', async () => {
    await expect(read('../secret')).rejects.toThrow('leads out of the volume');
  });
});
