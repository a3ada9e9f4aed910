// What the kernel keeps for this process: open files, and its score when memory runs out.
import { readFile, writeFile } from 'node:fs/promises';
import { AgentError, errorMessage } from '../core/errors.ts';
import type { Exec } from './exec.ts';

/** Sets both limits (soft and hard) of open files. @throws {AgentError} LIMIT_REFUSED */
export async function setOpenFiles(count: number, exec: Exec, proc = '/proc/self'): Promise<void> {
  if (parseOpenFiles(await readFile(`${proc}/limits`, 'utf8')).every((limit) => limit === count)) return;
  // Node.js has no setrlimit; prlimit(1) is part of util-linux.
  const args = ['--pid', String(process.pid), `--nofile=${count}:${count}`];
  const { code, stderr } = await exec('prlimit', args, { timeoutMs: 10_000 });
  if (code === 0) return;
  throw new AgentError(`cannot allow ${count} open files: ${stderr.trim()}`, { code: 'LIMIT_REFUSED' });
}

/** Soft and hard limit as /proc/PID/limits has them; Infinity for `unlimited`. */
export function parseOpenFiles(limits: string): number[] {
  const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(limits) ?? [];
  return [soft, hard].map((text) => (text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text)));
}

/** From -1000 (never killed) to 1000; children inherit it. @throws {AgentError} LIMIT_REFUSED */
export async function setOomScore(score: number, proc = '/proc/self'): Promise<void> {
  try {
    const current = Number(await readFile(`${proc}/oom_score_adj`, 'utf8'));
    if (current !== score) await writeFile(`${proc}/oom_score_adj`, String(score));
  } catch (cause) {
    throw new AgentError(`cannot set the score for when memory runs out to ${score}: ${errorMessage(cause)}`, {
      code: 'LIMIT_REFUSED',
      cause,
    });
  }
}
