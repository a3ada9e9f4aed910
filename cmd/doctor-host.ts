// The host as `nodelet doctor` sees it, for real.
import { access, readFile, readlink, statfs } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { systemClock } from '../core/clock.ts';
import { errnoOf } from '../core/errors.ts';
import { connectRuntime } from '../cri/remote-runtime.ts';
import type { RuntimeService } from '../cri/runtime-service.ts';
import { systemExec } from '../host/exec.ts';
import type { Host, RuntimeFacts } from './doctor-finding.ts';

export function systemHost(): Host {
  return {
    uid: process.getuid?.() ?? -1,
    exec: systemExec,
    programPath: (process.env.PATH ?? '').split(':').filter((dir) => dir !== ''),
    hostname: os.hostname(),
    now: () => systemClock.now(),
    read: async (file) => {
      try {
        return await readFile(file, 'utf8');
      } catch (err) {
        if (errnoOf(err) === 'ENOENT') return undefined;
        throw err;
      }
    },
    exists: async (file) => {
      try {
        await access(file);
        return true;
      } catch (err) {
        if (errnoOf(err) === undefined) throw err;
        return false;
      }
    },
    portHolder,
    freeShares,
    askRuntime,
  };
}

/** A healthy runtime answers in milliseconds; a person waits. */
const RUNTIME_TIMEOUT_MS = 5000;

async function askRuntime(endpoint: string): Promise<RuntimeFacts> {
  const connection = connectRuntime({ endpoint, requestTimeoutMs: RUNTIME_TIMEOUT_MS }, () => {}, systemClock);
  try {
    const { runtime } = connection;
    const version = await runtime.version();
    const { status, info } = await runtime.status(true);
    const ready = status?.conditions.find((c) => c.type === 'RuntimeReady')?.status === true;
    return {
      name: version.runtimeName,
      version: version.runtimeVersion,
      apiVersion: version.runtimeApiVersion,
      ready,
      ...(await driverOf(runtime, info)),
    };
  } finally {
    connection.close();
  }
}

async function driverOf(
  runtime: RuntimeService,
  info: Readonly<Record<string, string>>,
): Promise<Pick<RuntimeFacts, 'cgroupDriver' | 'driverIsTaken'>> {
  const told = await driverByCall(runtime);
  return { cgroupDriver: told ?? driverInInfo(info), driverIsTaken: told !== undefined };
}

/** Undefined where the runtime is older than the call (containerd before 2.0). */
async function driverByCall(runtime: RuntimeService): Promise<RuntimeFacts['cgroupDriver']> {
  try {
    return (await runtime.runtimeConfig()).linux?.cgroupDriver === 'SYSTEMD' ? 'systemd' : 'cgroupfs';
  } catch {
    return undefined; // it says so in its configuration instead
  }
}

/** containerd's own configuration, which it gives with a verbose status. */
export function driverInInfo(info: Readonly<Record<string, string>>): RuntimeFacts['cgroupDriver'] {
  try {
    const config = JSON.parse(info.config ?? '') as {
      containerd?: {
        defaultRuntimeName?: string;
        runtimes?: Record<string, { options?: { SystemdCgroup?: boolean } } | undefined>;
      };
    };
    const { defaultRuntimeName = 'runc', runtimes = {} } = config.containerd ?? {};
    const runtime = runtimes[defaultRuntimeName];
    if (runtime === undefined) return undefined;
    return runtime.options?.SystemdCgroup === true ? 'systemd' : 'cgroupfs';
  } catch {
    return undefined; // not containerd's
  }
}

async function freeShares(dir: string): Promise<{ bytes: number; inodes: number }> {
  for (let at = path.resolve(dir); ; at = path.dirname(at)) {
    try {
      const { blocks, bavail, files, ffree } = await statfs(at);
      return { bytes: blocks === 0 ? 1 : bavail / blocks, inodes: files === 0 ? 1 : ffree / files };
    } catch (err) {
      if (errnoOf(err) !== 'ENOENT' || at === '/') throw err;
    }
  }
}

async function portHolder(port: number): Promise<string | undefined> {
  const { stdout } = await systemExec('ss', ['-Hltnp', `sport = :${port}`], { timeoutMs: 10_000 });
  if (stdout.trim() === '') return undefined;
  const [, name, pid] = /users:\(\("([^"]*)",pid=(\d+)/.exec(stdout) ?? [];
  if (pid === undefined) return 'a program of another user';
  return `${(await isNodelet(pid)) ? 'nodelet' : name} (pid ${pid})`;
}

/** Options of Node.js come before the program, its own after. */
const PROGRAM_WORDS = 20;

/** Whether a process is this program, however it was installed. */
async function isNodelet(pid: string): Promise<boolean> {
  try {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
    const exe = await readlink(`/proc/${pid}/exe`);
    return [exe, ...words.slice(0, PROGRAM_WORDS)].some((word) => /(^|\/)nodelet(\.[cm]?[jt]s)?$/.test(word));
  } catch {
    return false; // it has ended
  }
}
