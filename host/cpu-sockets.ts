// How the logical CPUs are made up of cores and sockets.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/** Cores and sockets of the online CPUs. Where sysfs hides them, every CPU is a core, all in one socket. */
export async function readCpuSockets(
  logicalCpus: number,
  dir = '/sys/devices/system/cpu',
): Promise<{ readonly physicalCores: number; readonly sockets: number }> {
  const [cores, sockets] = [new Set<string>(), new Set<string>()];
  for (const name of await readdir(dir).catch(() => [])) {
    if (!/^cpu\d+$/.test(name)) continue;
    const fact = (file: string) => readFile(path.join(dir, name, 'topology', file), 'utf8').catch(() => '');
    const [socket, core] = [(await fact('physical_package_id')).trim(), (await fact('core_id')).trim()];
    if (socket === '' || core === '') continue; // offline
    sockets.add(socket);
    cores.add(`${socket}/${core}`);
  }
  return { physicalCores: cores.size || logicalCpus, sockets: sockets.size || 1 };
}
