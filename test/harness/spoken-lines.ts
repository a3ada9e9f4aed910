// What a child process of a test says on standard output, one JSON object per line, to be waited for.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const WAIT_MS = 120_000;
/** Also sees that the process has ended, which says nothing more. */
const LOOK_AGAIN_MS = 200;

export class SpokenLines<Line> {
  readonly #child: ChildProcess;
  readonly #lines: Line[] = [];
  /** Resolves when the process has ended. */
  readonly ended: Promise<unknown>;
  #stderr = '';
  #wake: (() => void) | undefined;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.ended = once(child, 'exit');
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.#lines.push(JSON.parse(line) as Line);
      this.#wake?.();
    });
    child.stderr!.on('data', (part: Buffer) => {
      this.#stderr = (this.#stderr + part.toString('utf8')).slice(-4000);
    });
  }

  /** All of them, in order. */
  get all(): readonly Line[] {
    return this.#lines;
  }

  get isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Asked again with every line. @throws when the process ends before, or two minutes have gone; with what it said. */
  async until(good: (lines: readonly Line[]) => boolean, what: string): Promise<void> {
    const endMs = Date.now() + WAIT_MS;
    while (!good(this.#lines)) {
      if (this.isOver || Date.now() > endMs) {
        throw new Error(`waited for ${what} of the plugin; it said ${JSON.stringify(this.#lines)} ${this.#stderr}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_AGAIN_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
