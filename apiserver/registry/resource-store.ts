// Create, read, update, delete, list and watch of one kind: the generic registry. What differs between kinds is in the
// definition. After apiserver pkg/registry/generic/registry/store.go and pkg/registry/rest.
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { formatTime, type KubeObject, type ObjectMeta } from '../../api/meta.ts';
import type { Clock } from '../../core/clock.ts';
import { type AdmissionPlugin, type AdmissionRequest, runMutation, runValidation } from '../admission.ts';
import type { UserInfo } from '../request.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  expired,
  type GroupResource,
  generateNameExhausted,
  notFound,
  type StatusError,
} from '../status-error.ts';
import { CompactedError, type Store, type StoreEvent } from '../store/store.ts';
import { encodeBody, StoredItem } from '../store/stored-item.ts';
import { decodeContinue, encodeContinue } from './continue-token.ts';
import type { AnyObject, KindDefinition, Mutable, StrategyContext } from './definition.ts';
import {
  beginDeletion,
  checkPreconditions,
  type DeleteRequest,
  endsAtOnce,
  finalizersAfterPolicy,
  withoutVersion,
} from './deletion.ts';
import { invalid, invalidObject } from './field-errors.ts';
import { MAX_NAME_BASE, metadataFaults, metadataUpdateFaults, randomSuffix } from './metadata.ts';
import type { ObjectReader } from './reader.ts';
import { restore } from './restore.ts';
import type { ItemFilter } from './selectors.ts';

/** Who writes, and what goes with the request. */
export interface WriteContext {
  readonly user: UserInfo;
  readonly dryRun: boolean;
  warn(text: string): void;
}

export interface ResourceDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly reader: ObjectReader;
  readonly admission: readonly AdmissionPlugin[];
}

export interface ListQuery {
  /** '' for all. */
  readonly namespace: string;
  readonly filter: ItemFilter;
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
  /** Show the state at exactly this revision. */
  readonly exactRevision?: number | undefined;
}

export interface ListPage {
  readonly items: readonly StoredItem[];
  readonly revision: number;
  readonly continue: string;
  /** Items after this page; undefined when it is the last or a selector hides how many would match. */
  readonly remaining: number | undefined;
}

export interface Written {
  readonly item: StoredItem;
  readonly created: boolean;
}

export type Change = { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly item: StoredItem };

/** Attempts of an update that did not name a version and keeps losing to other writers. */
const MAX_UPDATE_ATTEMPTS = 10;
const MAX_GENERATED_NAMES = 8;

export class ResourceStore {
  readonly definition: KindDefinition;
  readonly #deps: ResourceDeps;
  readonly #resource: GroupResource;

  constructor(definition: KindDefinition, deps: ResourceDeps) {
    this.definition = definition;
    this.#deps = deps;
    this.#resource = { group: definition.type.group, resource: definition.type.plural };
  }

  get revision(): number {
    return this.#deps.store.revision;
  }

  /** @throws {StatusError} 404 */
  get(namespace: string, name: string): StoredItem {
    const item = this.find(namespace, name);
    if (item === undefined) throw notFound(this.#resource, name);
    return item;
  }

  find(namespace: string, name: string): StoredItem | undefined {
    return this.#deps.store.get(this.definition.root, this.#key(namespace, name));
  }

  /** @throws {StatusError} 400 for a bad continue token, 410 when its revision is gone. */
  list(query: ListQuery): ListPage {
    const { store } = this.#deps;
    const token = query.continue ? decodeContinue(query.continue) : undefined;
    const revision =
      (token !== undefined && token.revision > 0 ? token.revision : query.exactRevision) ?? store.revision;
    const candidates = this.#candidates(query, revision, token?.start);
    const start = token === undefined ? 0 : firstFrom(candidates, token.start);
    const limit = query.limit !== undefined && query.limit > 0 ? query.limit : Number.POSITIVE_INFINITY;
    const items: StoredItem[] = [];
    let at = start;
    for (; at < candidates.length && items.length < limit; at++) {
      if (query.filter.matches(candidates[at]!)) items.push(candidates[at]!);
    }
    const more = at < candidates.length;
    const next = more ? encodeContinue({ revision, start: `${items.at(-1)!.key}\u0000` }) : '';
    return {
      items,
      revision,
      continue: next,
      remaining: more && query.filter.empty ? candidates.length - at : undefined,
    };
  }

  #candidates(query: ListQuery, revision: number, start: string | undefined): readonly StoredItem[] {
    const { store } = this.#deps;
    const { root, type } = this.definition;
    const prefix = type.namespaced && query.namespace !== '' ? `${query.namespace}/` : '';
    const name = query.filter.name;
    if (revision >= store.revision && name !== undefined && (!type.namespaced || prefix !== '')) {
      const item = store.get(root, `${prefix}${name}`);
      return item === undefined ? [] : [item];
    }
    try {
      return store.listAt(revision, root, prefix);
    } catch (err) {
      if (!(err instanceof CompactedError)) throw err;
      if (start === undefined) throw expired(err.message);
      const inconsistent = encodeContinue({ revision: -1, start });
      throw expired(
        'The provided continue parameter is too old to display a consistent list result. You can start a new list ' +
          'without the continue parameter, or use the continue token in this response to retrieve the remainder of ' +
          'the results. Continuing with the provided token results in an inconsistent list - objects that were ' +
          'created, modified, or deleted between the time the first chunk was returned and now may show up in the list.',
        { continue: inconsistent },
      );
    }
  }

