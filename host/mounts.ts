// The mount table of this process, and mounting through util-linux. Node.js has no mount(2); a `mount` process takes
// about 2 ms here, so nothing on the usual path of a pod start may need one (docs/decisions/0010).
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errorMessage } from '../core/errors.ts';
import { type DeviceMount, formatAndMount, growFileSystem } from './disk.ts';
import { type Exec, execOk } from './exec.ts';

export interface MountPoint {
  readonly mountId: number;
  /** Path inside the mounted file system that is visible here; `/` unless it is a bind mount. */
  readonly root: string;
  readonly mountPoint: string;
  /** `major:minor`, the same for all mounts of one file system. */
  readonly device: string;
  /** What is mounted below shows in other mount namespaces that took this mount over, e.g. those of containers. */
  readonly isShared: boolean;
  readonly options: string;
  readonly fsType: string;
  readonly source: string;
  readonly superOptions: string;
}

/**
 * Reads the format of /proc/self/mountinfo (proc(5)): space, tab, newline and backslash are octal escapes.
 * @throws {AgentError} MOUNTINFO_INVALID naming the line.
 */
export function parseMountInfo(text: string): MountPoint[] {
  const mounts: MountPoint[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6); // optional fields end at a lone dash
    if (separator === -1 || fields.length < separator + 3) {
      throw new AgentError(`cannot read mountinfo line ${JSON.stringify(line)}`, { code: 'MOUNTINFO_INVALID' });
    }
    mounts.push({
      mountId: Number(fields[0]),
      root: unescapeOctal(fields[3]!),
      mountPoint: unescapeOctal(fields[4]!),
      device: fields[2]!,
      isShared: fields.slice(6, separator).some((field) => field.startsWith('shared:')),
      options: fields[5]!,
      fsType: fields[separator + 1]!,
      source: unescapeOctal(fields[separator + 2]!),
      superOptions: fields[separator + 3] ?? '',
    });
  }
  return mounts;
}

