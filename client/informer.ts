// A store and the reflector that fills it, as one piece: what most components want of a kind.
import type { KubeObject } from '../api/meta.ts';
import type { ResourceType } from '../api/resources.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { ApiClient } from './api-client.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import { type IndexFunction, type ReadonlyStore, Store } from './store.ts';

export interface InformerOptions<T extends KubeObject> extends ReflectorOptions<T> {
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
}

export interface Informer<T extends KubeObject> {
  readonly store: ReadonlyStore<T>;
  /** Fills the store until `signal` aborts; hand it to runTasks. */
  run(signal: AbortSignal): Promise<void>;
}

/** Nothing is asked of the server before `run`. */
export function createInformer<T extends KubeObject>(
  client: ApiClient,
  type: ResourceType<T>,
  opts: InformerOptions<T>,
  deps: { clock: Clock; log: Logger; random?: () => number },
): Informer<T> {
  const { indexes, ...reflecting } = opts;
  const store = new Store<T>(indexes);
  const reflector = new Reflector(client, type, store, reflecting, deps);
  return { store, run: (signal) => reflector.run(signal) };
}