  /** Changes after `from` as one who sees only what `filter` lets through meets them. @throws {CompactedError} */
  watch(namespace: string, filter: ItemFilter, from: number, listener: (change: Change) => void): Disposable {
    const prefix = this.definition.type.namespaced && namespace !== '' ? `${namespace}/` : '';
    return this.#deps.store.watch(this.definition.root, from, (event) => {
      if (!event.item.key.startsWith(prefix)) return;
      const change = filter.empty ? plainChange(event) : filteredChange(event, filter);
      if (change !== undefined) listener(change);
    });
  }

  /** Takes ownership of `object`. @throws {StatusError} */
  async create(namespace: string, object: AnyObject, context: WriteContext): Promise<StoredItem> {
    const { definition } = this;
    const meta = this.#takeMetadata(namespace, object);
    if (meta.resourceVersion) throw badRequest('resourceVersion should not be set on objects to be created');
    definition.defaults?.(object);
    const admission = this.#admission('CREATE', '', namespace, meta.name ?? '', context, object, undefined);
    await runMutation(this.#deps.admission, admission);
    this.#prepareCreate(object, context);
    const generated = !meta.name && meta.generateName !== undefined && meta.generateName !== '';
    for (let attempt = 1; ; attempt++) {
      if (generated) object.metadata!.name = `${meta.generateName!.slice(0, MAX_NAME_BASE)}${randomSuffix()}`;
      const name = object.metadata!.name ?? '';
      const existing = this.find(namespace, name);
      if (existing === undefined) {
        const result = await this.#store(namespace, name, object, admission, context);
        if (result !== undefined) return result;
      }
      if (!generated) throw this.#exists(namespace, name);
      if (attempt >= MAX_GENERATED_NAMES) throw generateNameExhausted(this.#resource, name);
    }
  }

  /** @returns undefined when an object of that name came first. */
  async #store(
    namespace: string,
    name: string,
    object: AnyObject,
    admission: AdmissionRequest,
    context: WriteContext,
  ): Promise<StoredItem | undefined> {
    const { definition } = this;
    // A copy: the store freezes what it takes, and another name may have to be tried.
    const copy = structuredClone(object);
    this.#refuseFaults(name, [...metadataFaults(copy.metadata!, definition), ...(definition.validate?.(copy) ?? [])]);
    const reservation = definition.reserve?.(copy, undefined);
    try {
      await runValidation(this.#deps.admission, { ...admission, name, object: copy });
      const item = await this.#put(namespace, name, copy, 0, context.dryRun);
      if (item === undefined || context.dryRun) reservation?.release();
      else reservation?.commit();
      return item;
    } catch (err) {
      reservation?.release();
      throw err;
    }
  }

  #exists(namespace: string, name: string): StatusError {
    const terminating = this.find(namespace, name)?.object.metadata?.deletionTimestamp !== undefined;
    return alreadyExists(this.#resource, name, terminating ? 'object is being deleted: ' : '');
  }

  #prepareCreate(object: AnyObject, context: WriteContext): void {
    const { definition } = this;
    const meta = object.metadata!;
    meta.uid = randomUUID();
    meta.creationTimestamp = formatTime(this.#deps.clock.now());
    delete meta.deletionTimestamp;
    delete meta.deletionGracePeriodSeconds;
    delete meta.selfLink;
    delete meta.generation;
    if (definition.generation) meta.generation = 1;
    if (definition.status && !definition.keepStatusOnCreate) delete object.status;
    definition.prepareCreate?.(object, this.#strategyContext(context));
    definition.defaults?.(object);
  }

  /**
   * Changes one object. `change` gets a copy it may alter and gives the wanted object; it is called again when another
   * writer came between. `subresource` '' is the object itself.
   * @throws {StatusError}
   */
  async update(
    namespace: string,
    name: string,
    subresource: string,
    change: (current: AnyObject) => AnyObject | Promise<AnyObject>,
    context: WriteContext,
    options: { readonly isPut?: boolean } = {},
  ): Promise<Written> {
    for (let attempt = 1; ; attempt++) {
      const current = this.find(namespace, name);
      if (current === undefined) return this.#createByUpdate(namespace, name, subresource, change, context, options);
      const next = await change(JSON.parse(current.text) as AnyObject);
      const conditional = this.#checkVersion(next, current, name, options.isPut === true && subresource === '');
      const item = await this.#updateOnce(namespace, name, subresource, next, current, context);
      if (item !== undefined) return { item, created: false };
      if (conditional || attempt >= MAX_UPDATE_ATTEMPTS) throw conflict(this.#resource, name);
    }
  }

  async #createByUpdate(
    namespace: string,
    name: string,
    subresource: string,
    change: (current: AnyObject) => AnyObject | Promise<AnyObject>,
    context: WriteContext,
    options: { readonly isPut?: boolean },
  ): Promise<Written> {
    if (!options.isPut || subresource !== '' || !this.definition.createOnUpdate) throw notFound(this.#resource, name);
    const object = await change({ metadata: { name } });
    if (object.metadata?.uid) {
      throw conflict(
        this.#resource,
        name,
        `Precondition failed: UID in precondition: ${object.metadata.uid}, UID in object meta: `,
      );
    }
    if (object.metadata?.resourceVersion) throw notFound(this.#resource, name);
    return { item: await this.create(namespace, object, context), created: true };
  }

  /** True when the writer named the version it knows. */
  #checkVersion(next: AnyObject, current: StoredItem, name: string, isPut: boolean): boolean {
    const wanted = next.metadata?.resourceVersion ?? '';
    const uid = next.metadata?.uid;
    const currentUid = current.object.metadata?.uid;
    if (uid !== undefined && uid !== '' && uid !== currentUid) {
      const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${currentUid ?? ''}`;
      throw conflict(this.#resource, name, why);
    }
    if (wanted === '' || wanted === '0') {
      if (isPut && this.definition.versionedUpdate) {
        this.#refuseFaults(name, [invalid('metadata.resourceVersion', 0, 'must be specified for an update')]);
      }
      return false;
    }
    if (wanted !== String(current.revision)) throw conflict(this.#resource, name);
    return true;
  }

  async #updateOnce(
    namespace: string,
    name: string,
    subresource: string,
    next: AnyObject,
    current: StoredItem,
    context: WriteContext,
  ): Promise<StoredItem | undefined> {
    const { definition } = this;
    const old = current.object as AnyObject;
    const meta = this.#takeMetadata(namespace, next);
    if (meta.name !== name) {
      throw badRequest(`the name of the object (${meta.name ?? ''}) does not match the name on the URL (${name})`);
    }
    keepSystemMetadata(meta, old.metadata!);
    this.#resetForSubresource(next, old, subresource, context);
    const admission = this.#admission('UPDATE', subresource, namespace, name, context, next, old);
    await runMutation(this.#deps.admission, admission);
    // Upstream binds past the strategy: being given a node is not a new generation.
    if (definition.generation && subresource !== 'binding') next.metadata!.generation = nextGeneration(next, old);
    this.#refuseFaults(name, this.#updateFaults(next, old, subresource));
    const reservation = subresource === '' ? definition.reserve?.(next, old) : undefined;
    let stored = false;
    try {
      await runValidation(this.#deps.admission, admission);
      if (this.#mayGo(next)) return await this.#remove(current, next, context.dryRun);
      if (sameObject(next, old)) return current;
      const item = await this.#put(namespace, name, next, current.revision, context.dryRun);
      stored = item !== undefined && !context.dryRun;
      return item;
    } finally {
      if (stored) reservation?.commit();
      else reservation?.release();
    }
  }

  #resetForSubresource(next: AnyObject, old: AnyObject, subresource: string, context: WriteContext): void {
    const { definition } = this;
    if (subresource === 'status') resetToStatus(next, old, definition);
    else if (subresource === '' && definition.status) restore(next, old, 'status');
    definition.subresources?.[subresource]?.reset(next, old);
    definition.defaults?.(next);
    if (subresource === '') definition.prepareUpdate?.(next, old, this.#strategyContext(context));
  }

  #updateFaults(next: AnyObject, old: AnyObject, subresource: string) {
    const { definition } = this;
    const own = definition.subresources?.[subresource]?.validate;
    const faults = [
      ...metadataFaults(next.metadata!, definition),
      ...metadataUpdateFaults(next.metadata!, old.metadata!),
    ];
    if (subresource === '') {
      return [...faults, ...(definition.validate?.(next) ?? []), ...(definition.validateUpdate?.(next, old) ?? [])];
    }
    return [...faults, ...(own?.(next, old) ?? [])];
  }

  /** True when the object is terminating and nothing holds it any more. */
  #mayGo(object: AnyObject): boolean {
    const meta = object.metadata!;
    if (meta.deletionTimestamp === undefined || (meta.finalizers?.length ?? 0) > 0) return false;
    return (meta.deletionGracePeriodSeconds ?? 0) === 0 && (this.definition.finished?.(object) ?? true);
  }

  /**
   * @returns the object when it was there and is gone or terminating now; `gone` tells which.
   * @throws {StatusError} 404, or 409 when a precondition does not hold.
   */
  async delete(
    namespace: string,
    name: string,
    request: DeleteRequest,
    context: WriteContext,
  ): Promise<{ readonly gone: boolean; readonly item: StoredItem }> {
    const admission = this.#admission(
      'DELETE',
      '',
      namespace,
      name,
      context,
      undefined,
      this.get(namespace, name).object,
    );
    await runValidation(this.#deps.admission, admission);
    for (let asked = request; ; ) {
      const current = this.get(namespace, name);
      checkPreconditions(this.#resource, name, current.object.metadata ?? {}, asked);
      const next = beginDeletion(this.definition, current, asked, this.#deps.clock.now());
      if (next === undefined) return { gone: false, item: current };
      const meta = next.metadata!;
      meta.finalizers = finalizersAfterPolicy(meta.finalizers ?? [], request, this.definition);
      if (meta.finalizers.length === 0) delete meta.finalizers;
      const gone = this.#mayGo(next);
      // Whoever acts on the end of such an object (a node, on its pod) has to see that it is to end at once.
      if (gone && this.definition.grace !== undefined && !endsAtOnce(current.object) && !context.dryRun) {
        const told = await this.#put(namespace, name, next, current.revision, false);
        // The version that was asked for is gone by our own doing.
        if (told !== undefined) asked = withoutVersion(request);
        continue; // and remove it, unless somebody was faster
      }
      const item = gone
        ? await this.#remove(current, next, context.dryRun)
        : sameObject(next, current.object)
          ? current
          : await this.#put(namespace, name, next, current.revision, context.dryRun);
      if (item !== undefined) return { gone, item };
    }
  }

  async #put(
    namespace: string,
    name: string,
    object: AnyObject,
    expected: number,
    dryRun: boolean,
  ): Promise<StoredItem | undefined> {
    const { root, ttlSeconds, type } = this.definition;
    object.kind = type.kind;
    object.apiVersion = type.group === '' ? type.version : `${type.group}/${type.version}`;
    if (dryRun) return dryRunItem(root, this.#key(namespace, name), object, expected);
    const result = await this.#deps.store.put(root, this.#key(namespace, name), object, { expected, ttlSeconds });
    return result.ok ? result.item : undefined;
  }

  /** `last` is what the client that removed it sees. */
  async #remove(current: StoredItem, last: AnyObject, dryRun: boolean): Promise<StoredItem | undefined> {
    if (dryRun) return dryRunItem(current.root, current.key, last, current.revision);
    const result = await this.#deps.store.delete(current.root, current.key, { expected: current.revision });
    if (!result.ok) {
      // Somebody else removed it meanwhile: to the caller that is as good.
      if (result.current === undefined) return current;
      return undefined;
    }
    this.definition.onDeleted?.(current.object as AnyObject);
    return dryRunItem(current.root, current.key, last, result.item.revision);
  }

  #takeMetadata(namespace: string, object: AnyObject): Mutable<ObjectMeta> {
    object.metadata ??= {};
    const meta = object.metadata;
    if (!this.definition.type.namespaced) {
      delete meta.namespace;
      return meta;
    }
    if (meta.namespace && meta.namespace !== namespace) {
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
    }
    meta.namespace = namespace;
    return meta;
  }

  #admission(
    operation: AdmissionRequest['operation'],
    subresource: string,
    namespace: string,
    name: string,
    context: WriteContext,
    object: KubeObject | undefined,
    oldObject: KubeObject | undefined,
  ): AdmissionRequest {
    const { group, version, plural, kind } = this.definition.type;
    return {
      operation,
      user: context.user,
      group,
      version,
      resource: plural,
      subresource,
      kind,
      namespace,
      name,
      ...(object === undefined ? {} : { object }),
      ...(oldObject === undefined ? {} : { oldObject }),
      dryRun: context.dryRun,
      warn: context.warn,
    };
  }

  #strategyContext(context: WriteContext): StrategyContext {
    const { clock, reader } = this.#deps;
    return { nowMs: clock.now(), reader, user: context.user, dryRun: context.dryRun, warn: context.warn };
  }

  #refuseFaults(name: string, faults: readonly ReturnType<typeof invalid>[]): void {
    const { group, kind } = this.definition.type;
    if (faults.length > 0) throw invalidObject(group, kind, name, faults);
  }

  #key(namespace: string, name: string): string {
    return this.definition.type.namespaced ? `${namespace}/${name}` : name;
  }
}

function firstFrom(items: readonly StoredItem[], start: string): number {
  const at = items.findIndex((item) => item.key >= start);
  return at < 0 ? items.length : at;
}

function plainChange(event: StoreEvent): Change {
  if (event.type === 'delete') return { type: 'DELETED', item: event.item };
  return { type: event.previous === undefined ? 'ADDED' : 'MODIFIED', item: event.item };
}

/** Entering the selection is an addition, leaving it a deletion. */
function filteredChange(event: StoreEvent, filter: ItemFilter): Change | undefined {
  const before = event.previous !== undefined && filter.matches(event.previous);
  if (event.type === 'delete') return before ? { type: 'DELETED', item: event.item } : undefined;
  const after = filter.matches(event.item);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', item: event.item };
  if (!before) return undefined;
  const { root, key, revision } = event.item;
  return { type: 'DELETED', item: new StoredItem(root, key, revision, event.previous!.body) };
}

/** What only the server sets stays as it was. */
function keepSystemMetadata(meta: Mutable<ObjectMeta>, old: Mutable<ObjectMeta>): void {
  for (const member of [
    'uid',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generateName',
    'generation',
    'selfLink',
  ] as const) {
    restore(meta, old, member);
  }
}

function resetToStatus(next: AnyObject, old: AnyObject, definition: KindDefinition): void {
  const { status, metadata } = next;
  for (const member of Object.keys(next)) if (member !== 'metadata') delete next[member as keyof AnyObject];
  Object.assign(next, structuredClone(old), { metadata });
  if (status === undefined) delete next.status;
  else next.status = status;
  const meta = next.metadata!;
  restore(meta, old.metadata!, 'ownerReferences');
  restore(meta, old.metadata!, 'finalizers');
  if (!definition.statusKeepsMetadata) return;
  restore(meta, old.metadata!, 'labels');
  restore(meta, old.metadata!, 'annotations');
}

/** One more whenever anything besides metadata and status changed. */
function nextGeneration(next: AnyObject, old: AnyObject): number {
  const generation = old.metadata?.generation ?? 1;
  const { metadata: _m, status: _s, ...wanted } = next;
  const { metadata: _om, status: _os, ...known } = old;
  return isDeepStrictEqual(wanted, known) ? generation : generation + 1;
}

function sameObject(next: AnyObject, old: KubeObject): boolean {
  const { resourceVersion: _n, ...nextMeta } = next.metadata!;
  const { resourceVersion: _o, ...oldMeta } = old.metadata!;
  const { kind: _nk, apiVersion: _na, ...nextRest } = next;
  const { kind: _ok, apiVersion: _oa, ...oldRest } = old;
  return isDeepStrictEqual({ ...nextRest, metadata: nextMeta }, { ...oldRest, metadata: oldMeta });
}

function dryRunItem(root: string, key: string, object: AnyObject, revision: number): StoredItem {
  return new StoredItem(root, key, revision, encodeBody(object));
}
