// hostPath volumes: the checks and creations that `type` asks for. After pkg/volume/host_path.

import type { Stats } from 'node:fs';
import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import type { HostPathVolumeSource } from '../../api/pod.ts';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';

const CHECKS: Readonly<Record<string, { readonly is: (s: Stats) => boolean; readonly not: string }>> = {
  Directory: { is: (s) => s.isDirectory(), not: 'a directory' },
  File: { is: (s) => s.isFile(), not: 'a file' },
  Socket: { is: (s) => s.isSocket(), not: 'a socket file' },
  CharDevice: { is: (s) => s.isCharacterDevice(), not: 'a character device' },
  BlockDevice: { is: (s) => s.isBlockDevice(), not: 'a block device' },
};

/** @throws {AgentError} HOST_PATH_INVALID with upstream's words. */
export async function prepareHostPath(source: HostPathVolumeSource): Promise<string> {
  const { path, type = '' } = source;
  if (path.split('/').includes('..')) throw invalid(`invalid HostPath \`${path}\`: must not contain '..'`);
  if (type === '') return path;
  if (type === 'DirectoryOrCreate' && (await statOf(path)) === undefined) {
    await made('mkdir', path, () => mkdir(path, { recursive: true, mode: 0o755 }));
  }
  if (type === 'FileOrCreate' && (await statOf(path)) === undefined) {
    await made('open', path, async () => {
      await writeFile(path, '', { flag: 'wx' }); // parents are not made
      await chmod(path, 0o644);
    });
  }
  const check = CHECKS[type.replace(/OrCreate$/, '')];
  if (check === undefined) throw invalid(`hostPath type check failed: unknown type ${type}`);
  const stats = await statOf(path);
  if (stats === undefined || !check.is(stats)) throw invalid(`hostPath type check failed: ${path} is not ${check.not}`);
  return path;
}

/** Says what failed as Go does, `open /a/b: no such file or directory`: the text reaches users in an Event. */
async function made(verb: string, path: string, make: () => Promise<unknown>): Promise<void> {
  try {
    await make();
  } catch (cause) {
    const words = /^E[A-Z0-9]+: ([^,]+)/.exec(errorMessage(cause))?.[1] ?? errorMessage(cause);
    throw new AgentError(`${verb} ${path}: ${words}`, { code: 'HOST_PATH_INVALID', cause, retryable: true });
  }
}

/** What is behind such a path is not of the type that is wanted, nor of any other: upstream says no more, either. */
const UNREACHABLE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EACCES']);

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path); // follows symlinks, as the runtime will
  } catch (err) {
    if (UNREACHABLE.has(errnoOf(err) ?? '')) return undefined;
    throw err;
  }
}

function invalid(message: string): AgentError {
  return new AgentError(message, { code: 'HOST_PATH_INVALID', retryable: true });
}
