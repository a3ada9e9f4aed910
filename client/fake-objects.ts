// What FakeApi keeps: objects with their resourceVersions, the history of their changes, and the watches that follow it.
import { formatTime, type KubeObject, type ObjectName, type WatchEvent } from '../api/meta.ts';
import { jsonEqual } from '../api/patch/json-value.ts';
import { apiVersionOf, type ResourceType } from '../api/resources.ts';
import type { DeleteOptions, WatchOptions } from './api-client.ts';
import {
  collectionOf,
  conflict,
  deepFreeze,
  deliver,
  failure,
  graceSecondsOf,
  keyOf,
  matcherOf,
  resourceText,
  type StoredEvent,
  takeOver,
  type Watcher,
} from './fake-semantics.ts';
import { WatchQueue } from './fake-watch-queue.ts';

const GENERATION_LESS = new Set(['configmaps', 'secrets', 'nodes', 'services', 'namespaces', 'leases', 'events']);

export interface FakeObjectsOptions {
  /** Wall ms, for timestamps. */
  readonly now: () => number;
  /** False: sendInitialEvents is ignored. */
  readonly servesWatchList: boolean;
}

export class FakeObjects {
  readonly #opts: FakeObjectsOptions;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #history = new Map<string, StoredEvent[]>();
  readonly #watchers = new Set<Watcher>();
  #revision = 0;
  #compacted = 0;
  #uids = 0;

  constructor(opts: FakeObjectsOptions) {
    this.#opts = opts;
  }

