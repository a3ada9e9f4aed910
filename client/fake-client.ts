// An API server in memory, for unit tests: resourceVersions, conflicts, selectors, watch history with 410, patches,
// status subresources and graceful deletion of pods as the real one has them. No defaults, no validation.
import { formatTime, type KubeList, type KubeObject, type ObjectName, type WatchEvent } from '../api/meta.ts';
import { jsonEqual, PatchError } from '../api/patch/json-value.ts';
import { apiVersionOf, type ResourceType } from '../api/resources.ts';
import type {
  ApiClient,
  CallOptions,
  DeleteOptions,
  ListOptions,
  Patch,
  WatchOptions,
  WriteOptions,
} from './api-client.ts';
import {
  collectionOf,
  conflict,
  deepFreeze,
  deliver,
  failure,
  graceSecondsOf,
  keyOf,
  matcherOf,
  patched,
  resourceText,
  type StoredEvent,
  takeOver,
  type Watcher,
} from './fake-semantics.ts';
import { WatchQueue } from './fake-watch-queue.ts';

export { failure } from './fake-semantics.ts';

export type FakeVerb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

export interface FakeRequest {
  readonly verb: FakeVerb;
  readonly plural: string;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: string | undefined;
  /** Body of a write, options of a list, watch or delete. */
  readonly body?: unknown;
}

export interface FakeApiOptions {
  /** Wall ms, for timestamps; Date.now when absent. */
  readonly now?: () => number;
  /** False: sendInitialEvents is ignored, as servers before 1.27 do. Default true. */
  readonly servesWatchList?: boolean;
}

interface Fault {
  readonly verb: FakeVerb;
  readonly plural: string | undefined;
  readonly error: Error;
}

/** Answers `create` of `name/subresource`, e.g. serviceaccounts/token. */
export type CreateSubresource = (name: ObjectName, body: KubeObject) => KubeObject;

const GENERATION_LESS = new Set(['configmaps', 'secrets', 'nodes', 'services', 'namespaces', 'leases', 'events']);

export class FakeApi implements ApiClient {
  /** Every call, oldest first. */
  readonly requests: FakeRequest[] = [];
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #history = new Map<string, StoredEvent[]>();
  readonly #watchers = new Set<Watcher>();
  readonly #subresources = new Map<string, CreateSubresource>();
  #faults: Fault[] = [];
  #revision = 0;
  #compacted = 0;
  #uids = 0;
  readonly #now: () => number;
  readonly #servesWatchList: boolean;

  constructor(opts: FakeApiOptions = {}) {
    this.#now = opts.now ?? Date.now;
    this.#servesWatchList = opts.servesWatchList ?? true;
  }

  // ---- what tests do to it ----

  /** The next call of `verb` (on `plural`, when given) throws `error` and changes nothing. Several queue up. */
  failNext(verb: FakeVerb, error: Error, plural?: string): void {
    this.#faults.push({ verb, plural, error });
  }

