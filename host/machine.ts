// Facts about this machine, read from /proc, /sys and /etc below a root that tests replace. After cadvisor's machine
// package and the kubelet's node-info setters.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseCpuList } from './cpu-list.ts';
import { type HugePages, readHugePages } from './huge-pages.ts';

const ONLINE = 'sys/devices/system/cpu/online';

export interface MachineInfo {
  /** Online logical CPUs. */
  readonly cores: number;
  /** The same as the kernel lists them: `0-3`; '' where sysfs is hidden. */
  readonly onlineCpus: string;
  readonly memoryBytes: number;
  /** 0 without swap. */
  readonly swapBytes: number;
  readonly hugePages: readonly HugePages[];
  readonly machineId: string;
  readonly systemUuid: string;
  readonly bootId: string;
  readonly kernelVersion: string;
  readonly osImage: string;
  /** Go's name: `amd64`, `arm64`, … */
  readonly architecture: string;
}

/**
 * Reads everything; facts that a restricted environment hides become empty strings.
 * @throws when /proc/meminfo or the list of CPUs cannot be read: a node without them could not be described.
 */
export async function readMachineInfo(root = '/'): Promise<MachineInfo> {
  const at = (file: string) => path.join(root, file);
  const memory = parseMemInfo(await readFile(at('proc/meminfo'), 'utf8'));
  return {
    cores: await readCores(at),
    onlineCpus: await readFirst([at(ONLINE)]),
    memoryBytes: memory.totalBytes,
    swapBytes: memory.swapTotalBytes,
    hugePages: await readHugePages(at('sys/kernel/mm/hugepages')),
    machineId: await readFirst([at('etc/machine-id'), at('var/lib/dbus/machine-id')]),
    systemUuid: await readFirst([
      at('sys/class/dmi/id/product_uuid'),
      at('proc/device-tree/system-id'),
      at('proc/device-tree/vm,uuid'),
      at('etc/machine-id'),
    ]),
    bootId: await readFirst([at('proc/sys/kernel/random/boot_id')]),
    kernelVersion: await readFirst([at('proc/sys/kernel/osrelease')]),
    osImage: parseOsImage(await readFirst([at('etc/os-release'), at('usr/lib/os-release')])),
    architecture: goArchitecture(process.arch),
  };
}

/** `MemTotal` and `SwapTotal` of /proc/meminfo, bytes. */
function parseMemInfo(text: string): { totalBytes: number; swapTotalBytes: number } {
  const bytesOf = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return { totalBytes: bytesOf('MemTotal'), swapTotalBytes: bytesOf('SwapTotal') };
}

/** PRETTY_NAME of os-release, `Linux` without one. */
export function parseOsImage(osRelease: string): string {
  const value = /^PRETTY_NAME=(.*)$/m.exec(osRelease)?.[1]?.trim();
  if (value === undefined || value === '') return 'Linux';
  const quoted = /^(["'])(.*)\1$/.exec(value);
  return (quoted?.[2] ?? value).replace(/\\(["'$`\\])/g, '$1');
}

/** Node.js's name of a CPU architecture → Go's, which Kubernetes labels carry. */
export function goArchitecture(arch: string): string {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };
  return names[arch] ?? arch;
}

async function readCores(at: (file: string) => string): Promise<number> {
  const online = await readFirst([at(ONLINE)]);
  if (online !== '') return parseCpuList(online).length;
  const text = await readFile(at('proc/cpuinfo'), 'utf8'); // containers without /sys still have /proc
  return text.match(/^processor\s*:/gm)?.length ?? 1;
}

/** The trimmed content of the first file that can be read and is not empty, else ''. */
async function readFirst(files: readonly string[]): Promise<string> {
  for (const file of files) {
    try {
      const text = (await readFile(file, 'utf8')).replaceAll('\0', '').trim();
      if (text !== '') return text;
    } catch {
      // hidden or missing here: the next place may have it
    }
  }
  return '';
}
