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

/** All steps that run share one line, redrawn by one timer. */
class TerminalProgress extends PlainProgress {
  readonly #terminal: NodeJS.WriteStream;
  readonly #running: string[] = [];
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(terminal: NodeJS.WriteStream, clock: Clock) {
    super(terminal, clock);
    this.#terminal = terminal;
  }

  override async step<T>(label: string, work: () => Promise<T>): Promise<T> {
    this.#running.push(label);
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS);
    this.#draw();
    return await super.step(label, async () => {
      try {
        return await work();
      } finally {
        this.#running.splice(this.#running.indexOf(label), 1);
        if (this.#running.length === 0) {
          clearInterval(this.#timer);
          this.#timer = undefined;
        }
      }
    });
  }

  override note(text: string): void {
    this.#terminal.write('\r\u001b[K');
    super.note(text);
    this.#draw();
  }

  #draw(): void {
    if (this.#running.length === 0) return;
    const line = `${FRAMES[this.#frame++ % FRAMES.length]} ${this.#running.join(', ')}`;
    const columns = this.#terminal.columns || 80;
    // A line that wraps could not be drawn over.
    this.#terminal.write(`\r${line.slice(0, columns - 1)}\u001b[K`);
  }
}

function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
