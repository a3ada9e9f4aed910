// A process that takes over our terminal: it reads and writes where we would.
import { spawn } from 'node:child_process';
import { notStarted } from './not-started.ts';

/**
 * Resolves with the program's exit code, 1 when a signal ended it. Signals from the terminal reach it as they reach us.
 * @throws {AgentError} EXEC_NOT_FOUND, EXEC_FAILED
 */
export async function execInherited(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  const child = spawn(program, args, { stdio: 'inherit', env });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.once('error', (cause) => reject(notStarted(program, cause)));
  child.once('close', (code) => resolve(code ?? 1));
  return await promise;
}
