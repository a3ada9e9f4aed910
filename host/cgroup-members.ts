// Which processes a cgroup has, and moving a process into another one with all that is counted and limited by it. After
// opencontainers/cgroups fs and fs2, and pkg/kubelet/cm/util.
import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';
import type { CgroupFs } from './cgroup.ts';
import { parseMountInfo } from './mounts.ts';
import { parseProcCgroup } from './process-facts.ts';

export interface CgroupMembers {
  /** The group of a process; undefined where that is not the same one for CPU and for memory. */
  groupOf(pid: number): Promise<string | undefined>;
  /** Processes of the group itself, not of those below. */
  processesIn(name: string): Promise<number[]>;
  /** Moves the process, making the group where it is missing. @throws {AgentError} CGROUP_WRITE_FAILED */
  join(name: string, pid: number): Promise<void>;
}

/** The hierarchies of v1 at which processes are looked for: upstream looks at the first. */
const V1_LISTED = ['devices', 'memory'] as const;

export class SystemCgroupMembers implements CgroupMembers {
  readonly #fs: CgroupFs;
  readonly #proc: string;

  constructor(fs: CgroupFs, proc = '/proc') {
    this.#fs = fs;
    this.#proc = proc;
  }

  async groupOf(pid: number): Promise<string | undefined> {
    const text = await readFile(`${this.#proc}/${pid}/cgroup`, 'utf8');
    return groupIn(text, this.#fs.hierarchies.version);
  }

  async processesIn(name: string): Promise<number[]> {
    const [mount] = await this.#mounts(V1_LISTED);
    const text = await readFile(path.join(mount ?? '', name, 'cgroup.procs'), 'utf8');
    // A process of another PID namespace reads as 0.
    return text
      .split('\n')
      .map(Number)
      .filter((pid) => pid > 0);
  }

  async join(name: string, pid: number): Promise<void> {
    try {
      if (this.#fs.hierarchies.version === 2) await this.#fs.make(name); // with the controllers of its ancestors
      for (const mount of await this.#mounts()) {
        if (this.#fs.hierarchies.version === 1) await makeV1(mount, name);
        await writeFile(path.join(mount, name, 'cgroup.procs'), String(pid), { flag: 'r+' });
      }
    } catch (cause) {
      if (errnoOf(cause) === 'ESRCH') return; // it has ended meanwhile
      const message = `cannot move process ${pid} into cgroup ${name}: ${errorMessage(cause)}`;
      throw new AgentError(message, { code: 'CGROUP_WRITE_FAILED', cause, retryable: true });
    }
  }

  /** Where the hierarchies of v1 are mounted, those of `first` before the others; of v2 the only one. */
  async #mounts(first: readonly string[] = []): Promise<string[]> {
    const { version, mounts } = this.#fs.hierarchies;
    if (version === 2) return [...mounts.values()];
    const all = parseMountInfo(await readFile(`${this.#proc}/self/mountinfo`, 'utf8'));
    const found = all.filter((mount) => mount.fsType === 'cgroup');
    const rank = ({ superOptions }: { readonly superOptions: string }) => {
      const at = first.findIndex((name) => superOptions.split(',').includes(name));
      return at === -1 ? first.length : at;
    };
    return [...new Set(found.sort((a, b) => rank(a) - rank(b)).map((mount) => mount.mountPoint))];
  }
}

/** Pure, of a text such as /proc/1/cgroup. systemd on v1 names every group, and keeps accounts only for some of them. */
export function groupIn(text: string, version: 1 | 2): string | undefined {
  if (version === 2) return parseProcCgroup(text, undefined);
  const cpu = parseProcCgroup(text, 'cpu');
  return cpu === parseProcCgroup(text, 'memory') ? (parseProcCgroup(text, 'name=systemd') ?? cpu) : undefined;
}

/** With its ancestors. A new group of cpuset takes no process before it has CPUs and memory nodes: it gets its parent's. */
async function makeV1(mount: string, name: string): Promise<void> {
  let dir = mount;
  for (const part of name.split('/').filter(Boolean)) {
    const parent = dir;
    dir = path.join(parent, part);
    await mkdir(dir, { recursive: true });
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const own = await readFile(path.join(dir, file), 'utf8').catch(() => undefined); // of another controller
      if (own?.trim() === '') await writeFile(path.join(dir, file), await readFile(path.join(parent, file), 'utf8'));
    }
  }
}

/** Kernel threads have no program; neither has a process that is gone. */
export async function isKernelThread(pid: number, proc = '/proc'): Promise<boolean> {
  try {
    await readlink(`${proc}/${pid}/exe`);
    return false;
  } catch (err) {
    return errnoOf(err) === 'ENOENT';
  }
}

/**
 * Whether this process is in the PID namespace that /proc shows: a process of a container that has the host's /proc is its
 * container's to place. Upstream compares the namespace with that of process 1, which not every root may look at.
 */
export async function seesHostProcesses(proc = '/proc'): Promise<boolean> {
  return isInNamespaceOfProc(await readFile(`${proc}/self/status`, 'utf8'));
}

/** Pure: a status has a number for each PID namespace from that of /proc on inwards. */
export function isInNamespaceOfProc(status: string): boolean {
  const numbers = /^NSpid:\s+(.*)$/m.exec(status)?.[1] ?? '';
  return numbers.trim().split(/\s+/).length === 1; // a kernel that does not tell has none
}
