// The calls of one plugin of a driver, in the newest version of the service that both sides speak.
import { goCodeName } from '../../api/grpc-wire.ts';
import { isCriError } from '../../cri/errors.ts';
import type {
  DraClaim,
  DraDeviceHealth,
  NodePrepareResourceResponse,
  NodePrepareResourcesResponse,
  NodeUnprepareResourceResponse,
  NodeUnprepareResourcesResponse,
  NodeWatchResourcesResponse,
} from '../../cri/gen/messages.ts';
import { methodOf, RpcChannel } from '../../cri/rpc.ts';
import type { PluginInfo } from '../plugins/plugin-handler.ts';
import { chosenService } from './plugin-services.ts';

/** Deadline of each call, ms: half of the time after which a pod that could not start is tried again upstream. */
const CALL_TIMEOUT_MS = 45_000;

const WATCH_HEALTH = methodOf('v1alpha1.DRAResourceHealth', 'NodeWatchResources');

/** Told of every call once it has ended; `status` in Go's words, e.g. `DeadlineExceeded`. Must not throw. */
export type DraCallObserver = (driver: string, method: string, status: string, tookSeconds: number) => void;

/** What is asked of a driver. */
export interface DraCalls {
  /** By uid of the claim. @throws {CriError} */
  prepare(claims: readonly DraClaim[], signal: AbortSignal): Promise<Map<string, NodePrepareResourceResponse>>;
  /** By uid of the claim. @throws {CriError} */
  unprepare(claims: readonly DraClaim[], signal: AbortSignal): Promise<Map<string, NodeUnprepareResourceResponse>>;
}

export class DraClient implements DraCalls, Disposable {
  readonly #driver: string;
  readonly #service: string;
  readonly #channel: RpcChannel;
  readonly #observe: DraCallObserver | undefined;

  /** `onConnection` is told when the plugin is there and when it has gone. */
  constructor(
    plugin: PluginInfo,
    opts: { readonly observe?: DraCallObserver | undefined; readonly onConnection: (isThere: boolean) => void },
  ) {
    this.#driver = plugin.name;
    this.#service = chosenService(plugin);
    this.#observe = opts.observe;
    this.#channel = new RpcChannel(plugin.endpoint, opts.onConnection);
  }

  /** Connects unless it is connected already; how that ends is told to `onConnection`. */
  connect(): void {
    this.#channel.connect();
  }

  async prepare(claims: readonly DraClaim[], signal: AbortSignal): Promise<Map<string, NodePrepareResourceResponse>> {
    const answer = await this.#call<NodePrepareResourcesResponse>('NodePrepareResources', claims, signal);
    const empty = { devices: [], error: '' };
    return new Map(Object.entries(answer.claims).map(([uid, result]) => [uid, result ?? empty]));
  }

  async unprepare(
    claims: readonly DraClaim[],
    signal: AbortSignal,
  ): Promise<Map<string, NodeUnprepareResourceResponse>> {
    const answer = await this.#call<NodeUnprepareResourcesResponse>('NodeUnprepareResources', claims, signal);
    return new Map(Object.entries(answer.claims).map(([uid, result]) => [uid, result ?? { error: '' }]));
  }

  /** What the plugin says of all its devices, each time that one changes; ends with `signal`. @throws {CriError} */
  async *watchHealth(signal: AbortSignal): AsyncIterable<readonly DraDeviceHealth[]> {
    for await (const { devices } of this.#channel.stream<NodeWatchResourcesResponse>(WATCH_HEALTH, {}, signal)) {
      yield devices;
    }
  }

  async #call<T>(name: string, claims: readonly DraClaim[], signal: AbortSignal): Promise<T> {
    const method = methodOf(this.#service, name);
    const startMs = performance.now();
    let status = 'OK';
    try {
      return await this.#channel.call<T>(method, { claims }, CALL_TIMEOUT_MS, signal);
    } catch (err) {
      status = goCodeName(isCriError(err) ? err.grpcCode : 'UNKNOWN');
      throw err;
    } finally {
      this.#observe?.(this.#driver, method.path, status, (performance.now() - startMs) / 1000);
    }
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}
