// Who writes what to the API server, seen as any other client sees it: by watching.
import type { KubeObject } from '../../api/meta.ts';
import { events, leases, nodes, pods, type ResourceType } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';

const WATCHED: readonly (readonly [string, ResourceType<KubeObject>])[] = [
  ['Lease', leases],
  ['Node', nodes],
  ['Pod', pods],
  ['Event', events],
].map(([name, type]) => [name as string, type as ResourceType<KubeObject>]);

export class WriteWatcher {
  readonly #client: ApiClient;
  #counts = new Map<string, number>();

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /** Writes per kind since the last call, as `Lease`, `Pod`, …. */
  take(): Map<string, number> {
    const counts = this.#counts;
    this.#counts = new Map();
    return counts;
  }

  /** Until `signal` aborts. @throws when a watch ends before. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(WATCHED.map(([name, type]) => this.#watch(name, type, signal)));
  }

  async #watch(name: string, type: ResourceType<KubeObject>, signal: AbortSignal): Promise<void> {
    const { metadata } = await this.#client.list(type);
    const resourceVersion = metadata?.resourceVersion ?? '';
    for await (const event of this.#client.watch(type, { resourceVersion, timeoutSeconds: 3600, signal })) {
      if (event.type === 'ERROR') throw new Error(`the watch of ${name} failed: ${JSON.stringify(event.object)}`);
      if (event.type !== 'BOOKMARK') this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    }
    if (!signal.aborted) throw new Error(`the server ended the watch of ${name}`);
  }
}
