// One file of a container log, read block by block: from the end to find where a tail begins, else forwards.
import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf } from '../core/errors.ts';
import type { LogLineWriter } from './log-format.ts';

const BLOCK_BYTES = 64 * 1024;
/** The runtime cuts lines at 16 KiB; a longer one was not written by it, and its middle is dropped. */
const MAX_LINE_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

export class LogFile implements AsyncDisposable {
  readonly #handle: FileHandle;
  readonly inode: bigint;
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #position = 0;
  #endAt = Number.POSITIVE_INFINITY;
  /** The beginning of a line whose end has not been read yet. */
  #partial: Buffer = Buffer.alloc(0);

  private constructor(handle: FileHandle, inode: bigint) {
    this.#handle = handle;
    this.inode = inode;
  }

  /** Undefined when there is no such file. */
  static async open(file: string): Promise<LogFile | undefined> {
    try {
      const handle = await open(file, 'r');
      return new LogFile(handle, (await handle.stat({ bigint: true })).ino);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return undefined;
      throw err;
    }
  }

  /**
   * Moves to where the last `lines` entries begin; parts of a longer line count like lines. With `fixedEnd` nothing is
   * read that is appended later.
   */
  async seekTail(lines: number, fixedEnd: boolean): Promise<void> {
    const { size } = await this.#handle.stat();
    if (fixedEnd) this.#endAt = size;
    this.#position = size;
    if (lines <= 0) return;
    // The tail begins after the newline that ends the entry before it. The last byte ends the last entry: not counted.
    let wanted = lines;
    for (let end = size - 1; end > 0; ) {
      const start = Math.max(0, end - BLOCK_BYTES);
      const { bytesRead } = await this.#handle.read(this.#block, 0, end - start, start);
      for (let at = bytesRead; at > 0 && wanted > 0; ) {
        at = this.#block.lastIndexOf(NEWLINE, at - 1);
        if (at < 0) break;
        if (--wanted > 0) continue;
        this.#position = start + at + 1;
        return;
      }
      end = start;
    }
    this.#position = 0;
  }

  /** Reads what there is now. False when there was nothing new. */
  async readTo(writer: LogLineWriter, signal: AbortSignal): Promise<boolean> {
    let any = false;
    while (!signal.aborted && !writer.full) {
      const wanted = Math.min(BLOCK_BYTES, this.#endAt - this.#position);
      const { bytesRead } = await this.#handle.read(this.#block, 0, wanted, this.#position);
      if (bytesRead === 0) return any;
      any = true;
      this.#position += bytesRead;
      const lastNewline = this.#block.lastIndexOf(NEWLINE, bytesRead - 1);
      if (lastNewline < 0) {
        if (this.#partial.length < MAX_LINE_BYTES)
          this.#partial = Buffer.concat([this.#partial, this.#block.subarray(0, bytesRead)]);
        continue;
      }
      const whole = Buffer.concat([this.#partial, this.#block.subarray(0, lastNewline + 1)]);
      this.#partial = Buffer.from(this.#block.subarray(lastNewline + 1, bytesRead));
      await writer.lines(whole);
    }
    return any;
  }

  /** Writes what stands after the last newline. For a file to which nothing more will be appended. */
  async finish(writer: LogLineWriter): Promise<void> {
    if (!writer.full) await writer.rest(this.#partial);
    this.#partial = Buffer.alloc(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}
