// Asks again, soon, where the API server has not caught up with itself. The Node authorizer and NodeRestriction look at
// pods and nodes through caches of their own: a node that is quick asks for the Secret or the token of a pod that they
// still hold to be nobody's, and is refused. Milliseconds later the same is allowed; a refusal would cost the pod the
// first wait of a back-off, half a second or more.
import type { KubeList, KubeObject, ObjectName, WatchEvent } from '../api/meta.ts';
import { type ResourceType, volumeAttachments } from '../api/resources.ts';
import type { Clock } from '../core/clock.ts';
import type {
  ApiClient,
  CallOptions,
  DeleteOptions,
  ListOptions,
  Patch,
  WatchOptions,
  WriteOptions,
} from './api-client.ts';
import { isForbidden, isNotFound } from './errors.ts';

/** Before each further try, ms. What is still refused then is refused for good. */
const WAITS_MS = [30, 100, 300] as const;

/** What is said of pods that are not known to be this node's, or not known in this life, and of a Node made anew. */
const BEHIND =
  /no relationship found between node |bound to a pod scheduled on a different node|does not match the UID in record|UID mismatch: expected /;
/** Kinds that admission looks up when something else is created. */
const LOOKED_UP: readonly string[] = ['pods', 'nodes'];

export class PatientClient implements ApiClient {
  readonly #inner: ApiClient;
  readonly #clock: Clock;

  constructor(inner: ApiClient, clock: Clock) {
    this.#inner = inner;
    this.#clock = clock;
  }

  /** Attachments are asked for until a controller has made them, and refused until then: more of that helps nobody. */
  get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts: CallOptions = {}): Promise<T> {
    if (type.plural === volumeAttachments.plural) return this.#inner.get(type, name, opts);
    return this.#patiently(() => this.#inner.get(type, name, opts), opts.signal);
  }

  list<T extends KubeObject>(type: ResourceType<T>, opts: ListOptions = {}): Promise<KubeList<T>> {
    return this.#patiently(() => this.#inner.list(type, opts), opts.signal);
  }

  create<T extends KubeObject, B extends KubeObject = T>(
    type: ResourceType<T>,
    name: { readonly namespace?: string; readonly name?: string },
    object: B,
    opts: WriteOptions = {},
  ): Promise<B> {
    return this.#patiently(() => this.#inner.create(type, name, object, opts), opts.signal, isMissingLookup);
  }

  update<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, object: T, opts?: WriteOptions): Promise<T> {
    return this.#inner.update(type, name, object, opts);
  }

  patch<T extends KubeObject>(
    type: ResourceType<T>,
    name: ObjectName,
    patch: Patch,
    opts: WriteOptions = {},
  ): Promise<T> {
    return this.#patiently(() => this.#inner.patch(type, name, patch, opts), opts.signal);
  }

  delete<T extends KubeObject>(type: ResourceType<T>, name: ObjectName, opts?: DeleteOptions): Promise<void> {
    return this.#inner.delete(type, name, opts);
  }

  /** A watch is tried again only while it has brought nothing. */
  async *watch<T extends KubeObject>(type: ResourceType<T>, opts: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    for (let attempt = 0; ; attempt++) {
      let hasBegun = false;
      try {
        for await (const event of this.#inner.watch(type, opts)) {
          hasBegun = true;
          yield event;
        }
        return;
      } catch (err) {
        if (hasBegun || !isBehind(err) || !(await this.#wait(attempt, opts.signal))) throw err;
      }
    }
  }

  closeIdleConnections(): void {
    this.#inner.closeIdleConnections();
  }

  async #patiently<R>(
    call: () => Promise<R>,
    signal: AbortSignal | undefined,
    mayPass: (err: unknown) => boolean = () => false,
  ): Promise<R> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await call();
      } catch (err) {
        const isWorthIt = isBehind(err) || mayPass(err);
        if (!isWorthIt || !(await this.#wait(attempt, signal))) throw err;
      }
    }
  }

  /** False when there is no further try. */
  async #wait(attempt: number, signal: AbortSignal | undefined): Promise<boolean> {
    const ms = WAITS_MS[attempt];
    if (ms === undefined || signal?.aborted) return false;
    await this.#clock.sleep(ms, signal);
    return signal?.aborted !== true;
  }
}

function isBehind(err: unknown): boolean {
  return isForbidden(err) && BEHIND.test(err.message);
}

function isMissingLookup(err: unknown): boolean {
  return isNotFound(err) && LOOKED_UP.includes(err.status.details?.kind ?? '');
}
