// Writes a file that is made anew as a whole from what is in memory: one write at a time, and what changes meanwhile is in
// the next.
import { writeFileAtomic } from '../host/files.ts';

export interface CheckpointOptions {
  /** The file is synced. It costs pods that start a wait for the disk, so only where a power cut would do harm. */
  readonly durable: boolean;
  /** What is in the file already, where that is known. */
  readonly stored?: string;
}

export class CheckpointWriter {
  readonly #file: string;
  readonly #render: () => string;
  readonly #durable: boolean;
  #written: string | undefined;
  #isDirty = false;
  #writing: Promise<void> | undefined;

  constructor(file: string, render: () => string, { durable, stored }: CheckpointOptions) {
    this.#file = file;
    this.#render = render;
    this.#durable = durable;
    this.#written = stored;
  }

  /** Something changed that the next `flush` is to write. */
  markChanged(): void {
    this.#isDirty = true;
  }

  /** Resolves when everything that was marked by now is in the file. @throws what writing throws; call again. */
  async flush(): Promise<void> {
    while (this.#isDirty) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
      await this.#writing;
    }
    await this.#writing;
  }

  /** `markChanged` and `flush`. */
  async save(): Promise<void> {
    this.markChanged();
    await this.flush();
  }

  async #write(): Promise<void> {
    this.#isDirty = false; // what is marked from here on is for the next write
    const text = this.#render();
    if (text === this.#written) return;
    try {
      await writeFileAtomic(this.#file, text, 0o600, { durable: this.#durable });
      this.#written = text;
    } catch (err) {
      this.#isDirty = true;
      throw err;
    }
  }
}