function unescapeOctal(field: string): string {
  if (!field.includes('\\')) return field;
  // Octal escapes are bytes; names that are not ASCII stand unescaped beside them.
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** As fstab(5) wants it: the inverse of the above. */
function escapeOctal(field: string): string {
  return field.replace(/[\\ \t\n]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

/** The mounts at `dir` or below it, innermost and newest first: the order in which they can be unmounted. */
export function mountsUnder(mounts: readonly MountPoint[], dir: string): MountPoint[] {
  const prefix = dir.endsWith('/') ? dir : `${dir}/`;
  return mounts.filter((m) => m.mountPoint === dir || m.mountPoint.startsWith(prefix)).reverse();
}

/** Mounting as the rest of the program sees it; tests hand in a fake. */
export interface Mounter {
  list(): Promise<MountPoint[]>;
  /** @throws {AgentError} MOUNT_FAILED with mount's own words. */
  mountTmpfs(dir: string, options: readonly string[], signal?: AbortSignal): Promise<void>;
  /** A file system of huge pages of one size. @throws {AgentError} MOUNT_FAILED, e.g. for a size the CPU has not. */
  mountHugePages(dir: string, pageBytes: number, signal?: AbortSignal): Promise<void>;
  /** A file system of another host, by the helper of its type (`mount.nfs`). @throws {AgentError} MOUNT_FAILED */
  mountRemote(
    type: string,
    source: string,
    dir: string,
    options: readonly string[],
    signal?: AbortSignal,
  ): Promise<void>;
  /** A block device, with a file system that is made where it has none. @throws {AgentError} as `formatAndMount` does. */
  mountDevice(device: string, dir: string, how: DeviceMount): Promise<void>;
  /** The file system of a device that is mounted at `dir` takes all of it. @throws {AgentError} as `growFileSystem` does. */
  growDevice(device: string, dir: string): Promise<void>;
  /** Shows `source` (a directory or file) at `target`. @throws {AgentError} MOUNT_FAILED */
  bind(source: string, target: string, signal?: AbortSignal): Promise<void>;
  /**
   * `bind` for many pairs of source and target, by one process. Those that can be are bound, whatever becomes of others.
   * `listFile` exists as long as it takes. @throws {AgentError} MOUNT_FAILED
   */
  bindAll(pairs: readonly (readonly [source: string, target: string])[], listFile: string): Promise<void>;
  /** The same, but nothing can be written by way of `target`. @throws {AgentError} MOUNT_FAILED */
  bindReadOnly(source: string, target: string, signal?: AbortSignal): Promise<void>;
  /** Unmounts the topmost mount at `dir`. Not mounted is success. @throws {AgentError} UNMOUNT_FAILED, e.g. when busy. */
  unmount(dir: string, signal?: AbortSignal): Promise<void>;
}

const MOUNT_TIMEOUT_MS = 30_000;
/** Helpers try again for two minutes before they give a server up. */
const REMOTE_TIMEOUT_MS = 130_000;

/** Works in the mount namespace of this process. `procRoot` is `/proc` but in tests. */
export function systemMounter(exec: Exec, procRoot = '/proc'): Mounter {
  const list = async () => parseMountInfo(await readFile(path.join(procRoot, 'self/mountinfo'), 'utf8'));
  const run = async (
    code: string,
    program: string,
    args: string[],
    signal?: AbortSignal,
    timeoutMs = MOUNT_TIMEOUT_MS,
  ) => {
    try {
      await execOk(exec, program, args, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
    } catch (cause) {
      throw new AgentError(errorMessage(cause), { code, cause, retryable: true });
    }
  };
  const mountNew = (type: string, options: string, dir: string, signal?: AbortSignal) =>
    // -i: no mount.<type> helper; -n: no /etc/mtab, which is a link to /proc on every system we support.
    run('MOUNT_FAILED', 'mount', ['-i', '-n', '-t', type, '-o', options, '--', type, dir], signal);
  return {
    list,
    mountTmpfs: (dir, options, signal) => mountNew('tmpfs', options.join(','), dir, signal),
    mountHugePages: (dir, pageBytes, signal) => mountNew('hugetlbfs', `pagesize=${pageBytes}`, dir, signal),
    mountRemote: (type, source, dir, options, signal) => {
      const chosen = options.length === 0 ? [] : ['-o', options.join(',')];
      return run('MOUNT_FAILED', 'mount', ['-n', '-t', type, ...chosen, '--', source, dir], signal, REMOTE_TIMEOUT_MS);
    },
    mountDevice: (device, dir, how) => formatAndMount(exec, device, dir, how),
    growDevice: (device, dir) => growFileSystem(exec, device, dir),
    bind: (source, target, signal) =>
      run('MOUNT_FAILED', 'mount', ['-i', '-n', '-c', '--bind', '--', source, target], signal),
    async bindAll(pairs, listFile) {
      const lines = pairs.map((pair) => `${pair.map(escapeOctal).join(' ')} none bind 0 0\n`);
      await writeFile(listFile, lines.join(''), { mode: 0o600 });
      try {
        await run('MOUNT_FAILED', 'mount', ['-i', '-n', '-c', '-a', '-T', listFile]);
      } finally {
        await rm(listFile, { force: true });
      }
    },
    bindReadOnly: (source, target, signal) =>
      run('MOUNT_FAILED', 'mount', ['-i', '-n', '-c', '-o', 'bind,ro', '--', source, target], signal),
    async unmount(dir, signal) {
      try {
        // -c: the path is canonical (it comes from mountinfo), so that umount follows no symlink put in its way.
        await run('UNMOUNT_FAILED', 'umount', ['-i', '-n', '-c', '--', dir], signal);
      } catch (err) {
        // Lost answer of an earlier unmount, or somebody else was faster: the table decides.
        const left = (await list()).findLast((m) => m.mountPoint === dir);
        if (left === undefined) return;
        if (!left.fsType.startsWith('nfs')) throw err;
        await run('UNMOUNT_FAILED', 'umount', ['-i', '-n', '-c', '-f', '--', dir], signal); // its server does not answer
      }
    },
  };
}
