// A line per step with its time; on a terminal, a spinner while the step runs.
import type { Clock } from '../core/clock.ts';

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_MS = 80;

export interface Progress {
  /** Runs `work` under this label, and says how long it took or that it failed. The error goes on to the caller. */
  step<T>(label: string, work: () => Promise<T>): Promise<T>;
  /** A plain line between steps. */
  note(text: string): void;
}

export function createProgress(out: NodeJS.WriteStream, clock: Clock): Progress {
  return out.isTTY ? new TerminalProgress(out, clock) : new PlainProgress(out, clock);
}

/** Says nothing: for commands whose answer is for programs. */
export const silentProgress: Progress = { step: (_label, work) => work(), note: () => {} };

class PlainProgress implements Progress {
  readonly #out: NodeJS.WritableStream;
  readonly #clock: Clock;

  constructor(out: NodeJS.WritableStream, clock: Clock) {
    this.#out = out;
    this.#clock = clock;
  }

  async step<T>(label: string, work: () => Promise<T>): Promise<T> {
    const startMs = this.#clock.monotonicMs();
    try {
      const result = await work();
      this.note(`✓ ${label} (${formatSeconds(this.#clock.monotonicMs() - startMs)})`);
      return result;
    } catch (err) {
      this.note(`✗ ${label} (${formatSeconds(this.#clock.monotonicMs() - startMs)})`);
      throw err;
    }
  }

  note(text: string): void {
    this.#out.write(`${text}\n`);
  }
}

class TerminalProgress extends PlainProgress {
  readonly #terminal: NodeJS.WriteStream;

  constructor(terminal: NodeJS.WriteStream, clock: Clock) {
    super(terminal, clock);
    this.#terminal = terminal;
  }

  override async step<T>(label: string, work: () => Promise<T>): Promise<T> {
    let frame = 0;
    const draw = () => this.#terminal.write(`\r${FRAMES[frame++ % FRAMES.length]} ${label}\u001b[K`);
    draw();
    const timer = setInterval(draw, FRAME_MS);
    return await super.step(label, async () => {
      try {
        return await work();
      } finally {
        clearInterval(timer);
        this.#terminal.write('\r\u001b[K');
      }
    });
  }
}

function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
