// The API for this program's own controllers: the same verbs as over HTTPS, straight on the registry. Objects that come
// out are frozen and shared; admission and validation apply as to everybody.
import type { KubeList, KubeObject, ObjectName, Status, WatchEvent } from '../api/meta.ts';
import { apiVersionOf, type ResourceType } from '../api/resources.ts';
import type {
  ApiClient,
  CallOptions,
  DeleteOptions,
  ListOptions,
  Patch,
  WatchOptions,
  WriteOptions,
} from '../client/api-client.ts';
import { ApiError } from '../client/errors.ts';
import { applyPatch } from './patching.ts';
import type { AnyObject } from './registry/definition.ts';
import type { Endpoint, Registry } from './registry/registry.ts';
import { servedObject } from './registry/registry.ts';
import type { Change } from './registry/resource-reads.ts';
import type { WriteContext } from './registry/resource-store.ts';
import { makeFilter } from './registry/selectors.ts';
import { LOOPBACK_USER, type UserInfo } from './request.ts';
import { applyScale, type Scale, scaleOf } from './scale.ts';
import { badRequest, expired, methodNotSupported, StatusError } from './status-error.ts';
import { CompactedError } from './store/store.ts';
import { deepFreeze, type StoredItem } from './store/stored-item.ts';
import type { CallContext, ObjectSubresource, Subresource } from './subresource.ts';

export interface LocalClientDeps {
  readonly registry: Registry;
  /** Looked at on each call: subresources may be added after the client was made. */
  readonly subresources: readonly Subresource[];
  /** Who acts; everything is allowed to this client, but admission and field managers see the name. */
  readonly user?: UserInfo;
}

export class LocalClient implements ApiClient {
  readonly #registry: Registry;
  readonly #subresources: readonly Subresource[];
  readonly #context: WriteContext;

  constructor(deps: LocalClientDeps) {
    this.#registry = deps.registry;
    this.#subresources = deps.subresources;
    this.#context = { user: deps.user ?? LOOPBACK_USER, dryRun: false, warn: () => {} };
  }

