// One command that has to be quick: its next process is started as soon as the last one has ended, and waits for its
// input. To start a process out of a large one and to load its libraries takes as long as some of what it is to do.
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { conversation, type Exec, startProcess } from './exec.ts';

export interface Command {
  /** Must do nothing before it has read its input, and end at the end of it: so it ends with this process, too. */
  readonly program: string;
  readonly args: readonly string[];
}

/** Runs of any other command go to `others`. Dispose ends the process that waits. */
export class ReadyExec implements Disposable {
  readonly #command: Command;
  readonly #others: Exec;
  #waiting: ChildProcessWithoutNullStreams | undefined;
  #isDisposed = false;

  constructor(command: Command, others: Exec) {
    this.#command = command;
    this.#others = others;
  }

  readonly exec: Exec = async (program, args, opts = {}) => {
    if (!this.#isIt(program, args) || opts.env !== undefined || opts.cwd !== undefined) {
      return await this.#others(program, args, opts);
    }
    try {
      return await conversation(this.#take() ?? startProcess(program, args), opts);
    } finally {
      this.#prepare();
    }
  };

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#waiting?.stdin.end();
    this.#waiting = undefined;
  }

  #isIt(program: string, args: readonly string[]): boolean {
    const { program: own, args: ownArgs } = this.#command;
    return program === own && args.length === ownArgs.length && args.every((arg, i) => arg === ownArgs[i]);
  }

  /** Undefined when there is none, or somebody ended it. */
  #take(): ChildProcessWithoutNullStreams | undefined {
    const child = this.#waiting;
    this.#waiting = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return undefined;
    child.removeAllListeners('error');
    keepAlive(child, true);
    return child;
  }

  /** Undefined when there is no descriptor left for it: the next run says so, if that is so still. */
  #start(): ChildProcessWithoutNullStreams | undefined {
    try {
      return startProcess(this.#command.program, this.#command.args);
    } catch {
      return undefined;
    }
  }

  #prepare(): void {
    if (this.#isDisposed || this.#waiting !== undefined) return;
    const child = this.#start();
    if (child === undefined) return;
    child.once('error', () => {
      if (this.#waiting === child) this.#waiting = undefined; // the next run says why it cannot be started
    });
    child.stdin.once('error', () => {}); // it was ended while it waited
    keepAlive(child, false);
    this.#waiting = child;
  }
}

/** Whether this process stays for the other's sake. */
function keepAlive(child: ChildProcessWithoutNullStreams, yes: boolean): void {
  for (const handle of [child, child.stdin, child.stdout, child.stderr] as { ref(): void; unref(): void }[]) {
    if (yes) handle.ref();
    else handle.unref();
  }
}
