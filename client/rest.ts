// The Kubernetes API over HTTP(S): JSON in and out, typed errors, watches as async iterables.
import type { KubeList, KubeObject, ObjectName, WatchEvent } from '../api/meta.ts';
import { apiVersionOf, type ResourceType, resourcePath } from '../api/resources.ts';
import { type LinkedSignal, linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type {
  ApiClient,
  CallOptions,
  DeleteOptions,
  ListOptions,
  Patch,
  WatchOptions,
  WriteOptions,
} from './api-client.ts';
import { Credentials } from './credentials.ts';
import { connectionError } from './errors.ts';
import type { RunPlugin } from './exec-credential.ts';
import type { ClientConfig } from './kubeconfig.ts';
import { TokenBucket } from './token-bucket.ts';
import { type RequestObserver, Transport } from './transport.ts';
import { decodeWatchEvent, dropManagedFields, LineSplitter } from './watch-decoder.ts';

export interface RestClientOptions {
  /** `nodelet/0.1.0 (linux/amd64)`; the part before `/` is the field manager the server records. */
  readonly userAgent: string;
  /** Requests per second on average, and at once; unlimited when absent. Watches count once. */
  readonly limit?: { readonly qps: number; readonly burst: number };
  /** Deadline of calls that give none, ms; none when absent. Watches have their own. */
  readonly timeoutMs?: number;
  /** How long the answer to a watch may take to begin, ms. Default 60,000; its events may take as long as they like. */
  readonly watchOpenMs?: number;
  /** How long a new connection may take to stand, TLS included, ms. Default 15,000. */
  readonly connectMs?: number;
  /** Largest answer, or event, taken into memory, bytes. Default 256 MiB. */
  readonly maxBodyBytes?: number;
  readonly observe?: RequestObserver;
}

export interface RawOptions extends CallOptions {
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as it is when a Buffer or string, else as JSON. */
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
}

export interface RawResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/**
 * Of an event as well: one object that a list brings and no watch takes would break off each watch at it, for ever, and
 * what follows would be missed.
 */
const DEFAULT_MAX_BODY_BYTES = 256 << 20;
/** What API servers allow calls before they cancel them: who has not answered by then is gone. */
const WATCH_OPEN_MS = 60_000;
/** A server that keeps a watch open this much longer than asked is gone, ms. */
const WATCH_GRACE_MS = 30_000;
const PATCH_TYPES: Readonly<Record<Patch['type'], string>> = {
  strategic: 'application/strategic-merge-patch+json',
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
};

type StreamRequest = Parameters<Transport['stream']>[0];
type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export class RestClient implements ApiClient {
  readonly #transport: Transport;
  readonly #maxBodyBytes: number;
  readonly #timeoutMs: number | undefined;
  readonly #watchOpenMs: number;
  /** Ends each open watch. */
  readonly #watches = new Set<() => void>();

  constructor(
    config: ClientConfig,
    opts: RestClientOptions,
    deps: { clock: Clock; log: Logger; runPlugin?: RunPlugin },
  ) {
    const { clock } = deps;
    const limiter = opts.limit === undefined ? undefined : new TokenBucket(opts.limit, { clock });
    const credentials = new Credentials(config, deps);
    const log = deps.log.child({ component: 'api-client' });
    const { userAgent, maxBodyBytes = DEFAULT_MAX_BODY_BYTES, connectMs, observe } = opts;
    this.#transport = new Transport(
      config,
      { userAgent, maxBodyBytes, connectMs, observe },
      { credentials, limiter, clock, log },
    );
    this.#maxBodyBytes = maxBodyBytes;
    this.#timeoutMs = opts.timeoutMs;
    this.#watchOpenMs = opts.watchOpenMs ?? WATCH_OPEN_MS;
  }

  async get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: CallOptions = {}): Promise<T> {
    return ofKind<T>(type, 'GET', await this.#object<T>('GET', resourcePath(type, name), opts));
  }

  async list<T extends KubeObject>(type: ResourceType<T>, opts: ListOptions = {}): Promise<KubeList<T>> {
    const path = resourcePath(type, { namespace: opts.namespace }) + queryText(listQuery(opts));
    const list = await this.#object<KubeList<T> & { readonly kind?: string }>('GET', path, opts);
    // Any other object has no items: taken for an empty list it would end every pod of the node.
    if (list.kind !== `${type.kind}List`) throw garbled('GET', path, `no ${type.kind}List but ${kindText(list.kind)}`);
    // Items of typed lists come without their type, and Go prints an empty list as null.
    const named = { apiVersion: apiVersionOf(type), kind: type.kind };
    const items = (list.items ?? []).map((item) => {
      if (!isNamed(item)) throw garbled('GET', path, 'a list with an item that has no name');
      return { ...named, ...item };
    });
    for (const item of items) dropManagedFields(item);
    return { ...list, metadata: list.metadata ?? {}, items };
  }

  async create<T extends KubeObject, B extends KubeObject = T>(
    type: ResourceType<T>,
    name: { readonly namespace?: string; readonly name?: string },
    object: B,
    opts: WriteOptions = {},
  ): Promise<B> {
    // A subresource is posted below its object, everything else to the collection.
    const at =
      opts.subresource === undefined ? { namespace: name.namespace } : { ...name, subresource: opts.subresource };
    const body = opts.subresource === undefined ? withType(type, object) : object;
    return this.#object<B>('POST', resourcePath(type, at) + writeQuery(opts), opts, body);
  }

  async update<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    object: T,
    opts: WriteOptions = {},
  ): Promise<T> {
    const path = resourcePath(type, { ...name, subresource: opts.subresource }) + writeQuery(opts);
    return ofKind<T>(type, 'PUT', await this.#object<T>('PUT', path, opts, withType(type, object)));
  }

  async patch<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    patch: Patch,
    opts: WriteOptions = {},
  ): Promise<T> {
    const path = resourcePath(type, { ...name, subresource: opts.subresource }) + writeQuery(opts);
    const answer = await this.#object<T>('PATCH', path, opts, patch.body, PATCH_TYPES[patch.type]);
    return ofKind<T>(type, 'PATCH', answer);
  }

  async delete<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: DeleteOptions = {}): Promise<void> {
    const { gracePeriodSeconds, preconditions, propagationPolicy } = opts;
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds, preconditions, propagationPolicy };
    await this.raw('DELETE', resourcePath(type, name), { ...opts, body });
  }

  async *watch<T extends KubeObject>(type: ResourceType<T>, opts: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    if (opts.signal?.aborted) return;
    const path = resourcePath(type, { namespace: opts.namespace });
    const query = { ...listQuery(opts), watch: true, ...watchQuery(opts) };
    const limitMs = opts.timeoutSeconds === undefined ? undefined : opts.timeoutSeconds * 1000 + WATCH_GRACE_MS;
    using scope = linkedSignal(opts.signal, opts.timeoutMs ?? limitMs);
    const splitter = new LineSplitter(this.#maxBodyBytes);
    const renew = { asked: false };
    const end = () => {
      renew.asked = true;
      scope.abort();
    };
    this.#watches.add(end);
    try {
      const request = { method: 'GET', path: path + queryText(query), signal: scope.signal };
      const stream = await this.#openStream(request, scope);
      opts.onOpen?.();
      for await (const chunk of stream) {
        for (const line of splitter.push(chunk)) {
          yield decodeWatchEvent<T>(line);
          if (opts.signal?.aborted || renew.asked) return;
        }
      }
    } catch (cause) {
      if (opts.signal?.aborted || renew.asked) return;
      throw connectionError(scope.signal.aborted ? scope.signal.reason : cause, `WATCH ${path}`);
    } finally {
      this.#watches.delete(end);
    }
    if (splitter.pendingBytes > 0) {
      throw new AgentError(`WATCH ${path}: the stream ended in the middle of an event`, {
        code: 'API_UNREACHABLE',
        retryable: true,
      });
    }
  }

  /** A request into a dead network is not noticed by keep-alive probes while it is unacknowledged: 15 min on Linux. */
  async #openStream(request: StreamRequest, scope: LinkedSignal): Promise<AsyncIterable<Buffer>> {
    const late = new DOMException('the answer did not begin in time', 'TimeoutError');
    const timer = setTimeout(() => scope.abort(late), this.#watchOpenMs);
    try {
      return await this.#transport.stream(request);
    } finally {
      clearTimeout(timer);
    }
  }

  /** A call that has no type. @throws as the other calls do, for answers other than 2xx too. */
  async raw(method: string, path: string, opts: RawOptions = {}): Promise<RawResponse> {
    const { body, contentType, accept, signal, timeoutMs = this.#timeoutMs } = opts;
    const isBytes = body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
    return this.#transport.fetch({
      method,
      path: opts.query === undefined ? path : path + queryText(opts.query),
      body: isBytes ? body : JSON.stringify(body),
      contentType,
      accept,
      signal,
      timeoutMs,
    });
  }

  /**
   * Our certificate is another one: the server is told who we are anew. Calls under way finish, watches end as if
   * the server had ended them, so that whoever follows them goes on where they were.
   */
  renewConnections(): void {
    this.#transport.renewConnections();
    for (const end of this.#watches) end();
  }

  closeIdleConnections(): void {
    this.#transport.closeConnections();
  }

  async #object<R>(method: string, path: string, opts: CallOptions, body?: unknown, contentType?: string): Promise<R> {
    const { signal, timeoutMs } = opts;
    const answer = await this.raw(method, path, {
      ...(signal === undefined ? {} : { signal }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(body === undefined ? {} : { body }),
      ...(contentType === undefined ? {} : { contentType }),
    });
    try {
      const value: unknown = JSON.parse(answer.body.toString('utf8'));
      if (typeof value === 'object' && value !== null) return value as R;
    } catch (cause) {
      throw garbled(method, path, 'no JSON object', cause);
    }
    throw garbled(method, path, 'no JSON object');
  }
}