  /** Puts objects there as if they had been created long ago, status included; returns them as stored. */
  seed<T extends KubeObject>(type: ResourceType<T>, ...objects: readonly T[]): T[] {
    return objects.map((object) => this.#insert(type, object.metadata?.namespace, object));
  }

  /** Forgets the watch history: watches from before get 410 Expired. Running watches go on. */
  compact(): void {
    this.#compacted = this.#revision;
    this.#history.clear();
  }

  /** Ends all running watches, cleanly or with `error`. */
  endWatches(error?: Error): void {
    for (const watcher of this.#watchers) watcher.queue.end(error);
  }

  /** Sends every running watch a bookmark of the current revision. */
  bookmark<T extends KubeObject>(type: ResourceType<T>): void {
    for (const w of this.#watchers)
      if (w.collection === collectionOf(type)) w.queue.push(this.#bookmarkOf(type, false));
  }

  /** Sends every running watch of `type` this event as it stands, e.g. a late or doubled one. */
  inject<T extends KubeObject>(type: ResourceType<T>, event: WatchEvent<T>): void {
    for (const w of this.#watchers) if (w.collection === collectionOf(type)) w.queue.push(event);
  }

  onCreateSubresource(plural: string, subresource: string, answer: CreateSubresource): void {
    this.#subresources.set(`${plural}/${subresource}`, answer);
  }

  /** Running watches. */
  get watching(): number {
    return this.#watchers.size;
  }

  get revision(): string {
    return String(this.#revision);
  }

  /** All objects of `type` as stored. */
  all<T extends KubeObject>(type: ResourceType<T>): T[] {
    return [...(this.#objects.get(collectionOf(type))?.values() ?? [])] as T[];
  }

  // ---- ApiClient ----

  async get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: CallOptions = {}): Promise<T> {
    this.#begin('get', type, name, opts);
    return this.#require(type, name);
  }

  async list<T extends KubeObject>(type: ResourceType<T>, opts: ListOptions = {}): Promise<KubeList<T>> {
    const { signal: _, ...shown } = opts;
    this.#begin('list', type, { namespace: opts.namespace, body: shown }, opts);
    const matching = this.all(type).filter(matcherOf(type, opts));
    const sorted = matching
      .map((o) => [keyOf(type, o.metadata ?? {}), o] as const)
      .sort((a, b) => (a[0] < b[0] ? -1 : 1));
    const rest = opts.continue === undefined ? sorted : sorted.filter(([key]) => key > opts.continue!);
    const page = opts.limit === undefined || opts.limit === 0 ? rest : rest.slice(0, opts.limit);
    const more = page.length < rest.length ? { continue: page.at(-1)![0] } : {};
    return {
      apiVersion: apiVersionOf(type),
      kind: `${type.kind}List`,
      metadata: { resourceVersion: this.revision, ...more },
      items: page.map(([, object]) => object),
    };
  }

  async create<T extends KubeObject, B extends KubeObject = T>(
    type: ResourceType<T>,
    name: { readonly namespace?: string; readonly name?: string },
    object: B,
    opts: WriteOptions = {},
  ): Promise<B> {
    this.#begin('create', type, { ...name, subresource: opts.subresource, body: object }, opts);
    if (opts.subresource !== undefined) return this.#createSubresource(type, name, object, opts.subresource) as B;
    const { generateName = '' } = object.metadata ?? {};
    const given = object.metadata?.name ?? name.name;
    const created: KubeObject = {
      ...object,
      metadata: { ...object.metadata, name: given ?? `${generateName}${this.#uids + 1}` },
    };
    // Node is the one kind whose status counts on create: the kubelet registers with it.
    if (type.plural !== 'nodes') delete (created as { status?: unknown }).status;
    return this.#insert<KubeObject>(type, name.namespace, created) as B;
  }

  async update<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    object: T,
    opts: WriteOptions = {},
  ): Promise<T> {
    this.#begin('update', type, { ...name, subresource: opts.subresource, body: object }, opts);
    return this.#write(type, name, object, opts.subresource);
  }

  async patch<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    patch: Patch,
    opts: WriteOptions = {},
  ): Promise<T> {
    this.#begin('patch', type, { ...name, subresource: opts.subresource, body: patch.body }, opts);
    const current = this.#require(type, name);
    try {
      return this.#write(type, name, patched(type.kind, current, patch), opts.subresource);
    } catch (err) {
      if (!(err instanceof PatchError)) throw err;
      throw failure(err.fault === 'BadPatch' ? 400 : err.fault === 'TooLarge' ? 413 : 422, err.message);
    }
  }

  async delete<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: DeleteOptions = {}): Promise<void> {
    const { signal: _, ...shown } = opts;
    this.#begin('delete', type, { ...name, body: shown }, opts);
    const current = this.#require(type, name);
    const { uid, resourceVersion } = opts.preconditions ?? {};
    if (uid !== undefined && uid !== current.metadata?.uid) {
      const why = `the UID in the precondition (${uid}) does not match the UID in record (${current.metadata?.uid})`;
      throw conflict(type, name.name, `${why}. The object might have been deleted and then recreated`);
    }
    if (resourceVersion !== undefined && resourceVersion !== current.metadata?.resourceVersion) {
      throw conflict(type, name.name, `the ResourceVersion in the precondition (${resourceVersion}) does not match`);
    }
    this.#delete(type, current, opts);
  }

  async *watch<T extends KubeObject>(type: ResourceType<T>, opts: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    const { signal, ...shown } = opts;
    this.#begin('watch', type, { namespace: opts.namespace, body: shown }, opts);
    const watcher: Watcher = {
      collection: collectionOf(type),
      matches: matcherOf(type, opts),
      queue: new WatchQueue(),
    };
    const started = this.#prime(watcher, type, opts);
    if (started) this.#watchers.add(watcher);
    else watcher.queue.end();
    const onAbort = () => watcher.queue.end();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      for await (const event of watcher.queue) yield event as WatchEvent<T>;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#watchers.delete(watcher);
    }
  }

  closedIdleConnections = 0;

  closeIdleConnections(): void {
    this.closedIdleConnections++;
  }

  // ---- inside ----

  #begin(verb: FakeVerb, type: ResourceType, about: Partial<FakeRequest>, opts: CallOptions): void {
    const { namespace, name, subresource, body } = about;
    this.requests.push({ verb, plural: type.plural, namespace, name, subresource, body });
    opts.signal?.throwIfAborted();
    const fault = this.#faults.find((f) => f.verb === verb && (f.plural === undefined || f.plural === type.plural));
    if (fault === undefined) return;
    this.#faults = this.#faults.filter((f) => f !== fault);
    throw fault.error;
  }

  #require<T extends KubeObject>(type: ResourceType<T>, name: ObjectName): T {
    const found = this.#objects.get(collectionOf(type))?.get(keyOf(type, name));
    if (found === undefined) throw failure(404, `${resourceText(type)} "${name.name}" not found`, type, name.name);
    return found as T;
  }

  #insert<T extends KubeObject>(type: ResourceType<T>, namespace: string | undefined, object: T): T {
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
    metadata.creationTimestamp ??= formatTime(this.#now());
    if (!GENERATION_LESS.has(type.plural)) metadata.generation ??= 1;
    return this.#store(type, 'ADDED', { ...object, metadata }, undefined);
  }

  #write<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, object: T, subresource: string | undefined): T {
    const current = this.#require(type, name);
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

  #createSubresource(
    type: ResourceType,
    name: { readonly namespace?: string; readonly name?: string },
    body: KubeObject,
    subresource: string,
  ): KubeObject {
    const answer = this.#subresources.get(`${type.plural}/${subresource}`);
    if (answer === undefined || name.name === undefined)
      throw failure(404, 'the server could not find the requested resource');
    return answer({ ...name, name: name.name }, body);
  }

