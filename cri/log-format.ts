// The lines of a container log: `<RFC 3339 time> <stdout|stderr> <tags> <text>`, the first tag P for a part of a longer
// line and F for its end (kubernetes/cri-client pkg/logs).
import { AgentError } from '../core/errors.ts';
import { lendBlock, returnBlock } from './blocks.ts';

export interface LogLine {
  readonly timestamp: string;
  readonly stream: 'stdout' | 'stderr';
  /** False: the line goes on in the next entry. */
  readonly complete: boolean;
  /** Offset of the text in the line. */
  readonly textStart: number;
}

export interface LogLineOptions {
  /** Only lines at or after this time, wall ms. */
  readonly sinceMs?: number;
  /** Bytes written at most; what is written then ends in the middle of a line. */
  readonly limitBytes?: number;
  /** Begin each line with its time. */
  readonly timestamps?: boolean;
  readonly stream?: 'stdout' | 'stderr';
}

/** Takes a chunk, whose bytes are another's once it has resolved; resolves when it has room for the next. */
export type LogSink = (chunk: Uint8Array) => Promise<void>;

const SPACE = 0x20;
const NEWLINE = 0x0a;
const OPEN_BRACE = 0x7b;
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/;
/** What a line may get in front beside its text, bytes: a time. */
const MAX_PREFIX_BYTES = 64;
/** How much of a foreign line is shown in the error about it. */
const SHOWN_BYTES = 100;

/** Reads one entry, without its newline. Undefined for what is not one. */
export function parseLogLine(line: Buffer): LogLine | undefined {
  const timeEnd = line.indexOf(SPACE);
  const streamEnd = timeEnd < 0 ? -1 : line.indexOf(SPACE, timeEnd + 1);
  const tagEnd = streamEnd < 0 ? -1 : line.indexOf(SPACE, streamEnd + 1);
  if (tagEnd < 0) return undefined;
  const timestamp = line.toString('latin1', 0, timeEnd);
  const stream = line.toString('latin1', timeEnd + 1, streamEnd);
  const [tag] = line.toString('latin1', streamEnd + 1, tagEnd).split(':');
  if ((stream !== 'stdout' && stream !== 'stderr') || (tag !== 'F' && tag !== 'P')) return undefined;
  if (!TIME.test(timestamp)) return undefined;
  return { timestamp, stream, complete: tag === 'F', textStart: tagEnd + 1 };
}

/** The runtime leaves out zeros at the end of the fraction; users get nine digits, so that columns line up. */
export function formatLogTime(timestamp: string): string {
  const m = TIME.exec(timestamp);
  return m === null ? timestamp : `${m[1]}.${(m[2] ?? '').padEnd(9, '0').slice(0, 9)}${m[3]}`;
}

/** Turns lines of the file into what a reader of the log sees, and stops at the limit. */
export class LogLineWriter {
  readonly #opts: LogLineOptions;
  readonly #sink: LogSink;
  #leftBytes: number;
  #recognised = false;
  #isDocker = false;
  /** Inside a line that came in parts: only its first part gets a time. */
  #continued = false;

  constructor(opts: LogLineOptions, sink: LogSink) {
    this.#opts = opts;
    this.#sink = sink;
    this.#leftBytes = opts.limitBytes ?? Number.POSITIVE_INFINITY;
  }

  get full(): boolean {
    return this.#leftBytes <= 0;
  }