  /** Of the last write. */
  get revision(): string {
    return String(this.#revision);
  }

  /** So many objects have been given a uid. */
  get made(): number {
    return this.#uids;
  }

  get watchers(): ReadonlySet<Watcher> {
    return this.#watchers;
  }

  all<T extends KubeObject>(type: ResourceType<T>): T[] {
    return [...(this.#objects.get(collectionOf(type))?.values() ?? [])] as T[];
  }

  /** Forgets the history: watches from before get 410 Expired. Running watches go on. */
  compact(): void {
    this.#compacted = this.#revision;
    this.#history.clear();
  }

  /** A watch, with what it sees first in its queue. To be closed by the caller. */
  openWatch(type: ResourceType, opts: WatchOptions): Watcher {
    const watcher: Watcher = {
      collection: collectionOf(type),
      matches: matcherOf(type, opts),
      queue: new WatchQueue(),
    };
    if (this.#prime(watcher, type, opts)) this.#watchers.add(watcher);
    else watcher.queue.end();
    return watcher;
  }

  closeWatch(watcher: Watcher): void {
    this.#watchers.delete(watcher);
  }

  require<T extends KubeObject>(type: ResourceType<T>, name: ObjectName): T {
    const found = this.#objects.get(collectionOf(type))?.get(keyOf(type, name));
    if (found === undefined) throw failure(404, `${resourceText(type)} "${name.name}" not found`, type, name.name);
    return found as T;
  }

  insert<T extends KubeObject>(type: ResourceType<T>, namespace: string | undefined, object: T): T {
    const metadata = { ...object.metadata };
    if (type.namespaced) metadata.namespace ??= namespace ?? 'default';
    const key = keyOf(type, metadata);
    if (this.#objects.get(collectionOf(type))?.has(key)) {
      throw failure(
        409,
        `${resourceText(type)} "${metadata.name}" already exists`,
        type,
        metadata.name,
        'AlreadyExists',
      );
    }
    metadata.uid ??= `uid-${++this.#uids}`;
    metadata.creationTimestamp ??= formatTime(this.#opts.now());
    if (!GENERATION_LESS.has(type.plural)) metadata.generation ??= 1;
    return this.#store(type, 'ADDED', { ...object, metadata }, undefined);
  }

  write<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, object: T, subresource: string | undefined): T {
    const current = this.require(type, name);
    const { resourceVersion, uid } = object.metadata ?? {};
    if (uid !== undefined && uid !== current.metadata?.uid) {
      const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata?.uid}`;
      throw conflict(type, name.name, why);
    }
    if (resourceVersion !== undefined && resourceVersion !== current.metadata?.resourceVersion) {
      throw conflict(
        type,
        name.name,
        'the object has been modified; please apply your changes to the latest version and try again',
      );
    }
    const next = takeOver(current, object, subresource, !GENERATION_LESS.has(type.plural));
    if (jsonEqual(next, current)) return current;
    const gone = next.metadata?.deletionTimestamp !== undefined && !next.metadata.finalizers?.length;
    if (gone && !next.metadata?.deletionGracePeriodSeconds) return this.#remove(type, current, next);
    return this.#store(type, 'MODIFIED', next, current);
  }

  /** Finalizers keep an object, pods get their grace, the rest goes at once. */
  delete<T extends KubeObject>(type: ResourceType<T>, current: T, opts: DeleteOptions): void {
    const grace = type.plural === 'pods' ? graceSecondsOf(current, opts.gracePeriodSeconds) : 0;
    const metadata = current.metadata!;
    const granted = metadata.deletionTimestamp === undefined ? undefined : (metadata.deletionGracePeriodSeconds ?? 0);
    if (granted !== undefined && granted > 0 && grace >= granted) return;
    if ((grace === 0 || granted === 0) && !metadata.finalizers?.length) {
      if (granted === undefined && type.plural === 'pods') {
        const now = { deletionTimestamp: formatTime(this.#opts.now()), deletionGracePeriodSeconds: 0 };
        current = this.#store(type, 'MODIFIED', { ...current, metadata: { ...metadata, ...now } }, current);
      }
      this.#remove(type, current, current);
      return;
    }
    if (granted === 0) return; // only its finalizers hold it now
    // A second DELETE with less grace moves the deadline forward, but never before now.
    const requestedMs =
      granted === undefined ? this.#opts.now() : Date.parse(metadata.deletionTimestamp!) - granted * 1000;
    const untilMs = Math.max(this.#opts.now(), requestedMs + grace * 1000);
    const generation = granted === undefined && metadata.generation ? { generation: metadata.generation + 1 } : {};
    const deletion = { deletionTimestamp: formatTime(untilMs), deletionGracePeriodSeconds: grace, ...generation };
    const next = { ...current, metadata: { ...metadata, ...deletion } };
    if (!jsonEqual(next, current)) this.#store(type, 'MODIFIED', next, current);
  }

  #remove<T extends KubeObject>(type: ResourceType<T>, current: T, last: T): T {
    return this.#store(type, 'DELETED', last, current);
  }

  #store<T extends KubeObject>(
    type: ResourceType<T>,
    event: StoredEvent['type'],
    object: T,
    previous: T | undefined,
  ): T {
    const revision = ++this.#revision;
    const metadata = { ...object.metadata, resourceVersion: String(revision) };
    delete metadata.managedFields;
    const stored = deepFreeze({
      apiVersion: apiVersionOf(type),
      kind: type.kind,
      ...structuredClone(object),
      metadata,
    });
    const collection = collectionOf(type);
    const objects = this.#objects.get(collection) ?? new Map<string, KubeObject>();
    this.#objects.set(collection, objects);
    if (event === 'DELETED') objects.delete(keyOf(type, metadata));
    else objects.set(keyOf(type, metadata), stored);
    const entry: StoredEvent = { type: event, revision, object: stored, previous };
    const history = this.#history.get(collection) ?? [];
    this.#history.set(collection, history);
    history.push(entry);
    for (const watcher of this.#watchers) if (watcher.collection === collection) deliver(watcher, entry);
    return stored as T;
  }

  /** Queues what a new watch sees first; false when it only gets an error. */
  #prime(watcher: Watcher, type: ResourceType, opts: WatchOptions): boolean {
    const from = opts.resourceVersion ?? '';
    const initial = opts.sendInitialEvents === true && this.#opts.servesWatchList;
    if (initial || from === '' || from === '0') {
      for (const object of this.all(type).filter(watcher.matches)) watcher.queue.push({ type: 'ADDED', object });
      if (initial) watcher.queue.push(this.bookmarkOf(type, true));
      return true;
    }
    if (Number(from) < this.#compacted) {
      const { status } = failure(
        410,
        `too old resource version: ${from} (${this.#compacted})`,
        undefined,
        undefined,
        'Expired',
      );
      watcher.queue.push({ type: 'ERROR', object: status });
      return false;
    }
    for (const e of this.#history.get(watcher.collection) ?? []) if (e.revision > Number(from)) deliver(watcher, e);
    return true;
  }

  bookmarkOf(type: ResourceType, initialEnd: boolean): WatchEvent<KubeObject> {
    const annotations = initialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    const metadata = { resourceVersion: this.revision, ...annotations };
    return { type: 'BOOKMARK', object: { apiVersion: apiVersionOf(type), kind: type.kind, metadata } };
  }
}
