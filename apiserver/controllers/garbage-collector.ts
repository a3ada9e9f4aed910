// Deletes what has lost all its owners, and carries out foreground and orphaning deletion
// (pkg/controller/garbagecollector).
import type { KubeObject, OwnerReference } from '../../api/meta.ts';
import { apiVersionOf, type ResourceType } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { Reflector } from '../../client/reflector.ts';
import { Store } from '../../client/store.ts';
import { runTasks } from '../../core/tasks.ts';
import { type Controller, type ControllerContext, referenceTo } from './context.ts';
import { FOREGROUND, ORPHAN, type OwnedObject, OwnerGraph } from './owner-graph.ts';
import { Reconciler } from './reconciler.ts';

/** Kinds that come and go by the thousand and own nothing. */
const IGNORED = new Set(['events']);
/** After this an owner that only the server knows of is looked for again. */
const UNSEEN_OWNER_MS = 30_000;

export class GarbageCollector implements Controller {
  readonly name = 'generic-garbage-collector';
  readonly #ctx: ControllerContext;
  readonly #types: readonly ResourceType[];
  readonly #events: EventRecorder;
  readonly #graph = new OwnerGraph();
  readonly #work: Reconciler;

  /** `resources`: every kind that can be listed, watched and deleted. */
  constructor(ctx: ControllerContext, resources: readonly ResourceType[]) {
    this.#ctx = ctx;
    this.#events = ctx.recorder('garbage-collector-controller');
    this.#types = resources.filter((r) => !IGNORED.has(r.plural));
    this.#work = new Reconciler((uid) => this.#reconcile(uid), { name: this.name, concurrency: 8 }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { client, clock, log } = this.#ctx;
    const stores = this.#types.map((type) => ({ type, store: new Store<KubeObject>() }));
    for (const { type, store } of stores) {
      store.subscribe({
        onAdd: (o) => this.#onChange(type, o),
        onUpdate: (_old, o) => this.#onChange(type, o),
        onDelete: (o) => this.#onDelete(o),
      });
    }
    const reflectors = Object.fromEntries(
      stores.map(({ type, store }) => {
        const reflector = new Reflector(client, type, store, {}, { clock, log });
        return [`${type.group}/${type.plural}`, (s: AbortSignal) => reflector.run(s)];
      }),
    );
    await runTasks(signal, {
      ...reflectors,
      // Not before every kind is known: an owner that has not been listed yet is not a missing one.
      work: async (s) => {
        await Promise.all(stores.map(({ store }) => store.waitForSync(s)));
        await this.#work.run(s);
      },
    });
  }

