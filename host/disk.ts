// Block devices with a file system, made when the device is empty and only then. After k8s.io/mount-utils
// (SafeFormatAndMount, ResizeFs).
import { AgentError, errorMessage } from '../core/errors.ts';
import { type Exec, execOk } from './exec.ts';

export interface DeviceMount {
  readonly fsType: string;
  readonly options: readonly string[];
  readonly readOnly: boolean;
}

const PROBE_TIMEOUT_MS = 30_000;
const MOUNT_TIMEOUT_MS = 60_000;
/** Of a large disk every block may have to be touched. */
const LONG_TIMEOUT_MS = 1_800_000;
const MKFS_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  ext2: ['-F', '-m0'],
  ext3: ['-F', '-m0'],
  ext4: ['-F', '-m0'],
  xfs: ['-f'],
};

type Command = readonly [program: string, ...args: string[]];
const growExt = (device: string): Command => ['resize2fs', device];
/** By the type of a file system that is mounted. */
const GROWING: Readonly<Record<string, (device: string, dir: string) => Command>> = {
  ext3: growExt,
  ext4: growExt,
  xfs: (_, dir) => ['xfs_growfs', '-d', dir],
  btrfs: (_, dir) => ['btrfs', 'filesystem', 'resize', 'max', dir],
};

/**
 * Mounts `device` at `dir`. A device with nothing on it gets a file system first, one with a file system a check.
 * @throws {AgentError} DISK_REFUSED when something else is on it, DISK_FORMAT_FAILED, MOUNT_FAILED.
 */
export async function formatAndMount(exec: Exec, device: string, dir: string, how: DeviceMount): Promise<void> {
  const { fsType, readOnly } = how;
  if (!/^[a-z][a-z0-9]*$/.test(fsType)) throw refusal(`${JSON.stringify(fsType)} is no type of file system`);
  if ((await fileSystemOn(exec, device)) === undefined) {
    if (readOnly) throw refusal(`cannot mount unformatted disk ${device} as we are manipulating it in read-only mode`);
    await format(exec, device, fsType);
  } else if (!readOnly) await check(exec, device);
  const options = [...(readOnly ? ['ro'] : []), 'defaults', ...how.options].join(',');
  const args = ['-n', '-t', fsType, '-o', options, '--', device, dir];
  try {
    await execOk(exec, 'mount', args, { timeoutMs: MOUNT_TIMEOUT_MS });
  } catch (cause) {
    throw new AgentError(errorMessage(cause), { code: 'MOUNT_FAILED', cause, retryable: true });
  }
}

/**
 * Grows the file system on `device`, mounted at `dir`, to the size that the device has now. Idempotent; a device without
 * one has nothing to grow. @throws {AgentError} DISK_REFUSED for a type that cannot grow, DISK_GROW_FAILED.
 */
export async function growFileSystem(exec: Exec, device: string, dir: string): Promise<void> {
  const type = await fileSystemOn(exec, device);
  if (type === undefined) return;
  const command = GROWING[type]?.(device, dir);
  if (command === undefined) {
    throw refusal(`resize of format ${type} is not supported for device ${device} mounted at ${dir}`);
  }
  const [program, ...args] = command;
  try {
    await execOk(exec, program, args, { timeoutMs: LONG_TIMEOUT_MS });
  } catch (cause) {
    throw new AgentError(errorMessage(cause), { code: 'DISK_GROW_FAILED', cause, retryable: true });
  }
}

/** The type of what `blkid` finds on the device itself, not what it remembers; undefined when nothing is on it. */
async function fileSystemOn(exec: Exec, device: string): Promise<string | undefined> {
  const args = ['-p', '-s', 'TYPE', '-s', 'PTTYPE', '-o', 'export', device];
  const { code, stdout, stderr } = await exec('blkid', args, { timeoutMs: PROBE_TIMEOUT_MS });
  if (code === 2) return undefined;
  const type = /^TYPE=(.+)$/m.exec(stdout)?.[1];
  if (code === 0 && type !== undefined) return type;
  if (code === 0) throw refusal(`${device} holds something that is no file system, probably partitions`);
  throw refusal(`cannot see what is on ${device}: blkid: exit ${code} ${stderr.trim()}`);
}

/** Not to be cancelled: half a file system could be taken for a whole one. */
async function format(exec: Exec, device: string, fsType: string): Promise<void> {
  const args = [...(MKFS_OPTIONS[fsType] ?? []), device];
  try {
    await execOk(exec, `mkfs.${fsType}`, args, { timeoutMs: LONG_TIMEOUT_MS });
  } catch (cause) {
    throw new AgentError(errorMessage(cause), { code: 'DISK_FORMAT_FAILED', cause, retryable: true });
  }
}

/** fsck repairs what it can without asking. @throws when it says that errors are left (exit code 4, fsck(8)). */
async function check(exec: Exec, device: string): Promise<void> {
  const { code, stdout } = await exec('fsck', ['-a', device], { timeoutMs: LONG_TIMEOUT_MS });
  if (code !== 4) return; // other codes: repaired, or there is no fsck for this type; the mount will tell
  throw refusal(`'fsck' found errors on device ${device} but could not correct them: ${stdout.trim()}`);
}

function refusal(text: string): AgentError {
  return new AgentError(text, { code: 'DISK_REFUSED', retryable: true, hint: 'nothing on the device was changed' });
}
