// The calls of CSI's Node service. A connection serves one piece of work and is closed: drivers come and go, and a
// connection that is kept would have to find out.
import { goCodeName } from '../../../api/grpc-wire.ts';
import { isCriError } from '../../../cri/errors.ts';
import type {
  NodeExpandVolumeRequest,
  NodeExpandVolumeResponse,
  NodeGetCapabilitiesResponse,
  NodeGetInfoResponse,
  NodeGetVolumeStatsResponse,
  NodePublishVolumeRequest,
  NodeStageVolumeRequest,
} from '../../../cri/gen/messages.ts';
import { methodOf, RpcChannel } from '../../../cri/rpc.ts';
import type { Init } from '../../../cri/runtime-service.ts';

/** Deadline of each call, ms. */
const CSI_TIMEOUT_MS = 120_000;

const METHODS = Object.fromEntries(
  [
    'NodeStageVolume',
    'NodeUnstageVolume',
    'NodePublishVolume',
    'NodeUnpublishVolume',
    'NodeExpandVolume',
    'NodeGetCapabilities',
    'NodeGetInfo',
    'NodeGetVolumeStats',
  ].map((name) => [name, methodOf('csi.v1.Node', name)]),
);

/** NodeServiceCapability.RPC.Type. */
const CAPABILITY_NAMES: readonly (NodeCapability | undefined)[] = [
  undefined,
  'STAGE_UNSTAGE_VOLUME',
  'GET_VOLUME_STATS',
  'EXPAND_VOLUME',
  'VOLUME_CONDITION',
  'SINGLE_NODE_MULTI_WRITER',
  'VOLUME_MOUNT_GROUP',
];

export type NodeCapability =
  | 'STAGE_UNSTAGE_VOLUME'
  | 'GET_VOLUME_STATS'
  | 'EXPAND_VOLUME'
  | 'VOLUME_CONDITION'
  | 'SINGLE_NODE_MULTI_WRITER'
  | 'VOLUME_MOUNT_GROUP';

/** Told of every call once it has ended; `status` is the gRPC code in Go's words, e.g. `DeadlineExceeded`. Must not throw. */
export type CsiObserver = (method: string, status: string, tookSeconds: number) => void;

/** Every method @throws {CriError} with the driver's own text. */
export class CsiClient implements Disposable {
  readonly #channel: RpcChannel;
  readonly #timeoutMs: number;
  readonly #observe: CsiObserver | undefined;

  constructor(
    endpoint: string,
    opts: { readonly timeoutMs?: number; readonly observe?: CsiObserver | undefined } = {},
  ) {
    this.#channel = new RpcChannel(endpoint);
    this.#timeoutMs = opts.timeoutMs ?? CSI_TIMEOUT_MS;
    this.#observe = opts.observe;
  }

  async capabilities(signal: AbortSignal): Promise<ReadonlySet<NodeCapability>> {
    const answer = await this.#call<NodeGetCapabilitiesResponse>('NodeGetCapabilities', {}, signal);
    const names = answer.capabilities.map((c) => CAPABILITY_NAMES[c.rpc?.type ?? 0]);
    return new Set(names.filter((name) => name !== undefined));
  }

  info(signal: AbortSignal): Promise<NodeGetInfoResponse> {
    return this.#call('NodeGetInfo', {}, signal);
  }

  async stage(request: Init<NodeStageVolumeRequest>, signal: AbortSignal): Promise<void> {
    await this.#call('NodeStageVolume', request, signal);
  }

  async unstage(volumeId: string, stagingTargetPath: string, signal: AbortSignal): Promise<void> {
    await this.#call('NodeUnstageVolume', { volumeId, stagingTargetPath }, signal);
  }

  async publish(request: Init<NodePublishVolumeRequest>, signal: AbortSignal): Promise<void> {
    await this.#call('NodePublishVolume', request, signal);
  }

  async unpublish(volumeId: string, targetPath: string, signal: AbortSignal): Promise<void> {
    await this.#call('NodeUnpublishVolume', { volumeId, targetPath }, signal);
  }

  expand(request: Init<NodeExpandVolumeRequest>, signal: AbortSignal): Promise<NodeExpandVolumeResponse> {
    return this.#call('NodeExpandVolume', request, signal);
  }

  volumeStats(volumeId: string, volumePath: string, signal: AbortSignal): Promise<NodeGetVolumeStatsResponse> {
    return this.#call('NodeGetVolumeStats', { volumeId, volumePath }, signal);
  }

  async #call<T>(name: string, request: object, signal: AbortSignal): Promise<T> {
    const startMs = performance.now();
    let status = 'OK';
    try {
      return await this.#channel.call<T>(METHODS[name]!, request, this.#timeoutMs, signal);
    } catch (err) {
      status = goCodeName(isCriError(err) ? err.grpcCode : 'UNKNOWN');
      throw err;
    } finally {
      this.#observe?.(`/csi.v1.Node/${name}`, status, (performance.now() - startMs) / 1000);
    }
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}

const UNCERTAIN = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE', 'RESOURCE_EXHAUSTED', 'ABORTED']);

/** True when the driver has said no; else it may have done, or be doing, what it was asked (csi_client.go). */
export function isFinal(err: unknown): boolean {
  return isCriError(err) && !UNCERTAIN.has(err.grpcCode);
}