  #onChange(type: ResourceType, object: KubeObject): void {
    const entry = this.#graph.set(type, object);
    const waits = entry.beingDeleted && (entry.finalizers.includes(FOREGROUND) || entry.finalizers.includes(ORPHAN));
    if (waits || entry.owners.length > 0) this.#work.request(entry.uid);
    if (entry.beingDeleted) for (const owner of entry.owners) this.#requestIfWaiting(owner.uid);
  }

  #onDelete(object: KubeObject): void {
    const uid = object.metadata?.uid ?? '';
    const dependents = this.#graph.dependentsOf(uid);
    this.#graph.delete(uid);
    for (const dependent of dependents) this.#work.request(dependent.uid);
    for (const owner of object.metadata?.ownerReferences ?? []) this.#requestIfWaiting(owner.uid);
  }

  /** An owner in foreground deletion may go once its last blocking dependent has gone. */
  #requestIfWaiting(uid: string): void {
    const owner = this.#graph.get(uid);
    if (owner?.beingDeleted && owner.finalizers.includes(FOREGROUND)) this.#work.request(uid);
  }

  async #reconcile(uid: string): Promise<void> {
    const entry = this.#graph.get(uid);
    if (entry === undefined) return;
    if (entry.beingDeleted) {
      if (entry.finalizers.includes(ORPHAN)) await this.#orphanDependents(entry);
      else if (entry.finalizers.includes(FOREGROUND)) await this.#deleteDependents(entry);
      return;
    }
    if (entry.owners.length > 0) await this.#deleteIfUnowned(entry);
  }

  async #deleteIfUnowned(entry: OwnedObject): Promise<void> {
    const solid: OwnerReference[] = [];
    const dangling: OwnerReference[] = [];
    const waiting: OwnerReference[] = [];
    for (const owner of entry.owners) {
      const state = await this.#stateOf(owner, entry);
      if (state === 'gone') dangling.push(owner);
      else if (state === 'waits for dependents') waiting.push(owner);
      else solid.push(owner);
    }
    if (solid.length > 0) {
      if (dangling.length + waiting.length > 0) await this.#dropOwners(entry, [...dangling, ...waiting]);
      return;
    }
    // What an owner waits for must itself wait for its own dependents; everything else goes at once.
    const foreground = waiting.length > 0 && this.#graph.dependentsOf(entry.uid).length > 0;
    await this.#delete(entry, foreground ? 'Foreground' : policyOf(entry));
  }

  async #stateOf(owner: OwnerReference, entry: OwnedObject): Promise<'solid' | 'gone' | 'waits for dependents'> {
    const known = this.#graph.get(owner.uid);
    const type = known?.type ?? this.#types.find((t) => t.kind === owner.kind && apiVersionOf(t) === owner.apiVersion);
    if (type === undefined) return 'solid'; // a kind that is not watched
    if (type.namespaced && (entry.namespace === undefined || (known && known.namespace !== entry.namespace))) {
      this.#reportInvalidOwner(owner, entry);
      return 'solid';
    }
    if (known !== undefined) {
      return known.beingDeleted && known.finalizers.includes(FOREGROUND) ? 'waits for dependents' : 'solid';
    }
    // Deleting is final, so the server is asked.
    try {
      const namespace = type.namespaced && entry.namespace !== undefined ? { namespace: entry.namespace } : {};
      const live = await this.#ctx.client.get(type, { name: owner.name, ...namespace });
      if (live.metadata?.uid !== owner.uid) return 'gone';
      this.#work.requestAfter(entry.uid, UNSEEN_OWNER_MS); // it may go before a watch ever shows it
      return 'solid';
    } catch (err) {
      if (isNotFound(err)) return 'gone';
      throw err;
    }
  }

  #reportInvalidOwner(owner: OwnerReference, entry: OwnedObject): void {
    const message = `ownerRef [${owner.apiVersion}/${owner.kind}, name: ${owner.name}, uid: ${owner.uid}] does not exist in namespace "${entry.namespace ?? ''}"`;
    const about = referenceTo({ metadata: { ...nameOf(entry), uid: entry.uid } }, entry.type);
    this.#events.event(about, 'Warning', 'OwnerRefInvalidNamespace', message);
  }

  async #deleteDependents(owner: OwnedObject): Promise<void> {
    const blocking = this.#graph
      .dependentsOf(owner.uid)
      .filter((d) => d.owners.some((o) => o.uid === owner.uid && o.blockOwnerDeletion === true));
    for (const dependent of this.#graph.dependentsOf(owner.uid)) {
      if (!dependent.beingDeleted) this.#work.request(dependent.uid);
    }
    if (blocking.length === 0) await this.#dropFinalizer(owner, FOREGROUND);
  }

  async #orphanDependents(owner: OwnedObject): Promise<void> {
    for (const dependent of this.#graph.dependentsOf(owner.uid)) {
      await this.#dropOwners(
        dependent,
        dependent.owners.filter((o) => o.uid === owner.uid),
      );
    }
    await this.#dropFinalizer(owner, ORPHAN);
  }

  async #dropOwners(entry: OwnedObject, owners: readonly OwnerReference[]): Promise<void> {
    const gone = new Set(owners.map((o) => o.uid));
    const ownerReferences = entry.owners.filter((o) => !gone.has(o.uid));
    const body = {
      metadata: {
        uid: entry.uid,
        resourceVersion: entry.resourceVersion,
        ownerReferences: ownerReferences.length > 0 ? ownerReferences : null,
      },
    };
    await this.#ifThere(this.#ctx.client.patch(entry.type, nameOf(entry), { type: 'merge', body }));
  }

  async #dropFinalizer(entry: OwnedObject, finalizer: string): Promise<void> {
    const finalizers = entry.finalizers.filter((f) => f !== finalizer);
    const body = {
      metadata: {
        uid: entry.uid,
        resourceVersion: entry.resourceVersion,
        finalizers: finalizers.length > 0 ? finalizers : null,
      },
    };
    await this.#ifThere(this.#ctx.client.patch(entry.type, nameOf(entry), { type: 'merge', body }));
  }

  async #delete(entry: OwnedObject, propagationPolicy: 'Background' | 'Foreground' | 'Orphan'): Promise<void> {
    const preconditions = { uid: entry.uid };
    await this.#ifThere(this.#ctx.client.delete(entry.type, nameOf(entry), { preconditions, propagationPolicy }));
  }

  async #ifThere(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

/** A finalizer that is there already says what somebody wants for its dependents. */
function policyOf(entry: OwnedObject): 'Background' | 'Foreground' | 'Orphan' {
  if (entry.finalizers.includes(ORPHAN)) return 'Orphan';
  return entry.finalizers.includes(FOREGROUND) ? 'Foreground' : 'Background';
}

function nameOf(entry: OwnedObject): { name: string; namespace?: string } {
  return entry.namespace === undefined ? { name: entry.name } : { name: entry.name, namespace: entry.namespace };
}
