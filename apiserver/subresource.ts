// How work that is not create, read, update and delete of a stored object plugs into the routes: log, exec, token,
// eviction, binding, reviews.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { KubeObject } from '../api/meta.ts';
import type { RequestInfo } from './request.ts';

export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

interface SubresourceBase {
  readonly group: string;
  readonly version: string;
  /** Plural of the parent, e.g. `pods`. */
  readonly resource: string;
  readonly subresource: string;
  /** Verbs it shows in discovery and accepts (`get`, `create`, `update`, `patch`, `delete`). */
  readonly verbs: readonly string[];
  /** Kind shown in discovery; the parent's when absent. */
  readonly responseKind?: GroupVersionKind;
}

/** Takes an object by POST and answers one: token, eviction, binding. */
export interface ObjectSubresource extends SubresourceBase {
  readonly type: 'object';
  /** `body` is decoded and of `responseKind`. @returns the answer and its HTTP status. @throws {StatusError} */
  create(body: KubeObject, context: CallContext): Promise<{ readonly code: number; readonly object: KubeObject }>;
}

/** Owns the connection: log, exec, attach, portforward, proxy. Authorization has already been given. */
export interface ConnectSubresource extends SubresourceBase {
  readonly type: 'connect';
  /** @throws {StatusError} answered as a Status as long as no header was sent. */
  handle(request: IncomingMessage, response: ServerResponse, context: CallContext): Promise<void>;
  /** For `Connection: Upgrade`. @throws {StatusError} answered as a plain HTTP error as long as nothing was written. */
  upgrade?(request: IncomingMessage, socket: Duplex, head: Buffer, context: CallContext): Promise<void>;
}

export type Subresource = ObjectSubresource | ConnectSubresource;

/** A kind with `create` only, of which nothing is stored: TokenReview, SubjectAccessReview and their like. */
export interface VirtualResource extends GroupVersionKind {
  readonly plural: string;
  readonly namespaced: boolean;
  /** @throws {StatusError} */
  create(body: KubeObject, context: CallContext): Promise<KubeObject>;
}

export interface CallContext {
  readonly info: RequestInfo;
  readonly dryRun: boolean;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
  /** Adds a Warning header to the answer. */
  warn(text: string): void;
}
