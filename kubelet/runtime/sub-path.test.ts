import { chmod, mkdir, mkdtemp, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { openBelow, prepareSubPath } from './sub-path.ts';

let dir: string;
let volume: string;
beforeEach(async () => {
  dir = await realpath(await mkdtemp(path.join(tmpdir(), 'sub-path-')));
  volume = path.join(dir, 'volume');
  await mkdir(path.join(volume, 'a/b'), { recursive: true });
  await writeFile(path.join(volume, 'a/file'), 'inside');
  await writeFile(path.join(dir, 'secret'), 'outside');
});
afterEach(() => rm(dir, { recursive: true }));

/** The file that was opened, by its own path. */
async function opened(subPath: string): Promise<string> {
  await using handle = await openBelow(volume, subPath);
  return path.relative(volume, await realpath(`/proc/self/fd/${handle.fd}`));
}

test('what exists is opened, what does not is made as directories with the mode of the volume', async () => {
  expect(await opened('a/b')).toBe('a/b');
  expect(await opened('a/file')).toBe('a/file');
  await chmod(volume, 0o2777); // more than any umask leaves
  expect(await opened('x/y')).toBe('x/y');
  expect((await stat(path.join(volume, 'x/y'))).mode).toBe((await stat(volume)).mode);
});

test('links inside the volume are followed', async () => {
  await symlink('../a/b', path.join(volume, 'a/rel'));
  await symlink(path.join(volume, 'a'), path.join(volume, 'abs'));
  expect(await opened('a/rel')).toBe('a/b');
  expect(await opened('abs/file')).toBe('a/file');
});

test.each([
  ['an absolute link outwards', () => symlink(dir, path.join(volume, 'out')), 'out/secret'],
  ['a relative link outwards', () => symlink('..', path.join(volume, 'out')), 'out/secret'],
  [
    'a link to the neighbour with the same beginning',
    () => symlink(`${volume}-2`, path.join(volume, 'out')),
    'out/secret',
  ],
  ['a link to itself', () => symlink('out', path.join(volume, 'out')), 'out'],
  ['a directory below a file', async () => {}, 'a/file/x'],
])('%s is refused', async (_, prepare, subPath) => {
  await mkdir(`${volume}-2`);
  await prepare();
  await expect(openBelow(volume, subPath)).rejects.toThrow();
});

test('the mount is made once, and the error does not tell of the host', async () => {
  const mounted: string[] = [];
  const tools = {
    log: silentLog,
    unmount: async () => {},
    bindMount: async (source: string, target: string) => {
      mounted.push(`${path.relative(volume, await realpath(source))} ${path.relative(dir, target)}`);
    },
  };
  const request = (subPath: string) => ({
    index: 3,
    volume: { name: 'v', hostPath: volume, readOnly: false, selinuxRelabel: false },
    subPath,
  });
  const target = await prepareSubPath(dir, 'u', 'c', request('a/file'), tools);
  expect(mounted).toEqual(['a/file pods/u/volume-subpaths/v/c/3']);
  expect(await readFile(target, 'utf8')).toBe(''); // a file, to be covered by a file
  await symlink(dir, path.join(volume, 'out'));
  await expect(prepareSubPath(dir, 'u', 'c', request('out/secret'), tools)).rejects.toThrow(
    /^failed to prepare subPath for volumeMount "v" of container "c"$/,
  );
});