  /** Whole lines, each with its newline. @throws {AgentError} LOG_FORMAT when the first is not of a container log. */
  async lines(block: Buffer): Promise<void> {
    const out = new Output((bytes) => this.#write(bytes));
    try {
      for (let begin = 0; begin < block.length && !this.full; ) {
        const newline = block.indexOf(NEWLINE, begin);
        const end = newline < 0 ? block.length : newline;
        const line = block.subarray(begin, end);
        const roomBytes = roomFor(line);
        if (!out.hasRoom(roomBytes)) await out.makeRoom(roomBytes);
        if (!this.#render(line, out) && !this.#recognised && line.length > 0) throw unsupported(line);
        begin = end + 1;
      }
      await out.flush();
    } finally {
      out.end();
    }
  }

  /** What stands after the last newline when nothing more will come. Like a line, but what is not one is no error. */
  async rest(partial: Buffer): Promise<void> {
    const out = new Output((bytes) => this.#write(bytes));
    try {
      await out.makeRoom(roomFor(partial));
      this.#render(partial, out);
      await out.flush();
    } finally {
      out.end();
    }
  }

  /** False for what is not an entry: it is left out, as upstream does. */
  #render(line: Buffer, out: Output): boolean {
    const cri = this.#isDocker ? undefined : parseLogLine(line);
    // The first line that is one decides which of the two formats the log has.
    const docker = cri === undefined && (this.#isDocker || !this.#recognised) ? parseDockerLine(line) : undefined;
    const entry = cri ?? docker?.entry;
    if (entry === undefined) return false;
    this.#recognised = true;
    this.#isDocker = docker !== undefined;
    const { sinceMs, stream, timestamps } = this.#opts;
    if (stream !== undefined && entry.stream !== stream) return true;
    if (sinceMs !== undefined && Date.parse(entry.timestamp) < sinceMs) return true;
    if (timestamps && !this.#continued) out.text(`${formatLogTime(entry.timestamp)} `);
    if (docker === undefined) out.bytes(line, entry.textStart);
    else out.bytes(docker.text, 0);
    if (entry.complete) out.text('\n');
    this.#continued = !entry.complete;
    return true;
  }

  async #write(bytes: Buffer): Promise<void> {
    const chunk = bytes.length > this.#leftBytes ? bytes.subarray(0, this.#leftBytes) : bytes;
    this.#leftBytes -= chunk.length;
    if (chunk.length > 0) await this.#sink(chunk);
  }
}

/** What a line may become: JSON is decoded, and each byte that is no UTF-8 turns into three. */
function roomFor(line: Buffer): number {
  return (line[0] === OPEN_BRACE ? 3 * line.length : line.length) + MAX_PREFIX_BYTES;
}

/** What is gathered for the sink, in one block that is written over and over. */
class Output {
  #block = lendBlock();
  #used = 0;
  readonly #write: (bytes: Buffer) => Promise<void>;

  constructor(write: (bytes: Buffer) => Promise<void>) {
    this.#write = write;
  }

  hasRoom(bytes: number): boolean {
    return this.#used + bytes <= this.#block.length;
  }

  async makeRoom(bytes: number): Promise<void> {
    await this.flush();
    if (bytes <= this.#block.length) return;
    returnBlock(this.#block);
    this.#block = Buffer.allocUnsafeSlow(bytes);
  }

  text(text: string): void {
    this.#used += this.#block.write(text, this.#used, 'latin1');
  }

  bytes(bytes: Buffer, from: number): void {
    this.#used += bytes.copy(this.#block, this.#used, from);
  }

  async flush(): Promise<void> {
    if (this.#used > 0) await this.#write(this.#block.subarray(0, this.#used));
    this.#used = 0;
  }

  end(): void {
    returnBlock(this.#block);
  }
}

/** A line of Docker's json-file format, as containers of cri-dockerd have it. Undefined for what is not one. */
function parseDockerLine(line: Buffer): { readonly entry: LogLine; readonly text: Buffer } | undefined {
  try {
    const { log, stream, time } = JSON.parse(line.toString('utf8')) as Readonly<Record<string, unknown>>;
    if (typeof log !== 'string' || typeof time !== 'string' || !TIME.test(time)) return undefined;
    const complete = log.endsWith('\n');
    const text = Buffer.from(complete ? log.slice(0, -1) : log);
    return {
      text,
      entry: { timestamp: time, stream: stream === 'stderr' ? 'stderr' : 'stdout', complete, textStart: 0 },
    };
  } catch {
    return undefined; // not JSON, or not an object
  }
}

function unsupported(line: Buffer): AgentError {
  const shown = JSON.stringify(line.toString('utf8', 0, SHOWN_BYTES));
  return new AgentError(`unsupported log format: ${shown}`, { code: 'LOG_FORMAT' });
}
