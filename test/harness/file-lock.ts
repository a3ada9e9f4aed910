// A lock between processes that the kernel lets go of when its holder dies, however it dies.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Runs `work` while `file` is locked (flock(2)); others that lock the same file wait for its end. */
export async function withFileLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  // flock(1) starts cat only once it has the lock: the first echo says so, and the end of its input gives it back.
  const holder = spawn('flock', [file, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(holder, 'close');
  const echo = new Promise<void>((resolve, reject) => {
    holder.stdout.once('data', () => resolve());
    holder.once('error', reject);
    holder.once('exit', (code) => reject(new Error(`flock ${file} ended with code ${code}`)));
  });
  holder.stdin.write('locked\n');
  await echo;
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await closed;
  }
}