  get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: CallOptions = {}): Promise<T> {
    return call(opts, () => {
      const endpoint = this.#endpoint(type);
      return servedObject(endpoint, endpoint.resource.get(namespaceOf(type, name), name.name)) as T;
    });
  }

  list<T extends KubeObject>(type: ResourceType<T>, opts: ListOptions = {}): Promise<KubeList<T>> {
    return call(opts, () => {
      const endpoint = this.#endpoint(type);
      const page = endpoint.resource.list({
        namespace: opts.namespace ?? '',
        filter: this.#filter(endpoint, opts),
        limit: opts.limit,
        continue: opts.continue,
        exactRevision: opts.resourceVersionMatch === 'Exact' ? Number(opts.resourceVersion) : undefined,
      });
      return {
        kind: `${type.kind}List`,
        apiVersion: apiVersionOf(type),
        metadata: {
          resourceVersion: String(page.revision),
          ...(page.continue === '' ? {} : { continue: page.continue }),
          ...(page.remaining === undefined ? {} : { remainingItemCount: page.remaining }),
        },
        items: page.items.map((item) => servedObject(endpoint, item) as T),
      };
    });
  }

  create<T extends KubeObject, B extends KubeObject = T>(
    type: ResourceType<T>,
    name: { readonly namespace?: string; readonly name?: string },
    object: B,
    opts: WriteOptions = {},
  ): Promise<B> {
    return call(opts, async () => {
      const namespace = namespaceOf(type, name);
      const body = structuredClone(object) as AnyObject;
      if (opts.subresource !== undefined) {
        const handler = this.#objectSubresource(type, opts.subresource);
        const answer = await handler.create(body, this.#callContext(type, namespace, name.name ?? '', opts));
        return answer.object as B;
      }
      const endpoint = this.#endpoint(type);
      const stored = endpoint.conversion?.toStored(body) ?? body;
      return servedObject(endpoint, await endpoint.resource.create(namespace, stored, this.#context)) as B;
    });
  }

  update<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    object: T,
    opts: WriteOptions = {},
  ): Promise<T> {
    const wanted = structuredClone(object) as AnyObject;
    return this.#write(type, name, opts, true, () => structuredClone(wanted));
  }

  patch<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    patch: Patch,
    opts: WriteOptions = {},
  ): Promise<T> {
    return this.#write(type, name, opts, false, (current) => {
      const { resourceVersion: _, ...metadata } = current.metadata ?? {};
      const kind = opts.subresource === 'scale' ? 'Scale' : type.kind;
      // Parts of the patch may become parts of the object, which the store freezes.
      return applyPatch(patch.type, kind, { ...current, metadata }, structuredClone(patch.body));
    });
  }

  #write<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    opts: WriteOptions,
    isPut: boolean,
    change: (current: AnyObject) => AnyObject,
  ): Promise<T> {
    return call(opts, async () => {
      const { resource, conversion } = this.#endpoint(type);
      const { definition } = resource;
      const scaled = opts.subresource === 'scale' && definition.scale !== undefined;
      const perform = (current: AnyObject): AnyObject => {
        if (scaled) return applyScale(current, change(scaleOf(definition, current) as AnyObject) as Scale);
        return conversion === undefined ? change(current) : conversion.toStored(change(conversion.fromStored(current)));
      };
      const subresource = scaled ? '' : (opts.subresource ?? '');
      const namespace = namespaceOf(type, name);
      const { item } = await resource.update(namespace, name.name, subresource, perform, this.#context, { isPut });
      if (scaled) return scaleOf(definition, item.object as AnyObject) as KubeObject as T;
      return servedObject(this.#endpoint(type), item) as T;
    });
  }

  delete<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: DeleteOptions = {}): Promise<void> {
    return call(opts, async () => {
      const { resource } = this.#endpoint(type);
      await resource.delete(namespaceOf(type, name), name.name, opts, this.#context);
    });
  }

  async *watch<T extends KubeObject>(type: ResourceType<T>, opts: WatchOptions): AsyncIterable<WatchEvent<T>> {
    const endpoint = await call(opts, () => this.#endpoint(type));
    const filter = await call(opts, () => this.#filter(endpoint, opts));
    const namespace = opts.namespace ?? '';
    const queue = new EventQueue<Change>(opts.signal);
    const serve = (item: StoredItem) => servedObject(endpoint, item) as T;
    const from = opts.resourceVersion ?? '';
    const fresh = from === '' || from === '0' || opts.sendInitialEvents === true;
    let revision = fresh ? endpoint.resource.revision : Number(from);
    const initial =
      fresh && opts.sendInitialEvents !== false ? endpoint.resource.list({ namespace, filter }).items : [];
    let watching: Disposable;
    try {
      watching = endpoint.resource.watch(namespace, filter, revision, (change) => queue.push(change));
    } catch (err) {
      if (!(err instanceof CompactedError)) throw err;
      yield { type: 'ERROR', object: expired(err.message).toStatus() };
      return;
    }
    using _ = watching;
    opts.onOpen?.();
    for (const item of initial) yield { type: 'ADDED', object: serve(item) };
    if (opts.sendInitialEvents) yield { type: 'BOOKMARK', object: bookmark(type, revision) as T };
    for (;;) {
      const change = await queue.next();
      if (change === undefined) return;
      revision = change.item.revision;
      yield { type: change.type, object: serve(change.item) };
    }
  }

  /** There is no connection. */
  closeIdleConnections(): void {}

  #endpoint(type: ResourceType): Endpoint {
    return this.#registry.endpoint(type);
  }

  #filter(endpoint: Endpoint, opts: ListOptions) {
    const { definition } = endpoint.resource;
    const fields = endpoint.conversion?.fields ?? definition.fields;
    return makeFilter(definition, opts.labelSelector ?? '', opts.fieldSelector ?? '', fields);
  }

  #objectSubresource(type: ResourceType, subresource: string): ObjectSubresource {
    const found = this.#subresources.find(
      (s) => s.group === type.group && s.resource === type.plural && s.subresource === subresource,
    );
    if (found?.type === 'object') return found;
    throw methodNotSupported({ group: type.group, resource: `${type.plural}/${subresource}` }, 'create');
  }

  #callContext(type: ResourceType, namespace: string, name: string, opts: WriteOptions): CallContext {
    const { group, version, plural } = type;
    return {
      info: {
        isResource: true,
        verb: 'create',
        group,
        version,
        resource: plural,
        subresource: opts.subresource ?? '',
        namespace,
        name,
        path: '',
        user: this.#context.user,
        method: 'POST',
        query: new URLSearchParams(),
        subpath: '',
        userAgent: this.#context.user.name,
      },
      dryRun: false,
      signal: opts.signal ?? new AbortController().signal,
      warn: this.#context.warn,
    };
  }
}

function namespaceOf(type: ResourceType, name: { readonly namespace?: string }): string {
  return type.namespaced ? (name.namespace ?? '') : '';
}

function bookmark(type: ResourceType, revision: number): KubeObject {
  const metadata = { resourceVersion: String(revision), annotations: { 'k8s.io/initial-events-end': 'true' } };
  return deepFreeze({ kind: type.kind, apiVersion: apiVersionOf(type), metadata });
}

/** Runs `work`, turning the server's errors into the client's. */
async function call<T>(opts: CallOptions, work: () => T | Promise<T>): Promise<T> {
  opts.signal?.throwIfAborted();
  try {
    return await work();
  } catch (err) {
    if (err instanceof StatusError) throw new ApiError(err.toStatus() as Status);
    if (err instanceof CompactedError) throw new ApiError(badRequest(err.message).toStatus());
    throw err;
  }
}

/** Events from the store's callback to one awaiting reader. */
class EventQueue<T> {
  readonly #signal: AbortSignal | undefined;
  #items: T[] = [];
  #head = 0;
  #wake: (() => void) | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  push(item: T): void {
    this.#items.push(item);
    this.#wake?.();
  }

  /** The next item; undefined once the signal aborts. */
  async next(): Promise<T | undefined> {
    while (this.#head === this.#items.length) {
      if (this.#signal?.aborted) return undefined;
      this.#items = [];
      this.#head = 0;
      await this.#sleep();
    }
    return this.#signal?.aborted ? undefined : this.#items[this.#head++];
  }

  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#wake = undefined;
        this.#signal?.removeEventListener('abort', done);
        resolve();
      };
      this.#wake = done;
      this.#signal?.addEventListener('abort', done, { once: true });
    });
  }
}
