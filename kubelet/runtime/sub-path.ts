// subPath made safe: the pod's own processes may write to the volume and can swap any component for a symlink at any
// time. So every component is opened below the one before without following links, and what was opened is bind-mounted
// where only the agent can write; the runtime gets that path (pkg/volume/util/subpath, CVE-2017-1002101).
import { constants } from 'node:fs';
import { chmod, type FileHandle, mkdir, open, readlink, realpath, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { fileKind } from '../../host/file-kind.ts';
import { statOrClose } from '../../host/opened.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { ContainerConfigError } from './config-error.ts';
import type { SubPathRequest } from './mounts.ts';
import { podDir } from './pod-paths.ts';

/** Linux; Node.js has no name for it: opens the file itself, for reading metadata and for /proc/self/fd only. */
const O_PATH = 0o10000000;
const MAX_LINKS = 40;

export interface SubPathTools {
  readonly bindMount: (source: string, target: string) => Promise<void>;
  readonly unmount: (target: string) => Promise<void>;
  readonly log: Logger;
}

/**
 * Bind-mounts the sub-path and returns the mount point. Idempotent: a mount of the same file is used again.
 * @throws {ContainerConfigError} without the detail, which may tell of the host's files; that is logged.
 */
export async function prepareSubPath(
  rootDir: string,
  podUid: string,
  containerName: string,
  request: SubPathRequest,
  tools: SubPathTools,
): Promise<string> {
  const { volume, index, subPath } = request;
  const target = path.join(podDir({ rootDir }, podUid), 'volume-subpaths', volume.name, containerName, String(index));
  try {
    // What is opened here holds one of our few threads for as long as its storage is silent.
    if (mayBeSilent(volume)) await fileKind(volume.hostPath);
    await using found = await openBelow(await realpath(volume.hostPath), subPath);
    const info = await found.stat();
    if (!(await sameFile(target, info))) {
      await tools.unmount(target);
      await makeTarget(target, info.isDirectory());
      await tools.bindMount(`/proc/${process.pid}/fd/${found.fd}`, target);
    }
    return target;
  } catch (err) {
    tools.log.warn({ err, podUid, container: containerName, volume: volume.name }, 'sub-path not prepared');
    throw new ContainerConfigError(
      `failed to prepare subPath for volumeMount "${volume.name}" of container "${containerName}"`,
      err,
    );
  }
}

/** Others are directories that the agent itself has made. */
function mayBeSilent({ plugin = '' }: MountedVolume): boolean {
  return /^kubernetes\.io\/(host-path|nfs|local-volume|csi)/.test(plugin);
}

/**
 * Opens `subPath` below `root`, a canonical path; with `create`, missing directories are made with the root's mode.
 * Symlinks inside the volume are resolved here, against the volume: one that leads out of it ends in an error.
 */
export async function openBelow(root: string, subPath: string, { create = true } = {}): Promise<FileHandle> {
  let current = await open(root, O_PATH | constants.O_DIRECTORY);
  const { mode } = await statOrClose(current);
  const trail: string[] = []; // names of the directories walked, relative to the root
  const rest = subPath.split('/').filter((p) => p !== '' && p !== '.');
  let links = 0;
  try {
    while (rest.length > 0) {
      const name = rest.shift()!;
      if (name === '..') {
        if (trail.pop() === undefined) throw new Error('leads out of the volume');
        current = await replace(current, await walk(root, trail));
        continue;
      }
      const next = create ? await openOrMake(current, name, mode & 0o7777) : await openAt(current, name);
      if (!(await statOrClose(next)).isSymbolicLink()) {
        trail.push(name);
        current = await replace(current, next);
        continue;
      }
      await next.close();
      if (++links > MAX_LINKS) throw new Error('too many symbolic links');
      const inside = await linkInside(root, current, name);
      if (path.isAbsolute(inside)) {
        trail.length = 0;
        current = await replace(current, await walk(root, trail));
      }
      rest.unshift(...inside.split('/').filter((p) => p !== '' && p !== '.'));
    }
    return current;
  } catch (err) {
    await current.close();
    throw err;
  }
}

async function replace(old: FileHandle, next: FileHandle): Promise<FileHandle> {
  await old.close();
  return next;
}

async function walk(root: string, names: readonly string[]): Promise<FileHandle> {
  let current = await open(root, O_PATH | constants.O_DIRECTORY);
  for (const name of names) {
    try {
      current = await replace(current, await openAt(current, name, constants.O_DIRECTORY));
    } catch (err) {
      await current.close();
      throw err;
    }
  }
  return current;
}

/** openat(2) by way of /proc: the directory is the one that was opened, whatever its path is by now. */
function openAt(dir: FileHandle, name: string, flags = 0): Promise<FileHandle> {
  return open(`/proc/self/fd/${dir.fd}/${name}`, O_PATH | constants.O_NOFOLLOW | flags);
}

async function openOrMake(dir: FileHandle, name: string, mode: number): Promise<FileHandle> {
  try {
    return await openAt(dir, name);
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') throw err;
  }
  try {
    await mkdir(`/proc/self/fd/${dir.fd}/${name}`, { mode });
  } catch (err) {
    if (errnoOf(err) !== 'EEXIST') throw err;
    return openAt(dir, name); // made by the pod in between: then it is looked at like any other
  }
  const made = await openAt(dir, name);
  try {
    // Beyond the umask, or a container that is not root could not write here. Whatever the pod has put in the place
    // meanwhile: only a directory of the volume is touched.
    if ((await made.stat()).isDirectory()) await chmod(`/proc/self/fd/${made.fd}`, mode);
    return made;
  } catch (err) {
    await made.close();
    throw err;
  }
}

/** The target of a link, as a path inside the volume: absolute ones must begin with the volume's own path. */
async function linkInside(root: string, dir: FileHandle, name: string): Promise<string> {
  const target = await readlink(`/proc/self/fd/${dir.fd}/${name}`);
  if (!path.isAbsolute(target)) return target;
  if (target === root) return '/';
  if (!target.startsWith(`${root}/`)) throw new Error('a symbolic link leads out of the volume');
  return target.slice(root.length);
}

async function sameFile(target: string, info: { dev: number; ino: number }): Promise<boolean> {
  try {
    const there = await stat(target);
    return there.dev === info.dev && there.ino === info.ino;
  } catch {
    return false; // absent, or a mount that has gone bad: done anew
  }
}

async function makeTarget(target: string, isDirectory: boolean): Promise<void> {
  if (isDirectory) {
    await mkdir(target, { recursive: true, mode: 0o750 });
    return;
  }
  await mkdir(path.dirname(target), { recursive: true, mode: 0o750 });
  await writeFile(target, '', { flag: 'a', mode: 0o640 });
}
