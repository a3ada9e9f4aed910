// One file of a container log, read block by block: from the end to find where a tail begins, else forwards.
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { AgentError, errnoOf } from '../core/errors.ts';
import { BLOCK_BYTES, lendBlock, returnBlock } from './blocks.ts';
import type { LogLineWriter } from './log-format.ts';

/** The runtime cuts lines at 16 KiB; a longer one was not written by it, and its middle is dropped. */
const MAX_LINE_BYTES = 256 * 1024;
const NEWLINE = 0x0a;
/** Pods that may write to the log directory could put anything there: to open a FIFO must not hold up a thread for ever. */
const LOOK = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

export class LogFile implements AsyncDisposable {
  readonly #handle: FileHandle;
  readonly inode: bigint;
  #position = 0;
  #endAt = Number.POSITIVE_INFINITY;
  /** The beginning of a line whose end has not been read yet. */
  #partial: Buffer = Buffer.alloc(0);

  private constructor(handle: FileHandle, inode: bigint) {
    this.#handle = handle;
    this.inode = inode;
  }

  /** Undefined when there is no such file. @throws {AgentError} LOG_FORMAT for a FIFO, a device, a directory. */
  static async open(file: string): Promise<LogFile | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(file, LOOK);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return undefined;
      throw err;
    }
    try {
      const stats = await handle.stat({ bigint: true });
      if (!stats.isFile()) throw new AgentError(`${file} is not a regular file`, { code: 'LOG_FORMAT' });
      return new LogFile(handle, stats.ino);
    } catch (err) {
      await handle.close();
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
    const block = lendBlock();
    try {
      this.#position = await this.#startOfTail(lines, size - 1, block);
    } finally {
      returnBlock(block);
    }
  }

  async #startOfTail(lines: number, before: number, block: Buffer): Promise<number> {
    let wanted = lines;
    for (let end = before; end > 0; ) {
      const start = Math.max(0, end - BLOCK_BYTES);
      const { bytesRead } = await this.#handle.read(block, 0, end - start, start);
      for (let at = bytesRead; at > 0; ) {
        at = block.lastIndexOf(NEWLINE, at - 1);
        if (at < 0) break;
        if (--wanted === 0) return start + at + 1;
      }
      end = start;
    }
    return 0;
  }

  /** Reads what there is now. False when there was nothing new. */
  async readTo(writer: LogLineWriter, signal: AbortSignal): Promise<boolean> {
    // The beginning of a line that is still to be ended stands before what is read next.
    let block = this.#blockAfter(this.#partial.length);
    let held = this.#partial.copy(block);
    let any = false;
    try {
      while (!signal.aborted && !writer.full) {
        const wanted = Math.min(block.length - held, this.#endAt - this.#position);
        const { bytesRead } = await this.#handle.read(block, held, wanted, this.#position);
        if (bytesRead === 0) return any;
        any = true;
        this.#position += bytesRead;
        const end = held + bytesRead;
        const lineEnd = block.lastIndexOf(NEWLINE, end - 1) + 1;
        if (lineEnd > 0) {
          await writer.lines(block.subarray(0, lineEnd));
          held = block.copy(block, 0, lineEnd, end);
        } else {
          held = Math.min(end, MAX_LINE_BYTES);
          if (held < block.length) continue;
          const larger = this.#blockAfter(held);
          block.copy(larger);
          block = larger;
        }
      }
      return any;
    } finally {
      this.#partial = Buffer.from(block.subarray(0, held));
      returnBlock(block);
    }
  }

  /** Room to read something behind `held` bytes. */
  #blockAfter(held: number): Buffer {
    return held < BLOCK_BYTES / 2 ? lendBlock() : Buffer.allocUnsafeSlow(held + BLOCK_BYTES);
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
