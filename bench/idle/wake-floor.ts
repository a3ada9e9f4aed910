// What waking up alone costs on this machine: a Node.js process that does nothing, as often as somebody else wakes up.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSecondsOf } from '../process-facts.ts';

/** From its start until the empty process counts, ms. */
const SETTLE_MS = 3_000;

/** How often the process's main thread has waited for something and gone on; the others hardly ever do. */
export async function wakeUpsOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
}

/** CPU time of an empty process that wakes up so many times a second, % of one core. */
export async function emptyProcessCpuPercent(wakeUpsPerSecond: number, forMs: number, signal: AbortSignal) {
  const everyMs = 1000 / wakeUpsPerSecond;
  const child = spawn(process.execPath, ['-e', `setInterval(() => {}, ${everyMs})`], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  try {
    await sleep(SETTLE_MS, undefined, { signal });
    const before = await cpuSecondsOf(child.pid!);
    await sleep(forMs, undefined, { signal });
    return (((await cpuSecondsOf(child.pid!)) - before) / forMs) * 1e5;
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}
