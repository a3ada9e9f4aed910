// Keeps a Store equal to a collection on the API server: list, then watch, for ever. After client-go
// tools/cache/reflector.go. Nothing polls: between changes it waits on one open watch.
import { compareVersions, type KubeObject, objectKey, type WatchEvent } from '../api/meta.ts';
import type { ResourceType } from '../api/resources.ts';
import { linkedSignal } from '../core/abort.ts';
import { Backoff } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { isAgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { ApiClient, ListOptions, WatchOptions } from './api-client.ts';
import { ApiError, isBadRequest, isExpired, isForbidden, isInvalid, isUnauthorized } from './errors.ts';
import type { Store } from './store.ts';
import { WatchPulse } from './watch-pulse.ts';

/** Objects per page of a list, as client-go asks. */
const PAGE_SIZE = 500;
const BACKOFF = { initialMs: 800, maxMs: 30_000, jitter: 1 } as const;
/** Servers are asked to end a watch after 5 to 10 minutes, so that load spreads again after a restart. */
const MIN_WATCH_SECONDS = 300;
/** A watch that ends sooner and brought nothing new is a failure, or a broken server would be asked in a tight loop. */
const SHORTEST_WATCH_MS = 1_000;
/** Initial events come without pause; a server silent for this long before their end does not serve watch-lists. */
const WATCH_LIST_QUIET_MS = 3_000;
/** A server that refuses so often to go on from a version may have another history: the store is filled anew. */
const MAX_REFUSALS = 2;
const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

export interface ReflectorOptions<T extends KubeObject = KubeObject> {
  /** All namespaces when absent. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** False of objects that nobody could use: they are left out, told of once. All are taken when absent. */
  readonly isUsable?: (object: T) => boolean;
  /** Shrinks each object before it is stored. Must not change its argument. */
  readonly transform?: (object: T) => T;
  /** False: always list in pages, never ask for the list as a watch. Default true. */
  readonly watchList?: boolean;
  /** One of many: that the server is away, or busy, is told of by others, and here only to those who debug. Default false. */
  readonly isOneOfMany?: boolean;
}

/** The watch-list did not come about on this server: list instead. */
class NoWatchList extends Error {
  override readonly name = 'NoWatchList';
}

export class Reflector<T extends KubeObject> {
  readonly #client: ApiClient;
  readonly #type: ResourceType<T>;
  readonly #store: Store<T>;
  readonly #selection: ListOptions;
  readonly #isUsable: (object: T) => boolean;
  readonly #transform: (object: T) => T;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  readonly #isOneOfMany: boolean;
  #watchList: boolean;
  /** Where to resume; undefined: the store must be filled anew. */
  #version: string | undefined;
  /** When a version was last told to be too old, monotonic ms. */
  #expiredMs = Number.NEGATIVE_INFINITY;
  /** Of watches from `#version`, one after another. */
  #refusals = 0;
  #sawStranger = false;

  constructor(
    client: ApiClient,
    type: ResourceType<T>,
    store: Store<T>,
    opts: ReflectorOptions<T>,
    deps: { clock: Clock; log: Logger; random?: () => number },
  ) {
    const { namespace, labelSelector, fieldSelector } = opts;
    this.#client = client;
    this.#type = type;
    this.#store = store;
    this.#selection = {
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
    };
    this.#isUsable = opts.isUsable ?? (() => true);
    this.#transform = opts.transform ?? ((object) => object);
    this.#watchList = opts.watchList ?? true;
    this.#isOneOfMany = opts.isOneOfMany ?? false;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'reflector', resource: type.plural });
    store.reportFaults((err, object) =>
      this.#log.error({ err, object: objectKey(object) }, 'a change was not handled'),
    );
    this.#random = deps.random ?? Math.random;
    this.#backoff = new Backoff(BACKOFF, this.#random);
  }

  /** Lists and watches until `signal` aborts. Failures are logged and retried with jittered back-off, never thrown. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#version === undefined && !this.#watchList) await this.#list(signal);
        await this.#watch(signal);
      } catch (err) {
        if (!signal.aborted) await this.#recover(err, signal);
      }
    }
  }

  async #recover(err: unknown, signal: AbortSignal): Promise<void> {
    if (err instanceof NoWatchList || (this.#version === undefined && this.#watchList && isRefusal(err))) {
      this.#watchList = false;
      this.#log.debug({ err }, 'server does not serve watch-lists, listing instead');
      return;
    }
    if (isExpired(err)) {
      // The first time at once; a server that says so of whatever it has just given must not be asked without pause.
      const nowMs = this.#clock.monotonicMs();
      const isFirst = this.#version !== undefined && nowMs - this.#expiredMs > 2 * BACKOFF.maxMs;
      this.#expiredMs = nowMs;
      this.#version = undefined;
      this.#log.info({ err }, 'resourceVersion too old, listing again');
      if (isFirst) return;
    }
    if (this.#version !== undefined && isRefused(err) && ++this.#refusals >= MAX_REFUSALS) this.#version = undefined;
    const retryInMs = Math.max(this.#backoff.next(), retryAfterMs(err));
    const level = this.#isOneOfMany && !isLasting(err) ? 'debug' : 'warn';
    this.#log[level]({ err, hint: hintOf(err), retryInMs }, 'list and watch failed, will retry');
    await this.#clock.sleep(retryInMs, signal);
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { items, version } = await this.#pages(PAGE_SIZE, signal);
    this.#fill(items);
    this.#version = version;
  }

  #fill(items: readonly T[]): void {
    this.#store.replace(items);
    this.#refusals = 0;
  }

  async #pages(limit: number, signal: AbortSignal): Promise<{ items: T[]; version: string }> {
    const items: T[] = [];
    let next: { readonly continue?: string } = {};
    try {
      for (;;) {
        const page = await this.#client.list(this.#type, { ...this.#selection, ...next, limit, signal });
        for (const item of page.items) {
          if (this.#isUsable(item)) items.push(this.#transform(item));
          else this.#tellStranger(item);
        }
        const token = page.metadata.continue;
        if (!token) return { items, version: page.metadata.resourceVersion ?? '' };
        if (token === next.continue) throw new Error('the server gives the same page of a list again and again');
        next = { continue: token };
      }
    } catch (err) {
      // The first page's revision was compacted meanwhile: only a list in one piece is sure to end.
      if (next.continue === undefined || !isExpired(err)) throw err;
      return this.#pages(0, signal);
    }
  }

  /** One watch, from the last version or as a watch-list. Returns on a clean end. */
  async #watch(signal: AbortSignal): Promise<void> {
    using scope = linkedSignal(signal);
    const initial = this.#version === undefined ? new InitialEvents<T>(this.#clock, () => scope.abort()) : undefined;
    using pulse = new WatchPulse(this.#clock, () => {
      this.#log.info('a watch has fallen silent, opening it anew');
      scope.abort();
    });
    const startMs = this.#clock.monotonicMs();
    const stoodMs = () => this.#clock.monotonicMs() - startMs;
    let news = 0;
    let expired = false;
    try {
      const stream = this.#client.watch(this.#type, {
        ...this.#selection,
        ...this.#startOptions(),
        allowWatchBookmarks: true,
        timeoutSeconds: Math.round(MIN_WATCH_SECONDS * (1 + this.#random())),
        onOpen: () => initial?.opened(),
        signal: scope.signal,
      });
      for await (const event of stream) {
        if (scope.signal.aborted) break;
        // What ends the initial events is sent by servers too that send no bookmarks later.
        if (initial === undefined || initial.isComplete) pulse.heard(event);
        const before = this.#version;
        this.#handle(event, initial);
        if (before !== undefined && this.#version !== before) news++;
      }
    } catch (err) {
      expired = isExpired(err);
      if (initial?.gaveUp && !signal.aborted) throw new NoWatchList('initial events did not end', { cause: err });
      // Proxies end connections on which nothing was said for a while. What was missed is told by the next watch.
      const hasStood = this.#version !== undefined && stoodMs() >= BACKOFF.maxMs;
      if (!hasStood || !isAgentError(err, 'API_UNREACHABLE') || signal.aborted) throw err;
      this.#log[this.#isOneOfMany ? 'debug' : 'info']({ err }, 'a watch broke off, opening it anew');
    } finally {
      initial?.[Symbol.dispose]();
      if (news > 0) this.#refusals = 0;
      if ((news > 0 && !expired) || stoodMs() >= BACKOFF.maxMs) this.#backoff.reset();
    }
    if (signal.aborted) return;
    if (initial?.gaveUp) throw new NoWatchList('initial events did not end');
    if (this.#version === undefined)
      throw new Error('the server ended the watch before the initial events were complete');
    if (news === 0 && stoodMs() < SHORTEST_WATCH_MS) throw new Error('the server ended the watch at once');
  }

  #startOptions(): WatchOptions {
    if (this.#version !== undefined) return { resourceVersion: this.#version };
    return { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' };
  }

  #handle(event: WatchEvent<T>, initial: InitialEvents<T> | undefined): void {
    if (event.type === 'ERROR') throw new ApiError(event.object);
    if (!this.#isOurs(event)) {
      this.#tellStranger(event.object);
      return;
    }
    const version = event.object.metadata?.resourceVersion;
    if (initial !== undefined && !initial.isComplete) {
      if (!initial.accept(event, this.#transform)) return;
      this.#fill(initial.take());
    } else if (event.type !== 'BOOKMARK') this.#apply(event.type, event.object);
    if (version) this.#version = version;
  }

  /** Objects of servers that work have a name; bookmarks, which are no objects, have none, but a kind. */
  #isOurs({ type, object }: Exclude<WatchEvent<T>, { type: 'ERROR' }>): boolean {
    const isOfKind = object.kind === this.#type.kind;
    if (type === 'BOOKMARK') return isOfKind;
    const isNamed = (isOfKind || object.kind === undefined) && typeof object.metadata?.name === 'string';
    return isNamed && (type === 'DELETED' || this.#isUsable(object));
  }

  /** Once: there may be many. */
  #tellStranger({ kind, metadata }: Pick<KubeObject, 'kind' | 'metadata'>): void {
    if (!this.#sawStranger)
      this.#log.warn({ kind, name: metadata?.name }, 'the server sends objects of no use, ignored');
    this.#sawStranger = true;
  }

  #apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void {
    const key = objectKey(object);
    const known = this.#store.get(key);
    if (known !== undefined && isOlder(object, known)) return;
    if (type !== 'DELETED') this.#store.set(this.#transform(object));
    // The end of an earlier object of this name must not remove its successor.
    else if (known?.metadata?.uid === object.metadata?.uid) this.#store.delete(key, this.#transform(object));
  }
}

/** Gathers what a watch-list sends before its closing bookmark, and gives up when the server falls silent. */
class InitialEvents<T extends KubeObject> implements Disposable {
  readonly #clock: Clock;
  readonly #onQuiet: () => void;
  #objects = new Map<string, T>();
  #timer: Disposable | undefined;
  isComplete = false;
  gaveUp = false;

  constructor(clock: Clock, onQuiet: () => void) {
    this.#clock = clock;
    this.#onQuiet = onQuiet;
  }

  /** The answer has begun: a server that takes its time until then is slow, and would be as slow to list. */
  opened(): void {
    if (!this.isComplete) this.#arm();
  }

  /** True when this event completed the list. */
  accept(event: Exclude<WatchEvent<T>, { type: 'ERROR' }>, transform: (object: T) => T): boolean {
    if (event.type === 'BOOKMARK') {
      this.isComplete = event.object.metadata?.annotations?.[INITIAL_EVENTS_END] === 'true';
    } else if (event.type === 'DELETED') this.#objects.delete(objectKey(event.object));
    else this.#objects.set(objectKey(event.object), transform(event.object));
    if (this.isComplete) this[Symbol.dispose]();
    else this.#arm();
    return this.isComplete;
  }

  take(): T[] {
    const objects = [...this.#objects.values()];
    this.#objects = new Map();
    return objects;
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }

  #arm(): void {
    this[Symbol.dispose]();
    this.#timer = this.#clock.setTimer(WATCH_LIST_QUIET_MS, () => {
      this.gaveUp = true;
      this.#onQuiet();
    });
  }
}

/** Refused for what it asks, not for who asks: a server that does not know sendInitialEvents. */
function isRefusal(err: unknown): boolean {
  return isInvalid(err) || isBadRequest(err);
}

/** An answer of the server itself, which is not merely busy. */
function isRefused(err: unknown): boolean {
  return err instanceof ApiError && err.httpStatus !== 429;
}

/** `object` is an earlier state of `known`. */
function isOlder(object: KubeObject, known: KubeObject): boolean {
  return object.metadata?.uid === known.metadata?.uid && (compareVersions(object, known) ?? 0) < 0;
}

/** No more than the longest back-off: nobody may keep the node from following its pods for hours. */
function retryAfterMs(err: unknown): number {
  return err instanceof ApiError ? Math.min((err.retryAfterSeconds ?? 0) * 1000, BACKOFF.maxMs) : 0;
}

/** What the server answers to this request, however well it is. */
function isLasting(err: unknown): boolean {
  return err instanceof ApiError && !err.retryable;
}

function hintOf(err: unknown): string | undefined {
  return isForbidden(err) || isUnauthorized(err) ? err.hint : undefined;
}
