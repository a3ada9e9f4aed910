// Writes a file that is made anew as a whole from what is in memory: one write at a time, and what changes meanwhile is in
// the next.
import { writeFileAtomic } from '../../host/files.ts';

export class CheckpointWriter {
  readonly #file: string;
  readonly #render: () => string;
  #written: string | undefined;
  #isDirty = false;
  #writing: Promise<void> | undefined;

  constructor(file: string, render: () => string) {
    this.#file = file;
    this.#render = render;
  }

  /** Resolves when everything that had changed by now is in the file. @throws what writing throws; call again. */
  async save(): Promise<void> {
    this.#isDirty = true;
    while (this.#isDirty) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
      await this.#writing;
    }
    await this.#writing;
  }

  async #write(): Promise<void> {
    this.#isDirty = false;
    const text = this.#render();
    if (text === this.#written) return;
    try {
      // Not synced: after a power cut no container runs that could hold a device.
      await writeFileAtomic(this.#file, text, 0o600, { durable: false });
      this.#written = text;
    } catch (err) {
      this.#isDirty = true;
      throw err;
    }
  }
}
