// Create, update and delete of one kind: the generic registry. What differs between kinds is in the definition. After
// apiserver pkg/registry/generic/registry/store.go and pkg/registry/rest.
import { randomUUID } from 'node:crypto';
import { formatTime, type KubeObject } from '../../api/meta.ts';
import type { Clock } from '../../core/clock.ts';
import { type AdmissionPlugin, type AdmissionRequest, runMutation, runValidation } from '../admission.ts';
import type { UserInfo } from '../request.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  type GroupResource,
  generateNameExhausted,
  notFound,
  type StatusError,
} from '../status-error.ts';
import type { Store } from '../store/store.ts';
import type { StoredItem } from '../store/stored-item.ts';
import type { AnyObject, KindDefinition, StrategyContext } from './definition.ts';
import {
  beginDeletion,
  checkPreconditions,
  type DeleteRequest,
  endsAtOnce,
  finalizersAfterPolicy,
  withoutVersion,
} from './deletion.ts';
import { type invalid, invalidObject } from './field-errors.ts';
import { ItemWriter } from './item-writer.ts';
import { MAX_NAME_BASE, metadataFaults, metadataUpdateFaults, randomSuffix } from './metadata.ts';
import type { ObjectReader } from './reader.ts';
import { ResourceReads } from './resource-reads.ts';
import { restore } from './restore.ts';
import {
  checkVersion,
  keepSystemMetadata,
  nextGeneration,
  resetToStatus,
  sameObject,
  takeMetadata,
} from './update-rules.ts';

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

export interface Written {
  readonly item: StoredItem;
  readonly created: boolean;
}

/** Attempts of an update that did not name a version and keeps losing to other writers. */
const MAX_UPDATE_ATTEMPTS = 10;
const MAX_GENERATED_NAMES = 8;

export class ResourceStore extends ResourceReads {
  readonly #deps: ResourceDeps;
  readonly #resource: GroupResource;
  readonly #writer: ItemWriter;

  constructor(definition: KindDefinition, deps: ResourceDeps) {
    super(definition, deps.store);
    this.#deps = deps;
    this.#writer = new ItemWriter(definition, deps.store);
    this.#resource = { group: definition.type.group, resource: definition.type.plural };
  }

  /** Takes ownership of `object`. @throws {StatusError} */
  async create(namespace: string, object: AnyObject, context: WriteContext): Promise<StoredItem> {
    const { definition } = this;
    const meta = takeMetadata(this.definition, namespace, object);
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
    const faults = [...(definition.validate?.(copy) ?? []), ...(definition.validateCreate?.(copy) ?? [])];
    this.#refuseFaults(name, [...metadataFaults(copy.metadata!, definition), ...faults]);
    const reservation = definition.reserve?.(copy, undefined);
    try {
      await runValidation(this.#deps.admission, { ...admission, name, object: copy });
      const item = await this.#writer.put(namespace, name, copy, 0, context.dryRun);
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
      const conditional = checkVersion(this.definition, next, current, { isPut: options.isPut === true, subresource });
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
    const meta = takeMetadata(this.definition, namespace, next);
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
      if (this.#mayGo(next)) return await this.#writer.remove(current, next, context.dryRun);
      if (sameObject(next, old)) return current;
      const item = await this.#writer.put(namespace, name, next, current.revision, context.dryRun);
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
        const told = await this.#writer.put(namespace, name, next, current.revision, false);
        // The version that was asked for is gone by our own doing.
        if (told !== undefined) asked = withoutVersion(request);
        continue; // and remove it, unless somebody was faster
      }
      const item = gone
        ? await this.#writer.remove(current, next, context.dryRun)
        : sameObject(next, current.object)
          ? current
          : await this.#writer.put(namespace, name, next, current.revision, context.dryRun);
      if (item !== undefined) return { gone, item };
    }
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
}
