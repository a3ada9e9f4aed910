// What the API server asks of its storage. Reads are answered from memory at `revision`; writes are durable when their
// promise resolves and are visible to every read and watch from then on. Modelled on etcd's guarantees, so that an
// etcd engine with a watch cache fits behind it: there `barrier` asks etcd for its revision and waits for the cache.
import type { KubeObject } from '../../api/meta.ts';
import type { StoredItem } from './stored-item.ts';

export interface StoreEvent {
  readonly type: 'put' | 'delete';
  /** For `delete` the last content with the revision of the deletion. */
  readonly item: StoredItem;
  /** What was there before; undefined for a creation. */
  readonly previous: StoredItem | undefined;
}

export type WriteResult =
  | { readonly ok: true; readonly item: StoredItem }
  /** The expectation did not hold: what is there instead. */
  | { readonly ok: false; readonly current: StoredItem | undefined };

export interface PutOptions {
  /** Revision the present version must have; 0: there must be none. */
  readonly expected: number;
  /** The item is deleted, as an ordinary event, when this many seconds have passed since its last put. */
  readonly ttlSeconds?: number | undefined;
}

export type StoreListener = (event: StoreEvent) => void;

export interface Store {
  /** Revision of the last write that reads show. One counter for everything, never going back. */
  readonly revision: number;
  /** Watches and lists of revisions below this one are refused. */
  readonly oldestRevision: number;
  get(root: string, key: string): StoredItem | undefined;
  /** Items of the collection whose key starts with `keyPrefix`, in the order of their keys. */
  list(root: string, keyPrefix?: string): readonly StoredItem[];
  /** The same as it was at `revision`. @throws {CompactedError} */
  listAt(revision: number, root: string, keyPrefix?: string): readonly StoredItem[];
  /** Resolves when reads show every write that anybody was told of before the call. */
  barrier(): Promise<void>;
  /** Takes ownership of `object`: it is frozen and gets its resourceVersion. */
  put(root: string, key: string, object: KubeObject, options: PutOptions): Promise<WriteResult>;
  delete(root: string, key: string, options: { readonly expected: number }): Promise<WriteResult>;
  /**
   * Calls `listener` for every change of the collection after revision `from`, in order, none lost: first those of the
   * past before returning, then each as it is committed. The listener must not throw and must not wait.
   * @throws {CompactedError} when changes after `from` are no longer all known.
   */
  watch(root: string, from: number, listener: StoreListener): Disposable;
  /** Forgets changes up to and including `revision`. */
  compact(revision: number): void;
  /** Completes the writes under way and lets go of the files. */
  close(): Promise<void>;
}

export class CompactedError extends Error {
  override readonly name = 'CompactedError';
  readonly requested: number;
  readonly oldest: number;

  constructor(requested: number, oldest: number) {
    super(`too old resource version: ${requested} (${oldest})`);
    this.requested = requested;
    this.oldest = oldest;
  }
}
