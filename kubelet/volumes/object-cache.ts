// ConfigMaps and Secrets that pods of this node refer to: one watch per object, shared by its pods, ended soon after the
// last of them. After pkg/kubelet/util/manager/watch_based_manager.go. The Node authorizer lets a node read only such
// single objects, by name or with the field selector metadata.name.
import type { ConfigMap, Secret } from '../../api/kinds.ts';
import type { KubeObject, ObjectName } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { configMaps, type ResourceType, secrets } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isNotFound } from '../../client/errors.ts';
import { Reflector } from '../../client/reflector.ts';
import { Store } from '../../client/store.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { type ObjectRef, referencedObjects } from './object-refs.ts';

/** How long a first read waits for the watch's list, as upstream. */
const SYNC_LIMIT_MS = 1000;
/** A pod is mostly followed by another one like it, which spares the server a list, a watch and often a connection. */
const LINGER_MS = 30_000;

/** Reads objects that registered pods refer to. Also what builds container environments should use. */
export interface PodObjects {
  /** Undefined when it does not exist. @throws {AgentError} OBJECT_NOT_REGISTERED, OBJECT_SYNC_TIMEOUT */
  getConfigMap(namespace: string, name: string, signal?: AbortSignal): Promise<ConfigMap | undefined>;
  getSecret(namespace: string, name: string, signal?: AbortSignal): Promise<Secret | undefined>;
}

interface Entry {
  readonly ref: ObjectRef;
  readonly store: Store<KubeObject>;
  readonly pods: Set<string>;
  readonly stop: AbortController;
  /** A reader gave up before the first list: its pods must hear of it. Else that list is news to nobody. */
  wasMissed: boolean;
  /** While no pod referred to it its watch may have fallen behind what the maker of the next pod has seen. */
  isDoubtful: boolean;
}

type ImmutableObject = KubeObject & { immutable?: boolean };

export class ObjectCache implements PodObjects, Disposable {
  readonly #client: ApiClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #refsOfPod = new Map<string, ReadonlySet<string>>();
  readonly #handlers = new Set<(podUid: string) => void>();
  /** Entries that no pod refers to at present. */
  readonly #unused: DueQueue<string>;

