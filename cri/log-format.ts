// The lines of a container log: `<RFC 3339 time> <stdout|stderr> <tags> <text>`, the first tag P for a part of a longer
// line and F for its end (kubernetes/cri-client pkg/logs).
import { AgentError } from '../core/errors.ts';

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

/** Takes a chunk; resolves when it has room for the next. */
export type LogSink = (chunk: Uint8Array) => Promise<void>;

const SPACE = 0x20;
const NEWLINE = 0x0a;
const LINE_END = Buffer.from('\n');
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/;
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
    const out: Buffer[] = [];
    for (let begin = 0; begin < block.length; ) {
      const newline = block.indexOf(NEWLINE, begin);
      const end = newline < 0 ? block.length : newline;
      const line = block.subarray(begin, end);
      if (!this.#render(line, out) && !this.#recognised && line.length > 0) throw unsupported(line);
      begin = end + 1;
    }
    await this.#write(out);
  }

  /** What stands after the last newline when nothing more will come. */
  async rest(partial: Buffer): Promise<void> {
    const out: Buffer[] = [];
    this.#render(partial, out);
    await this.#write(out);
  }

  /** False for what is not an entry: it is left out, as upstream does. */
  #render(line: Buffer, out: Buffer[]): boolean {
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
    if (timestamps && !this.#continued) out.push(Buffer.from(`${formatLogTime(entry.timestamp)} `));
    out.push(docker?.text ?? line.subarray(entry.textStart));
    if (entry.complete) out.push(LINE_END);
    this.#continued = !entry.complete;
    return true;
  }

  async #write(out: readonly Buffer[]): Promise<void> {
    if (out.length === 0) return;
    const bytes = Buffer.concat(out);
    const chunk = bytes.length > this.#leftBytes ? bytes.subarray(0, this.#leftBytes) : bytes;
    this.#leftBytes -= chunk.length;
    if (chunk.length > 0) await this.#sink(chunk);
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
