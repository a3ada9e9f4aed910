// `nodelet doctor`: can this host be a node, and if not, what mends it.
import { access, readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { systemClock } from '../core/clock.ts';
import { errnoOf } from '../core/errors.ts';
import { connectRuntime } from '../cri/remote-runtime.ts';
import { systemExec } from '../host/exec.ts';
import { examine, type Finding, type Host, type RuntimeFacts } from './doctor-checks.ts';

interface DoctorFlags {
  readonly output: string;
  readonly containerRuntimeEndpoint: string;
  readonly cniBinDir: string;
}

const MARKS = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const;

export function addCommand(program: Command): void {
  program
    .command('doctor')
    .description(
      'Check whether this host can be a node: what is missing, and the command that mends it. Changes nothing.',
    )
    .option(
      '--container-runtime-endpoint <endpoint>',
      'socket of the container runtime',
      'unix:///run/containerd/containerd.sock',
    )
    .option('--cni-bin-dir <dir>', 'directory of the CNI plugins', '/opt/cni/bin')
    .option('-o, --output <format>', 'json or text', 'text')
    .action(async (flags: DoctorFlags) => {
      const findings = await examine(systemHost(), {
        runtimeEndpoint: flags.containerRuntimeEndpoint,
        cniBinDir: flags.cniBinDir,
      });
      const canRun = findings.every((f) => f.level !== 'fail');
      console.log(flags.output === 'json' ? JSON.stringify({ canRun, findings }, null, 2) : renderFindings(findings));
      if (!canRun) process.exitCode = 1;
    });
}

/** One line per check, the remedy on a line of its own, and a verdict. */
export function renderFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((f) => f.check.length));
  const lines = findings.flatMap((f) => [
    `${MARKS[f.level]}  ${f.check.padEnd(width)}  ${f.message}`,
    ...(f.remedy === undefined ? [] : [`${' '.repeat(width + 8)}→ ${f.remedy}`]),
  ]);
  const count = (level: Finding['level']): number => findings.filter((f) => f.level === level).length;
  const verdict = count('fail') === 0 ? 'A node can run here' : 'A node cannot run here';
  return [...lines, '', `${verdict}: ${count('fail')} to mend, ${count('warn')} to look at.`].join('\n');
}

function systemHost(): Host {
  return {
    uid: process.getuid?.() ?? -1,
    exec: systemExec,
    programPath: (process.env.PATH ?? '').split(':').filter((dir) => dir !== ''),
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
    askRuntime,
  };
}

/** A healthy runtime answers in milliseconds; a person waits. */
const RUNTIME_TIMEOUT_MS = 5000;

async function askRuntime(endpoint: string): Promise<RuntimeFacts> {
  const connection = connectRuntime({ endpoint, requestTimeoutMs: RUNTIME_TIMEOUT_MS }, () => {}, systemClock);
  try {
    const version = await connection.runtime.version();
    const { status } = await connection.runtime.status(false);
    const ready = status?.conditions.find((c) => c.type === 'RuntimeReady')?.status === true;
    return { name: version.runtimeName, version: version.runtimeVersion, apiVersion: version.runtimeApiVersion, ready };
  } finally {
    connection.close();
  }
}
