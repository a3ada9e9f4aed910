import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Endpoint } from './registry/registry.ts';
import type { RequestInfo } from './request.ts';
import type { Warnings } from './responses.ts';

/** One request, with what its handlers share. */
export interface ResourceCall {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly info: RequestInfo;
  readonly endpoint: Endpoint;
  readonly warnings: Warnings;
}