  constructor(deps: { client: ApiClient; clock: Clock; log: Logger }) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'object-cache' });
    this.#unused = new DueQueue(deps.clock, (key) => this.#close(key));
  }

  /** Called with the uid of each pod that refers to an object which came, changed or went. */
  onChange(handler: (podUid: string) => void): Disposable {
    this.#handlers.add(handler);
    return { [Symbol.dispose]: () => void this.#handlers.delete(handler) };
  }

  /** Starts (or keeps) watching what the pod refers to. Idempotent; a changed pod replaces its references. */
  registerPod(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const refs = new Map(referencedObjects(pod).map((ref) => [keyOf(ref), ref]));
    const before = this.#refsOfPod.get(uid);
    for (const [key, ref] of refs) this.#open(key, ref).pods.add(uid);
    for (const key of before ?? []) if (!refs.has(key)) this.#release(key, uid);
    this.#refsOfPod.set(uid, new Set(refs.keys()));
  }

  /** Ends the pod's interest. Idempotent. */
  forgetPod(podUid: string): void {
    for (const key of this.#refsOfPod.get(podUid) ?? []) this.#release(key, podUid);
    this.#refsOfPod.delete(podUid);
  }

  /** Watches that are open, for metrics and tests. */
  get size(): number {
    return this.#entries.size;
  }

  getConfigMap(namespace: string, name: string, signal?: AbortSignal): Promise<ConfigMap | undefined> {
    return this.#get(configMaps, { kind: 'ConfigMap', namespace, name }, signal);
  }

  getSecret(namespace: string, name: string, signal?: AbortSignal): Promise<Secret | undefined> {
    return this.#get(secrets, { kind: 'Secret', namespace, name }, signal);
  }

  [Symbol.dispose](): void {
    this.#unused[Symbol.dispose]();
    for (const entry of this.#entries.values()) entry.stop.abort();
    this.#entries.clear();
    this.#refsOfPod.clear();
  }

  async #get<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    const held = this.#entries.get(keyOf(ref));
    const entry = held?.isDoubtful ? await this.#confirm(held, type) : held;
    if (entry === undefined || entry.pods.size === 0) {
      throw new AgentError(`object "${ref.namespace}"/"${ref.name}" not registered`, { code: 'OBJECT_NOT_REGISTERED' });
    }
    if (!entry.store.hasSynced) await this.#firstRead(entry, type, signal);
    return entry.store.get(`${ref.namespace}/${ref.name}`) as T | undefined;
  }

  /** The entry itself when the server has the very version that it holds, else one that is listed anew. */
  async #confirm(entry: Entry, type: ResourceType<KubeObject>): Promise<Entry | undefined> {
    const { namespace, name } = entry.ref;
    const versionOf = (object: KubeObject | undefined) => object?.metadata?.resourceVersion;
    const known = entry.store.get(`${namespace}/${name}`);
    const found = await this.#getSoon(type, { namespace, name }).catch(() => undefined);
    const key = keyOf(entry.ref);
    if (this.#entries.get(key) !== entry) return this.#entries.get(key);
    entry.isDoubtful = false;
    if (known !== undefined && versionOf(found) === versionOf(known)) return entry;
    this.#close(key);
    const anew = this.#open(key, entry.ref);
    for (const uid of entry.pods) anew.pods.add(uid);
    return anew;
  }

  /** A plain GET beside the starting watch: it tells a refusal or an outage where the reflector only retries. */
  async #firstRead(entry: Entry, type: ResourceType<KubeObject>, signal?: AbortSignal): Promise<void> {
    const { kind, namespace, name } = entry.ref;
    using waiting = linkedSignal(signal);
    using _limit = this.#clock.setTimer(SYNC_LIMIT_MS, () => waiting.abort());
    await entry.store.waitForSync(waiting.signal);
    if (entry.store.hasSynced || signal?.aborted) return;
    try {
      const object = await this.#getSoon(type, { namespace, name });
      entry.store.replace([object]);
    } catch (cause) {
      if (isNotFound(cause)) {
        entry.store.replace([]);
        return;
      }
      entry.wasMissed = true;
      throw new AgentError(`failed to sync ${kind.toLowerCase()} cache: timed out waiting for the condition`, {
        code: 'OBJECT_SYNC_TIMEOUT',
        cause,
        retryable: true,
      });
    }
  }

  /** Cancelled, not timed out: that this is too slow for a pod does not mean that the connection is dead. */
  async #getSoon(type: ResourceType<KubeObject>, name: ObjectName): Promise<KubeObject> {
    using limit = linkedSignal();
    using _timer = this.#clock.setTimer(SYNC_LIMIT_MS, () => limit.abort());
    return await this.#client.get(type, name, { signal: limit.signal });
  }

  #open(key: string, ref: ObjectRef): Entry {
    const known = this.#entries.get(key);
    this.#unused.delete(key);
    if (known !== undefined) return known;
    const entry: Entry = {
      ref,
      store: new Store<KubeObject>(),
      pods: new Set(),
      stop: new AbortController(),
      wasMissed: false,
      isDoubtful: false,
    };
    this.#entries.set(key, entry);
    const type: ResourceType<KubeObject> = ref.kind === 'ConfigMap' ? configMaps : secrets;
    const opts = { namespace: ref.namespace, fieldSelector: `metadata.name=${ref.name}`, isOneOfMany: true };
    const reflector = new Reflector(this.#client, type, entry.store, opts, { clock: this.#clock, log: this.#log });
    entry.store.subscribe({
      onAdd: (object) => this.#changed(entry, object),
      onUpdate: (_, object) => this.#changed(entry, object),
      onDelete: () => this.#changed(entry),
    });
    void reflector.run(entry.stop.signal); // never throws; ends with the entry
    return entry;
  }

  #changed(entry: Entry, object?: ImmutableObject): void {
    // An immutable object cannot change any more; its watch would only cost the server. It stays readable here.
    if (object?.immutable === true) entry.stop.abort();
    if (!entry.store.hasSynced && !entry.wasMissed) return;
    for (const uid of entry.pods) for (const handler of this.#handlers) handler(uid);
  }

  #release(key: string, podUid: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.pods.delete(podUid);
    if (entry.pods.size > 0) return;
    // What is not watched any more, or was never listed, tells the next pod nothing.
    if (entry.stop.signal.aborted || !entry.store.hasSynced) this.#close(key);
    else {
      entry.isDoubtful = true;
      this.#unused.set(key, LINGER_MS);
    }
  }

  #close(key: string): void {
    this.#unused.delete(key);
    this.#entries.get(key)?.stop.abort();
    this.#entries.delete(key);
  }
}

function keyOf(ref: ObjectRef): string {
  return `${ref.kind}/${ref.namespace}/${ref.name}`;
}
