// What the rest of the program sees of the Kubernetes API: typed verbs on resources. Implemented over HTTPS by
// rest.ts and in memory by fake-client.ts.
import type { KubeList, KubeObject, ObjectName, WatchEvent } from '../api/meta.ts';
import type { ResourceType } from '../api/resources.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Deadline of the whole call, ms; none when absent. */
  readonly timeoutMs?: number;
}

export interface ListOptions extends CallOptions {
  /** All namespaces when absent. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly resourceVersion?: string;
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan';
  readonly limit?: number;
  readonly continue?: string;
}

export interface WatchOptions extends ListOptions {
  readonly allowWatchBookmarks?: boolean;
  readonly sendInitialEvents?: boolean;
  readonly timeoutSeconds?: number;
  /** Called when the server has accepted the watch, before its first event. */
  readonly onOpen?: () => void;
}

export interface WriteOptions extends CallOptions {
  /** E.g. `status`, `token`. */
  readonly subresource?: string;
  readonly fieldManager?: string;
}

export interface DeleteOptions extends CallOptions {
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground';
}

export type Patch =
  | { readonly type: 'strategic' | 'merge'; readonly body: unknown }
  | { readonly type: 'json'; readonly body: readonly unknown[] };

/** Every method throws ApiError (errors.ts) for a Status answer and AgentError for a failed connection. */
export interface ApiClient {
  get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts?: CallOptions): Promise<T>;
  list<T extends KubeObject>(type: ResourceType<T>, opts?: ListOptions): Promise<KubeList<T>>;
  /** POSTs to the collection, or to `name/subresource` when both are given (e.g. serviceaccounts/token). */
  create<T extends KubeObject, B extends KubeObject = T>(
    type: ResourceType<T>,
    name: { readonly namespace?: string; readonly name?: string },
    object: B,
    opts?: WriteOptions,
  ): Promise<B>;
  update<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, object: T, opts?: WriteOptions): Promise<T>;
  patch<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, patch: Patch, opts?: WriteOptions): Promise<T>;
  delete<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts?: DeleteOptions): Promise<void>;
  /**
   * Yields decoded events until the server ends the stream or `opts.signal` aborts (then it returns). A broken
   * connection throws; an ERROR event is yielded like the others. `metadata.managedFields` is dropped.
   */
  watch<T extends KubeObject>(type: ResourceType<T>, opts: WatchOptions): AsyncIterable<WatchEvent<T>>;
  /** Drops idle and busy keep-alive connections, so that a dead one cannot hold up the next heartbeat. */
  closeIdleConnections(): void;
}