/** @throws {AgentError} API_GARBLED for an object of another kind, e.g. the Status of a proxy in between. */
function ofKind<T extends KubeObject>(type: ResourceType<T>, method: string, object: T): T {
  const { kind = type.kind } = object;
  if (kind !== type.kind || !isNamed(object)) {
    throw garbled(method, type.plural, `no ${type.kind} but ${kindText(object.kind)}`);
  }
  return object;
}

function isNamed(object: KubeObject | null): boolean {
  return typeof object?.metadata?.name === 'string' && object.metadata.name !== '';
}

function kindText(kind: unknown): string {
  return typeof kind === 'string' ? JSON.stringify(kind.slice(0, 80)) : 'something without a name';
}

function garbled(method: string, path: string, what: string, cause?: unknown): AgentError {
  return new AgentError(`${method} ${path}: the answer is ${what}`, {
    code: 'API_GARBLED',
    cause,
    retryable: true,
    hint: 'check that the server in the kubeconfig is an API server',
  });
}

/** Servers decode by the type in the body, which typed callers leave out. */
function withType<B extends KubeObject>(type: ResourceType, object: B): B {
  if (object.apiVersion !== undefined && object.kind !== undefined) return object;
  return { ...object, apiVersion: object.apiVersion ?? apiVersionOf(type), kind: object.kind ?? type.kind };
}

function listQuery(opts: ListOptions): Query {
  return {
    labelSelector: opts.labelSelector || undefined,
    fieldSelector: opts.fieldSelector || undefined,
    resourceVersion: opts.resourceVersion,
    resourceVersionMatch: opts.resourceVersionMatch,
    limit: opts.limit || undefined,
    continue: opts.continue,
  };
}

function watchQuery(opts: WatchOptions): Query {
  return {
    allowWatchBookmarks: opts.allowWatchBookmarks,
    sendInitialEvents: opts.sendInitialEvents,
    timeoutSeconds: opts.timeoutSeconds,
  };
}

function writeQuery(opts: WriteOptions): string {
  return queryText({ fieldManager: opts.fieldManager });
}

function queryText(query: Query): string {
  const set = Object.entries(query).filter(([, value]) => value !== undefined);
  if (set.length === 0) return '';
  return `?${new URLSearchParams(set.map(([key, value]) => [key, String(value)]))}`;
}
