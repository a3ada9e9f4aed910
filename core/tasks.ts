// Long tasks of a program that live and end together.
import { linkedSignal } from './abort.ts';
import { AgentError, errorMessage } from './errors.ts';

export type Task = (signal: AbortSignal) => Promise<void>;

/**
 * Runs `tasks` until `signal` aborts. When one of them ends early or throws, the others are aborted and awaited, and
 * the promise rejects with an error that names the task.
 * @throws {AgentError} TASK_ENDED when a task returned before `signal` aborted; TASK_FAILED (cause kept) when it threw.
 */
export async function runTasks(signal: AbortSignal, tasks: Readonly<Record<string, Task>>): Promise<void> {
  using group = linkedSignal(signal);
  let first: AgentError | undefined;
  const run = async (name: string, task: Task): Promise<void> => {
    try {
      await task(group.signal);
      if (!group.signal.aborted) first ??= new AgentError(`task ${name} ended early`, { code: 'TASK_ENDED' });
    } catch (cause) {
      if (!group.signal.aborted || !isAbort(cause)) {
        first ??= new AgentError(`task ${name} failed: ${errorMessage(cause)}`, { code: 'TASK_FAILED', cause });
      }
    } finally {
      group.abort();
    }
  };
  await Promise.all(Object.entries(tasks).map(([name, task]) => run(name, task)));
  if (first !== undefined) throw first;
}

function isAbort(err: unknown): boolean {
  return err instanceof Error && (err.name === 'AbortError' || err.name === 'TimeoutError');
}
