// Container logs as the runtime writes them: `<RFC 3339 time> <stdout|stderr> <P|F> <text>` per line, P for a part of a
// longer line (pkg/kubelet/kuberuntime/logs). Read from the end for a tail, forwards otherwise, and followed over
// rotation; never held in memory as a whole.

import { once } from 'node:events';
import { watch } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { linkedSignal } from '../core/abort.ts';
import { errnoOf } from '../core/errors.ts';

const BLOCK_BYTES = 64 * 1024;
/** The runtime cuts lines at 16 KiB; a longer one was not written by it, and its end is dropped. */
const MAX_LINE_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

export interface ContainerLogOptions {
  /** Lines from the end; all when absent. */
  readonly tailLines?: number;
  /** Only lines at or after this time, wall ms. */
  readonly sinceMs?: number;
  /** Bytes written at most. */
  readonly limitBytes?: number;
  /** Begin each line with its time. */
  readonly timestamps?: boolean;
  readonly stream?: 'stdout' | 'stderr';
  /** Wait for more until `ended` resolves. */
  readonly follow?: boolean;
}

/** Takes a chunk; resolves when it has room for the next. */
export type LogSink = (chunk: Uint8Array) => Promise<void>;

export interface LogLine {
  readonly timestamp: string;
  readonly stream: 'stdout' | 'stderr';
  /** False: the line goes on in the next entry. */
  readonly complete: boolean;
  /** Offset of the text in the line. */
  readonly textStart: number;
}

/** Reads one entry, without its newline. Undefined for what is not one: it is shown as it is. */
export function parseLogLine(line: Uint8Array): LogLine | undefined {
  const timeEnd = line.indexOf(0x20);
  const streamEnd = timeEnd < 0 ? -1 : line.indexOf(0x20, timeEnd + 1);
  const tagEnd = streamEnd < 0 ? -1 : line.indexOf(0x20, streamEnd + 1);
  if (tagEnd < 0) return undefined;
  const text = (from: number, to: number): string =>
    Buffer.from(line.buffer, line.byteOffset + from, to - from).toString('latin1');
  const stream = text(timeEnd + 1, streamEnd);
  const tags = text(streamEnd + 1, tagEnd).split(':');
  if ((stream !== 'stdout' && stream !== 'stderr') || (tags[0] !== 'F' && tags[0] !== 'P')) return undefined;
  return { timestamp: text(0, timeEnd), stream, complete: tags[0] === 'F', textStart: tagEnd + 1 };
}

/**
 * Writes the log to `sink` as `kubectl logs` shows it. With `follow` it goes on until `ended` has resolved and all is
 * written, the limit is reached, or `signal` aborts. A file that is missing reads as empty; with `follow` it is waited for.
 */
export async function streamContainerLog(
  file: string,
  opts: ContainerLogOptions,
  sink: LogSink,
  control: { readonly signal: AbortSignal; readonly ended?: Promise<void> },
): Promise<void> {
  const writer = new LineWriter(opts, sink);
  using follower = opts.follow ? new Follower(file, control) : undefined;
  let reader = await LogFile.open(file);
  try {
    if (reader !== undefined && opts.tailLines !== undefined) await reader.seekTail(opts.tailLines);
    while (!control.signal.aborted && !writer.full) {
      const last = follower === undefined || follower.ended; // before reading: what came until then is in the file
      if (reader !== undefined && (await reader.readTo(writer, control.signal))) continue;
      const rotated: LogFile | undefined = follower === undefined ? undefined : await successor(file, reader);
      if (rotated !== undefined) {
        await reader?.close();
        reader = rotated;
        continue;
      }
      if (last) break;
      await follower!.change();
    }
    if (reader !== undefined && !writer.full) await writer.rest(reader.takePartial());
  } finally {
    await reader?.close();
  }
}

/** The new file when `file` is another one than `current` by now: the runtime reopens its log after a rotation. */
async function successor(file: string, current: LogFile | undefined): Promise<LogFile | undefined> {
  const next = await LogFile.open(file);
  if (next === undefined) return undefined;
  if (current !== undefined && next.inode === current.inode) {
    await next.close();
    return undefined;
  }
  return next;
}

class LogFile {
  readonly #handle: FileHandle;
  readonly inode: bigint;
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #position = 0;
  /** The beginning of a line whose end has not been read yet. */
  #partial: Buffer = Buffer.alloc(0);

  private constructor(handle: FileHandle, inode: bigint) {
    this.#handle = handle;
    this.inode = inode;
  }

