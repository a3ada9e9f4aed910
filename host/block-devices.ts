// Names and counters of block devices.
import { readFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { parseMountInfo } from './mounts.ts';

const names = new Map<string, string>();
/** A host does not have so many disks; numbers may come from anywhere. */
const MAX_NAMES = 4096;

/** `/dev/sda` for 8:0; '' when there is no such device. Names do not change while a device is there. */
export function deviceName(major: number, minor: number): string {
  const id = `${major}:${minor}`;
  let name = names.get(id);
  if (name === undefined) {
    if (names.size >= MAX_NAMES) names.clear();
    name = readName(id);
    if (name !== '') names.set(id, name); // it may come to be there
  }
  return name;
}

function readName(id: string): string {
  try {
    const name = /^DEVNAME=(.+)$/m.exec(readFileSync(`/sys/dev/block/${id}/uevent`, 'utf8'))?.[1];
    return name === undefined ? '' : `/dev/${name}`;
  } catch {
    return ''; // gone, or a device that sysfs does not show here
  }
}

/** Of one device since the start of the machine; times in ms. */
export interface DiskCounters {
  readonly device: string;
  readonly readsMerged: number;
  readonly sectorsRead: number;
  readonly readMs: number;
  readonly writesMerged: number;
  readonly sectorsWritten: number;
  readonly writeMs: number;
  readonly inFlight: number;
  readonly ioMs: number;
  readonly weightedMs: number;
}

export async function diskCounters(): Promise<DiskCounters[]> {
  return parseDiskStats(await readFile('/proc/diskstats', 'utf8').catch(() => '')); // a kernel without block devices
}

/** Pure: Documentation/admin-guide/iostats.rst. Devices that never did anything are left out. */
export function parseDiskStats(text: string): DiskCounters[] {
  return text.split('\n').flatMap((line) => {
    const [, , name, ...numbers] = line.trim().split(/\s+/);
    if (name === undefined || numbers.length < 11) return [];
    const v = numbers.map(Number);
    if (v[0] === 0 && v[4] === 0) return [];
    return {
      device: `/dev/${name}`,
      readsMerged: v[1]!,
      sectorsRead: v[2]!,
      readMs: v[3]!,
      writesMerged: v[5]!,
      sectorsWritten: v[6]!,
      writeMs: v[7]!,
      inFlight: v[8]!,
      ioMs: v[9]!,
      weightedMs: v[10]!,
    };
  });
}

/** The source of the mount that `dir` is on, e.g. `/dev/sda1` or `overlay`. */
export async function mountSourceOf(dir: string): Promise<string> {
  return findMountSource(await readFile('/proc/self/mountinfo', 'utf8'), dir);
}

/** Pure: the longest mount point that leads to `dir`; of two at one place the later one is seen. */
export function findMountSource(mountInfo: string, dir: string): string {
  let best: { mountPoint: string; source: string } = { mountPoint: '', source: '' };
  for (const mount of parseMountInfo(mountInfo)) {
    const base = mount.mountPoint === '/' ? '/' : `${mount.mountPoint}/`;
    if (`${dir}/`.startsWith(base) && mount.mountPoint.length >= best.mountPoint.length) best = mount;
  }
  return best.source;
}

/** Size of the block device that `file` is or leads to, bytes; undefined when it is none. @throws as stat(2). */
export async function blockDeviceBytes(file: string): Promise<number | undefined> {
  const stats = await stat(file);
  if (!stats.isBlockDevice()) return undefined;
  const { major, minor } = deviceNumbers(stats.rdev);
  const sectors = await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8');
  return Number(sectors) * 512;
}

/** Pure: the kernel's dev_t as user space sees it (gnu_dev_major and gnu_dev_minor). */
export function deviceNumbers(rdev: number): { readonly major: number; readonly minor: number } {
  const dev = BigInt(rdev);
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn & 0xffffffffn);
  return { major: Number(major), minor: Number(minor) };
}
