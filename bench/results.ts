// Where results go: one JSON line per run, with the facts of the machine that figures depend on.
import { execFile } from 'node:child_process';
import { appendFile, mkdir } from 'node:fs/promises';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly containerd: string;
  readonly commit: string;
}

export async function machineFacts(): Promise<MachineFacts> {
  const containerd = await firstLine('containerd', ['--version']);
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    containerd: containerd.split(' ')[2] ?? containerd,
    commit: await firstLine('git', ['-C', import.meta.dirname, 'rev-parse', '--short', 'HEAD']),
  };
}

/** Appends to `bench/results/<name>.jsonl`. */
export async function appendResult(name: string, result: object): Promise<string> {
  const file = path.join(import.meta.dirname, 'results', `${name}.jsonl`);
  await mkdir(path.dirname(file), { recursive: true });
  const line = { at: new Date().toISOString(), machine: await machineFacts(), ...result };
  await appendFile(file, `${JSON.stringify(line)}\n`);
  return file;
}

async function firstLine(program: string, args: readonly string[]): Promise<string> {
  try {
    return (await run(program, args)).stdout.split('\n')[0] ?? '';
  } catch {
    return 'unknown'; // a fact that is missing does not spoil the figures
  }
}
