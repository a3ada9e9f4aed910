// Cuts a watch stream into its lines, whatever the chunks, and decodes each once.
import type { KubeObject, WatchEvent } from '../api/meta.ts';
import { AgentError } from '../core/errors.ts';

const NEWLINE = 0x0a;

/** Splits bytes at newlines. A line that came in one chunk is a view of that chunk, not a copy. */
export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #partBytes = 0;

  /** `maxBytes` of the longest line that is taken. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that `chunk` completes, without their newline, empty ones left out. @throws {AgentError} LINE_TOO_LONG */
  *push(chunk: Buffer): Generator<Buffer> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      start = end + 1;
      const line = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts, this.#partBytes);
      this.#parts = [];
      this.#partBytes = 0;
      if (line.length > 0) yield line;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
  }

  /** Bytes of a line whose end has not come. */
  get pendingBytes(): number {
    return this.#partBytes;
  }

  #keep(part: Buffer): void {
    this.#partBytes += part.length;
    if (this.#partBytes > this.#maxBytes) {
      throw new AgentError(`the watch sent a line of more than ${this.#maxBytes} bytes`, { code: 'LINE_TOO_LONG' });
    }
    this.#parts.push(part);
  }
}

const EVENT_TYPES = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']);

/** One line of a watch, with managedFields dropped. @throws {AgentError} WATCH_GARBLED */
export function decodeWatchEvent<T extends KubeObject>(line: Buffer): WatchEvent<T> {
  let event: WatchEvent<T>;
  try {
    event = JSON.parse(line.toString('utf8')) as WatchEvent<T>;
  } catch (cause) {
    throw garbled(line, cause);
  }
  const isEvent = typeof event?.object === 'object' && event.object !== null && EVENT_TYPES.has(event.type);
  if (!isEvent) throw garbled(line);
  if (event.type !== 'ERROR') dropManagedFields(event.object);
  return event;
}

/** Who owns which field is half of an object's size and of no use here. Changes `object`, which we decoded ourselves. */
export function dropManagedFields(object: KubeObject): void {
  if (object.metadata?.managedFields !== undefined) delete object.metadata.managedFields;
}

function garbled(line: Buffer, cause?: unknown): AgentError {
  const shown = JSON.stringify(line.toString('utf8', 0, 80));
  return new AgentError(`the watch sent something that is no event: ${shown}`, {
    code: 'WATCH_GARBLED',
    cause,
    retryable: true,
    hint: 'check that the server in the kubeconfig is an API server',
  });
}
