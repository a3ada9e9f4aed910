// hostPath volumes: the checks and creations that `type` asks for. After pkg/volume/host_path.

import { chmod, mkdir, writeFile } from 'node:fs/promises';
import type { HostPathVolumeSource } from '../../api/pod.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import { type FileKind, fileKind } from '../../host/file-kind.ts';

const CHECKS: Readonly<Record<string, { readonly is: FileKind; readonly not: string }>> = {
  Directory: { is: 'directory', not: 'a directory' },
  File: { is: 'file', not: 'a file' },
  Socket: { is: 'socket', not: 'a socket file' },
  CharDevice: { is: 'character device', not: 'a character device' },
  BlockDevice: { is: 'block device', not: 'a block device' },
};

/**
 * To be called once, before the pod uses it: whatever becomes of the path later is the pod's business, as upstream.
 * @throws {AgentError} HOST_PATH_INVALID with upstream's words; STORAGE_SILENT
 */
export async function prepareHostPath(source: HostPathVolumeSource): Promise<string> {
  const { path, type = '' } = source;
  if (path.split('/').includes('..')) throw invalid(`invalid HostPath \`${path}\`: must not contain '..'`);
  if (type === '') return path;
  const check = CHECKS[type.replace(/OrCreate$/, '')];
  if (check === undefined) throw invalid(`hostPath type check failed: unknown type ${type}`);
  const found = (await fileKind(path)) ?? (await make(path, type));
  if (found !== check.is) throw invalid(`hostPath type check failed: ${path} is not ${check.not}`);
  return path;
}

/** What types that say so make where there is nothing. Undefined for the others. */
async function make(path: string, type: string): Promise<FileKind | undefined> {
  if (type === 'DirectoryOrCreate') {
    await made('mkdir', path, () => mkdir(path, { recursive: true, mode: 0o755 }));
    return 'directory';
  }
  if (type !== 'FileOrCreate') return undefined;
  await made('open', path, async () => {
    await writeFile(path, '', { flag: 'wx' }); // parents are not made
    await chmod(path, 0o644);
  });
  return 'file';
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

function invalid(message: string): AgentError {
  return new AgentError(message, { code: 'HOST_PATH_INVALID', retryable: true });
}
