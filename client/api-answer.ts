// The beginning of an answer, whatever protocol brought it.
import type { IncomingHttpHeaders } from 'node:http';

export interface ApiAnswer {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  /** Throws when it does not come to its end. Who stops reading ends the call. */
  readonly body: AsyncIterable<Buffer>;
}
