// A process that takes over our terminal: it reads and writes where we would.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { notStarted } from './not-started.ts';

/** Ctrl-C reaches it from the terminal as it reaches us, and what that means is its to say. */
const LEFT_TO_IT: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];
/** These may be for us alone: it must not be left running by who ends us. */
const PASSED_ON: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP'];

/**
 * Resolves with the program's exit code, as a shell tells it: 128 and the signal's number when a signal ended it.
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
  child.once('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
  const outlive = () => {};
  const passOn = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const name of LEFT_TO_IT) process.on(name, outlive);
  for (const name of PASSED_ON) process.on(name, passOn);
  try {
    return await promise;
  } finally {
    for (const name of LEFT_TO_IT) process.off(name, outlive);
    for (const name of PASSED_ON) process.off(name, passOn);
  }
}