  static async open(file: string): Promise<LogFile | undefined> {
    try {
      const handle = await open(file, 'r');
      return new LogFile(handle, (await handle.stat({ bigint: true })).ino);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return undefined;
      throw err;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  takePartial(): Buffer {
    const partial = this.#partial;
    this.#partial = Buffer.alloc(0);
    return partial;
  }

  /** Reads what there is now. False when there was nothing new. */
  async readTo(writer: LineWriter, signal: AbortSignal): Promise<boolean> {
    let any = false;
    while (!signal.aborted && !writer.full) {
      const { bytesRead } = await this.#handle.read(this.#block, 0, BLOCK_BYTES, this.#position);
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

  /** Moves to where the last `lines` lines begin, reading blocks from the end. A line in parts counts once. */
  async seekTail(lines: number): Promise<void> {
    const { size } = await this.#handle.stat();
    if (lines <= 0) {
      this.#position = size;
      return;
    }
    let found = 0;
    let carry: Buffer = Buffer.alloc(0);
    for (let end = size; end > 0; ) {
      const start = Math.max(0, end - BLOCK_BYTES);
      const block = Buffer.allocUnsafe(end - start);
      const { bytesRead } = await this.#handle.read(block, 0, block.length, start);
      const text = Buffer.concat([block.subarray(0, bytesRead), carry]);
      const first = start === 0 ? 0 : text.indexOf(NEWLINE) + 1;
      if (start > 0 && first === 0) {
        carry = text.length > MAX_LINE_BYTES ? text.subarray(0, MAX_LINE_BYTES) : text; // one line longer than a block
        end = start;
        continue;
      }
      const at = countBack(text, first, lines, (n) => (found += n));
      if (at !== undefined) {
        this.#position = start + at;
        return;
      }
      carry = Buffer.from(text.subarray(0, first));
      end = start;
    }
    this.#position = 0;

    function countBack(text: Buffer, first: number, wanted: number, add: (n: number) => number): number | undefined {
      let end = text.length;
      if (end > first && text[end - 1] === NEWLINE) end--;
      while (end > first) {
        const begin = Math.max(first, text.lastIndexOf(NEWLINE, end - 1) + 1);
        const isPart = parseLogLine(text.subarray(begin, end))?.complete === false;
        // A part belongs to the line after it: the tail begins where the first line's first part does.
        if (!isPart && add(1) > wanted) return end + 1;
        end = begin - 1;
      }
      return undefined;
    }
  }
}

class LineWriter {
  readonly #opts: ContainerLogOptions;
  readonly #sink: LogSink;
  #left: number;
  /** Inside a line that came in parts: only its first part gets a time. */
  #continued = false;

  constructor(opts: ContainerLogOptions, sink: LogSink) {
    this.#opts = opts;
    this.#sink = sink;
    this.#left = opts.limitBytes ?? Number.POSITIVE_INFINITY;
  }

  get full(): boolean {
    return this.#left <= 0;
  }

  /** Whole lines, each with its newline. */
  async lines(block: Buffer): Promise<void> {
    const out: Buffer[] = [];
    for (let begin = 0; begin < block.length; ) {
      const newline = block.indexOf(NEWLINE, begin);
      const end = newline < 0 ? block.length : newline;
      this.#render(block.subarray(begin, end), out);
      begin = end + 1;
    }
    await this.#write(out);
  }

  /** What stands after the last newline when nothing more will come. */
  async rest(partial: Buffer): Promise<void> {
    if (partial.length === 0) return;
    const out: Buffer[] = [];
    this.#render(partial, out);
    await this.#write(out);
  }

  #render(line: Buffer, out: Buffer[]): void {
    if (line.length === 0) return;
    const entry = parseLogLine(line);
    if (entry === undefined) {
      out.push(line, LINE_END);
      return;
    }
    const { sinceMs, stream, timestamps } = this.#opts;
    if (stream !== undefined && entry.stream !== stream) return;
    if (sinceMs !== undefined && Date.parse(entry.timestamp) < sinceMs) return;
    if (timestamps && !this.#continued) out.push(Buffer.from(`${entry.timestamp} `));
    out.push(line.subarray(entry.textStart));
    if (entry.complete) out.push(LINE_END);
    this.#continued = !entry.complete;
  }

  async #write(out: readonly Buffer[]): Promise<void> {
    if (out.length === 0) return;
    const bytes = Buffer.concat(out);
    const chunk = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    this.#left -= chunk.length;
    if (chunk.length > 0) await this.#sink(chunk);
  }
}

const LINE_END = Buffer.from('\n');

/** Tells when a followed log may have more: its directory is watched, so that a file made anew is seen, too. */
class Follower implements Disposable {
  readonly #signal;
  #changed = Promise.withResolvers<void>();
  #pending = false;
  ended = false;

  constructor(file: string, control: { readonly signal: AbortSignal; readonly ended?: Promise<void> }) {
    this.#signal = linkedSignal(control.signal);
    const wake = () => {
      this.#pending = true;
      this.#changed.resolve();
    };
    this.#signal.signal.addEventListener('abort', wake, { once: true });
    void control.ended?.then(() => {
      this.ended = true;
      wake();
    });
    const watcher = watch(path.dirname(file), { signal: this.#signal.signal });
    watcher.on('change', wake);
    watcher.on('error', () => {
      this.ended = true; // the directory is gone, and the log with it
      wake();
    });
    void once(watcher, 'close').catch(() => {});
  }

  /** Resolves at the next change, at once when there was one since the last call. */
  async change(): Promise<void> {
    if (!this.#pending && !this.#signal.signal.aborted) await this.#changed.promise;
    this.#pending = false;
    this.#changed = Promise.withResolvers<void>();
  }

  [Symbol.dispose](): void {
    this.#signal.abort();
    this.#signal[Symbol.dispose]();
  }
}

/** The last lines of a log without times: at most `maxLines` and, counted from the end, `maxBytes`. '' when there is none. */
export async function tailLog(file: string, maxLines: number, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  const signal = new AbortController().signal;
  await streamContainerLog(file, { tailLines: maxLines }, async (chunk) => void chunks.push(Buffer.from(chunk)), {
    signal,
  });
  const all = Buffer.concat(chunks);
  return all.subarray(Math.max(0, all.length - maxBytes)).toString('utf8');
}
