// An API server in memory, for unit tests: resourceVersions, conflicts, selectors, watch history with 410, patches,
// status subresources and graceful deletion of pods as the real one has them. No defaults, no validation.
import type { KubeList, KubeObject, ObjectName, WatchEvent } from '../api/meta.ts';
import { PatchError } from '../api/patch/json-value.ts';
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
import { FakeObjects } from './fake-objects.ts';
import { collectionOf, conflict, failure, keyOf, matcherOf, patched } from './fake-semantics.ts';

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

export class FakeApi implements ApiClient {
  /** Every call, oldest first. */
  readonly requests: FakeRequest[] = [];
  readonly #objects: FakeObjects;
  readonly #subresources = new Map<string, CreateSubresource>();
  #faults: Fault[] = [];

  constructor(opts: FakeApiOptions = {}) {
    this.#objects = new FakeObjects({ now: opts.now ?? Date.now, servesWatchList: opts.servesWatchList ?? true });
  }

  // ---- what tests do to it ----

  /** The next call of `verb` (on `plural`, when given) throws `error` and changes nothing. Several queue up. */
  failNext(verb: FakeVerb, error: Error, plural?: string): void {
    this.#faults.push({ verb, plural, error });
  }

  /** Puts objects there as if they had been created long ago, status included; returns them as stored. */
  seed<T extends KubeObject>(type: ResourceType<T>, ...objects: readonly T[]): T[] {
    return objects.map((object) => this.#objects.insert(type, object.metadata?.namespace, object));
  }

  /** Forgets the watch history: watches from before get 410 Expired. Running watches go on. */
  compact(): void {
    this.#objects.compact();
  }

  /** Ends all running watches, cleanly or with `error`. */
  endWatches(error?: Error): void {
    for (const watcher of this.#objects.watchers) watcher.queue.end(error);
  }

  /** Sends every running watch a bookmark of the current revision. */
  bookmark<T extends KubeObject>(type: ResourceType<T>): void {
    for (const w of this.#objects.watchers)
      if (w.collection === collectionOf(type)) w.queue.push(this.#objects.bookmarkOf(type, false));
  }

  /** Sends every running watch of `type` this event as it stands, e.g. a late or doubled one. */
  inject<T extends KubeObject>(type: ResourceType<T>, event: WatchEvent<T>): void {
    for (const w of this.#objects.watchers) if (w.collection === collectionOf(type)) w.queue.push(event);
  }

  onCreateSubresource(plural: string, subresource: string, answer: CreateSubresource): void {
    this.#subresources.set(`${plural}/${subresource}`, answer);
  }

  /** Running watches. */
  get watching(): number {
    return this.#objects.watchers.size;
  }

  get revision(): string {
    return this.#objects.revision;
  }

  /** All objects of `type` as stored. */
  all<T extends KubeObject>(type: ResourceType<T>): T[] {
    return this.#objects.all(type);
  }

  // ---- ApiClient ----

  async get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: CallOptions = {}): Promise<T> {
    this.#begin('get', type, name, opts);
    return this.#objects.require(type, name);
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
      metadata: { ...object.metadata, name: given ?? `${generateName}${this.#objects.made + 1}` },
    };
    // Node is the one kind whose status counts on create: the kubelet registers with it.
    if (type.plural !== 'nodes') delete (created as { status?: unknown }).status;
    return this.#objects.insert<KubeObject>(type, name.namespace, created) as B;
  }

  async update<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    object: T,
    opts: WriteOptions = {},
  ): Promise<T> {
    this.#begin('update', type, { ...name, subresource: opts.subresource, body: object }, opts);
    return this.#objects.write(type, name, object, opts.subresource);
  }

  async patch<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    patch: Patch,
    opts: WriteOptions = {},
  ): Promise<T> {
    this.#begin('patch', type, { ...name, subresource: opts.subresource, body: patch.body }, opts);
    const current = this.#objects.require(type, name);
    try {
      const next = patched(type.kind, current, patch);
      if ((next.metadata?.uid ?? '') !== (current.metadata?.uid ?? '')) {
        throw failure(422, `metadata.uid: Invalid value: ${JSON.stringify(next.metadata?.uid)}: field is immutable`);
      }
      return this.#objects.write(type, name, next, opts.subresource);
    } catch (err) {
      if (!(err instanceof PatchError)) throw err;
      throw failure(err.fault === 'BadPatch' ? 400 : err.fault === 'TooLarge' ? 413 : 422, err.message);
    }
  }

  async delete<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: DeleteOptions = {}): Promise<void> {
    const { signal: _, ...shown } = opts;
    this.#begin('delete', type, { ...name, body: shown }, opts);
    const current = this.#objects.require(type, name);
    const { uid, resourceVersion } = opts.preconditions ?? {};
    if (uid !== undefined && uid !== current.metadata?.uid) {
      const why = `the UID in the precondition (${uid}) does not match the UID in record (${current.metadata?.uid})`;
      throw conflict(type, name.name, `${why}. The object might have been deleted and then recreated`);
    }
    if (resourceVersion !== undefined && resourceVersion !== current.metadata?.resourceVersion) {
      throw conflict(type, name.name, `the ResourceVersion in the precondition (${resourceVersion}) does not match`);
    }
    this.#objects.delete(type, current, opts);
  }

  async *watch<T extends KubeObject>(type: ResourceType<T>, opts: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    const { signal, onOpen, ...shown } = opts;
    this.#begin('watch', type, { namespace: opts.namespace, body: shown }, opts);
    const watcher = this.#objects.openWatch(type, opts);
    onOpen?.();
    const onAbort = () => watcher.queue.end();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      for await (const event of watcher.queue) yield event as WatchEvent<T>;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#objects.closeWatch(watcher);
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
}
