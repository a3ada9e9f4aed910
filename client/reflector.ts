// Keeps a Store equal to a collection on the API server: list, then watch, for ever.
import type { KubeObject } from '../api/meta.ts';
import type { ResourceType } from '../api/resources.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { ApiClient } from './api-client.ts';
import type { Store } from './store.ts';

export interface ReflectorOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

/** Implementation pending in this commit: see client-go tools/cache/reflector.go. */
export declare class Reflector<T extends KubeObject> {
  constructor(
    client: ApiClient,
    type: ResourceType<T>,
    store: Store<T>,
    opts: ReflectorOptions,
    deps: { clock: Clock; log: Logger; random?: () => number },
  );
  /** Lists and watches until `signal` aborts. Failures are logged and retried with jittered back-off, never thrown. */
  run(signal: AbortSignal): Promise<void>;
}
