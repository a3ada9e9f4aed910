// Kernel parameters under /proc/sys. Those under net/ belong to the network namespace of the calling process.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';

/** Reads and writes by name, e.g. `net/ipv4/ip_forward`. */
export interface Sysctl {
  /** Undefined when the kernel has no such parameter. */
  read(name: string): Promise<string | undefined>;
  /** Writes only what differs. False when the kernel has no such parameter. @throws {AgentError} SYSCTL_REFUSED. */
  set(name: string, value: string): Promise<boolean>;
}

export function procSysctl(root = '/proc/sys'): Sysctl {
  const read = async (name: string): Promise<string | undefined> => {
    try {
      return (await readFile(path.join(root, name), 'utf8')).trim();
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return undefined;
      throw err;
    }
  };
  const set = async (name: string, value: string): Promise<boolean> => {
    const current = await read(name);
    if (current === undefined) return false;
    if (current === value) return true;
    try {
      await writeFile(path.join(root, name), value);
      return true;
    } catch (cause) {
      throw new AgentError(`cannot set ${name.replaceAll('/', '.')} to ${value}: ${errorMessage(cause)}`, {
        code: 'SYSCTL_REFUSED',
        cause,
        hint: 'run as root, with /proc/sys writable',
      });
    }
  };
  return { read, set };
}
