// The calls that the node makes at a device plugin (k8s.io/kubelet pkg/apis/deviceplugin/v1beta1).
import type {
  AllocateResponse,
  ContainerAllocateResponse,
  DevicePluginOptions,
  ListAndWatchResponse,
  PluginDevice,
  PreferredAllocationResponse,
} from '../../cri/gen/messages.ts';
import { methodOf, RpcChannel } from '../../cri/rpc.ts';

const SERVICE = 'v1beta1.DevicePlugin';
const OPTIONS = methodOf(SERVICE, 'GetDevicePluginOptions', 'Empty', 'DevicePluginOptions');
const LIST_AND_WATCH = methodOf(SERVICE, 'ListAndWatch', 'Empty');
const PREFERRED = methodOf(
  SERVICE,
  'GetPreferredAllocation',
  'PreferredAllocationRequest',
  'PreferredAllocationResponse',
);
const ALLOCATE = methodOf(SERVICE, 'Allocate');
const PRE_START = methodOf(SERVICE, 'PreStartContainer');

/** Deadlines, ms. Upstream gives one to PreStartContainer alone and lets the others hang for ever. */
export interface DevicePluginTimeouts {
  readonly optionsMs: number;
  readonly preferredMs: number;
  /** Other pods wait for their admission meanwhile. */
  readonly allocateMs: number;
  readonly preStartMs: number;
}

const TIMEOUTS: DevicePluginTimeouts = {
  optionsMs: 10_000,
  preferredMs: 10_000,
  allocateMs: 60_000,
  preStartMs: 30_000,
};

/** What Go's clients take: some 80,000 devices. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** Every call @throws {CriError} with the plugin's own words. */
export interface DevicePlugin {
  options(signal?: AbortSignal): Promise<DevicePluginOptions>;
  /** All devices, again after each change, until the plugin ends it or `signal` aborts. */
  listAndWatch(signal: AbortSignal): AsyncIterable<readonly PluginDevice[]>;
  /** What it would take; undefined when it has nothing to say. */
  preferred(
    available: Iterable<string>,
    mustInclude: Iterable<string>,
    count: number,
  ): Promise<readonly string[] | undefined>;
  /** What the one container needs to use `ids`; undefined for an answer without any. */
  allocate(ids: Iterable<string>): Promise<ContainerAllocateResponse | undefined>;
  preStart(ids: Iterable<string>): Promise<void>;
}

export class DevicePluginClient implements DevicePlugin, Disposable {
  readonly #channel: RpcChannel;
  readonly #timeouts: DevicePluginTimeouts;

  constructor(socket: string, timeouts: Partial<DevicePluginTimeouts> = {}) {
    this.#channel = new RpcChannel(socket, undefined, MAX_MESSAGE_BYTES);
    this.#timeouts = { ...TIMEOUTS, ...timeouts };
  }

  options(signal?: AbortSignal): Promise<DevicePluginOptions> {
    return this.#channel.call(OPTIONS, {}, this.#timeouts.optionsMs, signal);
  }

  async *listAndWatch(signal: AbortSignal): AsyncIterable<readonly PluginDevice[]> {
    const messages = this.#channel.stream<ListAndWatchResponse>(LIST_AND_WATCH, {}, signal);
    for await (const { devices } of messages) yield devices;
  }

  async preferred(available: Iterable<string>, mustInclude: Iterable<string>, count: number) {
    const request = {
      availableDeviceIDs: [...available],
      mustIncludeDeviceIDs: [...mustInclude],
      allocationSize: count,
    };
    const { containerResponses } = await this.#channel.call<PreferredAllocationResponse>(
      PREFERRED,
      { containerRequests: [request] },
      this.#timeouts.preferredMs,
    );
    return containerResponses[0]?.deviceIDs;
  }

  async allocate(ids: Iterable<string>): Promise<ContainerAllocateResponse | undefined> {
    const request = { containerRequests: [{ devicesIds: [...ids] }] };
    const { containerResponses } = await this.#channel.call<AllocateResponse>(
      ALLOCATE,
      request,
      this.#timeouts.allocateMs,
    );
    return containerResponses[0];
  }

  async preStart(ids: Iterable<string>): Promise<void> {
    await this.#channel.call(PRE_START, { devicesIds: [...ids] }, this.#timeouts.preStartMs);
  }

  /** Calls under way fail as UNAVAILABLE. */
  [Symbol.dispose](): void {
    this.#channel.close();
  }
}