  /** object-semantics §4: finalizers keep an object, pods get their grace, the rest goes at once. */
  #delete<T extends KubeObject>(type: ResourceType<T>, current: T, opts: DeleteOptions): void {
    const grace = type.plural === 'pods' ? graceSecondsOf(current, opts.gracePeriodSeconds) : 0;
    const metadata = current.metadata!;
    const granted = metadata.deletionTimestamp === undefined ? undefined : (metadata.deletionGracePeriodSeconds ?? 0);
    if (granted !== undefined && granted > 0 && grace >= granted) return;
    if ((grace === 0 || granted === 0) && !metadata.finalizers?.length) {
      if (granted === undefined && type.plural === 'pods') {
        const now = { deletionTimestamp: formatTime(this.#now()), deletionGracePeriodSeconds: 0 };
        current = this.#store(type, 'MODIFIED', { ...current, metadata: { ...metadata, ...now } }, current);
      }
      this.#remove(type, current, current);
      return;
    }
    if (granted === 0) return; // only its finalizers hold it now
    // A second DELETE with less grace moves the deadline forward, but never before now.
    const requestedMs = granted === undefined ? this.#now() : Date.parse(metadata.deletionTimestamp!) - granted * 1000;
    const untilMs = Math.max(this.#now(), requestedMs + grace * 1000);
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
    const initial = opts.sendInitialEvents === true && this.#servesWatchList;
    if (initial || from === '' || from === '0') {
      for (const object of this.all(type).filter(watcher.matches)) watcher.queue.push({ type: 'ADDED', object });
      if (initial) watcher.queue.push(this.#bookmarkOf(type, true));
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

  #bookmarkOf(type: ResourceType, initialEnd: boolean): WatchEvent<KubeObject> {
    const annotations = initialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    const metadata = { resourceVersion: this.revision, ...annotations };
    return { type: 'BOOKMARK', object: { apiVersion: apiVersionOf(type), kind: type.kind, metadata } };
  }
}
