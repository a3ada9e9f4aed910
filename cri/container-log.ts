// Container logs as `kubectl logs` shows them: the whole, a tail, what comes. Followed over rotation, in which the file
// is renamed and made anew; never held in memory as a whole. After kubernetes/cri-client pkg/logs.
import { watch } from 'node:fs';
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { linkedSignal } from '../core/abort.ts';
import { errnoOf } from '../core/errors.ts';
import { LogFile } from './log-file.ts';
import { type LogLineOptions, LogLineWriter, type LogSink } from './log-format.ts';

export type { LogSink };

export interface ContainerLogOptions extends LogLineOptions {
  /** Entries from the end; all when absent. */
  readonly tailLines?: number;
  /** Wait for more until `ended` resolves. */
  readonly follow?: boolean;
}

export interface ContainerLogControl {
  readonly signal: AbortSignal;
  /** Resolves when the container has ended: what is in the file then is all. Must not reject. */
  readonly ended?: Promise<void>;
}

/**
 * Writes the log to `sink`. With `follow` it goes on until `ended` has resolved and all is written, the limit is
 * reached, or `signal` aborts. A file that is missing reads as empty; with `follow` it is waited for.
 * @throws {AgentError} LOG_FORMAT when the file is not a container log. What `sink` throws.
 */
export async function streamContainerLog(
  file: string,
  opts: ContainerLogOptions,
  sink: LogSink,
  control: ContainerLogControl,
): Promise<void> {
  const target = await resolveLink(file);
  const writer = new LogLineWriter(opts, sink);
  if (opts.follow) {
    await followLog(target, opts, writer, control);
    return;
  }
  await using log = await LogFile.open(target);
  if (log === undefined) return;
  if (opts.tailLines !== undefined) await log.seekTail(opts.tailLines, true);
  await log.readTo(writer, control.signal);
  if (!control.signal.aborted) await log.finish(writer);
}

async function followLog(
  file: string,
  opts: ContainerLogOptions,
  writer: LogLineWriter,
  control: ContainerLogControl,
): Promise<void> {
  const { signal } = control;
  using changes = new Changes(file, control);
  let log = await LogFile.open(file);
  try {
    if (opts.tailLines !== undefined) await log?.seekTail(opts.tailLines, false);
    while (!signal.aborted && !writer.full) {
      const last = changes.ended; // before reading: what was written until then is in the file
      if (await log?.readTo(writer, signal)) continue;
      const next = await successor(file, log);
      if (next !== undefined) {
        await using old = log;
        log = next; // closed in the end, also when who reads has gone meanwhile
        // Between our last read and the rotation the old file may have got more; from now on it gets nothing.
        await old?.readTo(writer, signal);
        await old?.finish(writer);
      } else if (last) {
        break;
      } else {
        await changes.next();
      }
    }
    if (!signal.aborted) await log?.finish(writer);
  } finally {
    await log?.[Symbol.asyncDispose]();
  }
}

/** The new file when `file` is another one than `current` by now. */
async function successor(file: string, current: LogFile | undefined): Promise<LogFile | undefined> {
  const next = await LogFile.open(file);
  if (next === undefined || next.inode !== current?.inode) return next;
  await next[Symbol.asyncDispose]();
  return undefined;
}

/** Rotation happens where the file really is. */
async function resolveLink(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return file;
    throw err;
  }
}

/** Tells when a followed log may have more: its directory is watched, so that a file made anew is seen, too. */
class Changes implements Disposable {
  readonly #linked;
  #news = Promise.withResolvers<void>();
  ended = false;

  constructor(file: string, control: ContainerLogControl) {
    this.#linked = linkedSignal(control.signal);
    const tell = () => this.#news.resolve();
    const end = () => {
      this.ended = true;
      tell();
    };
    this.#linked.signal.addEventListener('abort', tell, { once: true });
    void control.ended?.then(end);
    const watcher = watch(path.dirname(file), { signal: this.#linked.signal });
    watcher.on('change', tell);
    watcher.on('error', end); // the directory is gone, and the log with it
  }

  /** Resolves at the next change, at once when there was one since the last call. */
  async next(): Promise<void> {
    if (!this.#linked.signal.aborted) await this.#news.promise;
    this.#news = Promise.withResolvers<void>();
  }

  [Symbol.dispose](): void {
    this.#linked.abort();
    this.#linked[Symbol.dispose]();
  }
}

/** The last entries of a log without times: at most `maxLines` and, counted from the end, `maxBytes`. '' when there are none. */
export async function tailLog(file: string, maxLines: number, maxBytes: number): Promise<string> {
  let tail = Buffer.alloc(0);
  const keepEnd = async (chunk: Uint8Array): Promise<void> => {
    tail = Buffer.concat([tail, chunk]).subarray(-maxBytes);
  };
  await streamContainerLog(file, { tailLines: maxLines }, keepEnd, { signal: new AbortController().signal });
  return tail.toString('utf8');
}
