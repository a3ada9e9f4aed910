// What /proc tells of single processes beside their cgroup's figures.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Of more processes than this in one group the rest is not counted: each open file costs a system call. */
const MAX_PROCESSES = 64;
const MAX_FILES = 1024;

/** Open files and sockets of the processes, those that ended left out. Bounded, so a lower bound for large ones. */
export function openFilesOf(pids: readonly number[]): { readonly files: number; readonly sockets: number } {
  let [files, sockets] = [0, 0];
  for (const pid of pids.slice(0, MAX_PROCESSES)) {
    try {
      const names = readdirSync(`/proc/${pid}/fd`);
      files += names.length;
      for (const name of names.slice(0, MAX_FILES)) {
        if (readlinkSync(`/proc/${pid}/fd/${name}`).startsWith('socket:')) sockets += 1;
      }
    } catch {
      // it ended, or closed the file: what was counted stays
    }
  }
  return { files, sockets };
}

/** Soft limit of open files; undefined when it has none or is gone. */
export function maxOpenFilesOf(pid: number): number | undefined {
  try {
    return parseMaxOpenFiles(readFileSync(`/proc/${pid}/limits`, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Pure. */
export function parseMaxOpenFiles(limits: string): number | undefined {
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? undefined : Number(soft);
}

/** The cgroup of a process in the hierarchy of `controller` (v1) or the unified one. */
export function cgroupOfProcess(pid: number | 'self', controller: string | undefined): string | undefined {
  try {
    return parseProcCgroup(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), controller);
  } catch {
    return undefined;
  }
}

/** Pure: lines as `4:memory:/a/b`, of the unified hierarchy `0::/a/b`. */
export function parseProcCgroup(text: string, controller: string | undefined): string | undefined {
  for (const line of text.split('\n')) {
    const [, controllers = '', ...name] = line.split(':');
    if (name.length === 0) continue;
    const isIt = controller === undefined ? controllers === '' : controllers.split(',').includes(controller);
    if (isIt) return name.join(':');
  }
  return undefined;
}

/** Pids of the processes of that command name in this process's network namespace; kernel threads have none. */
export function findProcesses(command: string): number[] {
  const own = linkOf('/proc/self/ns/net');
  const wanted = `${command.slice(0, 15)}\n`; // TASK_COMM_LEN
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => readText(`/proc/${pid}/comm`) === wanted && linkOf(`/proc/${pid}/ns/net`) === own)
    .map(Number);
}

/** How many processes there are and can be (proc(5): loadavg, pid_max, threads-max). */
export function processCounts(): { readonly current: number; readonly max: number } {
  const number = (file: string) => Number.parseInt(readFileSync(file, 'utf8'), 10);
  const [, current = '0'] = readFileSync('/proc/loadavg', 'utf8').split(' ')[3]!.split('/');
  return {
    current: Number(current),
    max: Math.min(number('/proc/sys/kernel/pid_max'), number('/proc/sys/kernel/threads-max')),
  };
}

/** When the machine was started, wall ms (`btime` of /proc/stat). */
export function bootTimeMs(): number {
  return Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? 0) * 1000;
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // the process is gone
  }
}

function linkOf(file: string): string | undefined {
  try {
    return readlinkSync(file);
  } catch {
    return undefined;
  }
}
