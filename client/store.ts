// An indexed cache of one kind, filled by a reflector. Readers share the frozen objects it holds.
import { type KubeObject, objectKey } from '../api/meta.ts';

export interface StoreHandler<T> {
  onAdd?(object: T): void;
  onUpdate?(oldObject: T, newObject: T): void;
  onDelete?(object: T): void;
}

export type IndexFunction<T> = (object: T) => readonly string[];

/** Told of a handler that threw; `object` is the one that it was told of. */
export type HandlerFault = (err: unknown, object: KubeObject) => void;

export interface ReadonlyStore<T extends KubeObject> {
  /** By `ns/name` or `name`. */
  get(key: string): T | undefined;
  list(): readonly T[];
  readonly size: number;
  /** Objects for which the named index function gave `value`. */
  byIndex(index: string, value: string): readonly T[];
  /** True once a whole list has been stored. */
  readonly hasSynced: boolean;
  /** Resolves once `hasSynced`, or when `signal` aborts. */
  waitForSync(signal: AbortSignal): Promise<void>;
  /**
   * Handlers run in the order of changes, synchronously; objects already there are replayed as adds. One that throws
   * disturbs neither the store nor the other handlers, and is told of the next change as before.
   */
  subscribe(handler: StoreHandler<T>): Disposable;
}

export class Store<T extends KubeObject> implements ReadonlyStore<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexFunctions: Readonly<Record<string, IndexFunction<T>>>;
  readonly #indexes = new Map<string, Map<string, Set<string>>>();
  readonly #handlers = new Set<StoreHandler<T>>();
  readonly #synced = Promise.withResolvers<void>();
  #hasSynced = false;
  #onFault: HandlerFault = throwUncaught;

  constructor(indexes: Readonly<Record<string, IndexFunction<T>>> = {}) {
    this.#indexFunctions = indexes;
    for (const name of Object.keys(indexes)) this.#indexes.set(name, new Map());
  }

  /** Who hears of handlers that throw; without one the process ends, as client-go's do. */
  reportFaults(onFault: HandlerFault): void {
    this.#onFault = onFault;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): readonly T[] {
    return [...this.#objects.values()];
  }

  byIndex(index: string, value: string): readonly T[] {
    const keys = this.#indexes.get(index)?.get(value);
    if (keys === undefined) return [];
    return [...keys].map((key) => this.#objects.get(key)!);
  }

  async waitForSync(signal: AbortSignal): Promise<void> {
    if (this.#hasSynced || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    await Promise.race([this.#synced.promise, promise]);
    signal.removeEventListener('abort', onAbort);
  }

  subscribe(handler: StoreHandler<T>): Disposable {
    this.#handlers.add(handler);
    for (const object of this.list()) this.#call(() => handler.onAdd?.(object), object);
    return { [Symbol.dispose]: () => void this.#handlers.delete(handler) };
  }

  /** Adds or replaces. An object with the resourceVersion already held changes nothing. */
  set(object: T): void {
    const key = objectKey(object);
    const old = this.#objects.get(key);
    if (old !== undefined && sameVersion(old, object)) return;
    if (old !== undefined) this.#unindex(key, old);
    this.#objects.set(key, object);
    this.#index(key, object);
    // A deleted and recreated object must not look like an update of the old one.
    if (old !== undefined && old.metadata?.uid !== object.metadata?.uid) {
      this.#tell((h) => h.onDelete?.(old), old);
      this.#tell((h) => h.onAdd?.(object), object);
    } else if (old !== undefined) {
      this.#tell((h) => h.onUpdate?.(old, object), object);
    } else {
      this.#tell((h) => h.onAdd?.(object), object);
    }
  }

  /** Removes; `last` is the final state that the server sent, when it did. */
  delete(key: string, last?: T): void {
    const old = this.#objects.get(key);
    if (old === undefined) return;
    this.#unindex(key, old);
    this.#objects.delete(key);
    this.#tell((h) => h.onDelete?.(last ?? old), old);
  }

  /** Makes the content equal to `objects`, as adds, updates and deletes, and marks the store synced. */
  replace(objects: readonly T[]): void {
    const keep = new Set(objects.map(objectKey));
    for (const key of [...this.#objects.keys()]) if (!keep.has(key)) this.delete(key);
    for (const object of objects) this.set(object);
    this.#hasSynced = true;
    this.#synced.resolve();
  }

  #tell(change: (handler: StoreHandler<T>) => void, object: T): void {
    for (const handler of this.#handlers) this.#call(() => change(handler), object);
  }

  /** What the server says has happened, whatever a handler makes of it: the watch that brought it must not be told it failed. */
  #call(handle: () => void, object: T): void {
    try {
      handle();
    } catch (err) {
      this.#onFault(err, object);
    }
  }

  #index(key: string, object: T): void {
    for (const [name, fn] of Object.entries(this.#indexFunctions)) {
      const index = this.#indexes.get(name)!;
      for (const value of fn(object)) {
        let keys = index.get(value);
        if (keys === undefined) {
          keys = new Set();
          index.set(value, keys);
        }
        keys.add(key);
      }
    }
  }

  #unindex(key: string, object: T): void {
    for (const [name, fn] of Object.entries(this.#indexFunctions)) {
      const index = this.#indexes.get(name)!;
      for (const value of fn(object)) {
        const keys = index.get(value);
        keys?.delete(key);
        if (keys?.size === 0) index.delete(value);
      }
    }
  }
}

function throwUncaught(err: unknown): void {
  queueMicrotask(() => {
    throw err;
  });
}

function sameVersion(a: KubeObject, b: KubeObject): boolean {
  const version = a.metadata?.resourceVersion;
  return (
    version !== undefined &&
    version !== '' &&
    version === b.metadata?.resourceVersion &&
    a.metadata?.uid === b.metadata?.uid
  );
}
