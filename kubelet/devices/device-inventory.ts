// The devices of every resource as their plugins told them last, and which plugin serves which resource. A plugin that goes
// takes the health of its devices with it; when it has not come back after five minutes its resource is gone.
// After pkg/kubelet/cm/devicemanager/manager.go (genericDeviceUpdateCallback, markResourceUnhealthy, GetCapacity).
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import type { DevicePluginOptions } from '../../cri/gen/messages.ts';
import type { DevicePlugin } from './device-plugin.ts';
import { type Device, HEALTHY } from './device-types.ts';

/** How long a plugin may be away. */
const GRACE_MS = 300_000;
/**
 * How long pods wait for plugins that knew the agent before this one. Those register again within a second or so once they
 * can; when the host was started anew, their own pods start first.
 */
const RETURN_MS = 15_000;

export interface ServingPlugin {
  readonly plugin: DevicePlugin;
  readonly options: DevicePluginOptions;
}

interface Resource {
  /** Undefined while its plugin is away. */
  serving: ServingPlugin | undefined;
  /** Before its plugin has told anything there is no such resource. */
  isTold: boolean;
  devices: ReadonlyMap<string, Device>;
  healthy: ReadonlySet<string>;
  /** Resolves when the plugin is back; undefined where none is waited for. */
  back?: PromiseWithResolvers<void> | undefined;
}

export interface ResourceAmounts {
  /** All devices. */
  readonly capacity: number;
  /** Healthy ones. */
  readonly allocatable: number;
}

export interface InventoryListener {
  /** What `amounts` says has changed, or which resources there are. */
  amountsChanged(): void;
  /** Devices of the resource are well or broken now, or are there again. */
  healthChanged(resource: string, deviceIds: ReadonlySet<string>): void;
}

const NO_DEVICES: ReadonlyMap<string, Device> = new Map();
const NONE: ReadonlySet<string> = new Set();

export class DeviceInventory implements Disposable {
  readonly #resources = new Map<string, Resource>();
  /** Resources that were there once: the Node tells them as 0 from then on. */
  readonly #gone = new Set<string>();
  readonly #listener: InventoryListener;
  readonly #grace: DueQueue<string>;
  readonly #clock: Clock;
  #returnTimer: Disposable | undefined;

  constructor(listener: InventoryListener, deps: { readonly clock: Clock }) {
    this.#listener = listener;
    this.#clock = deps.clock;
    this.#grace = new DueQueue(deps.clock, (name) => this.#remove(name));
  }

  [Symbol.dispose](): void {
    this.#grace[Symbol.dispose]();
    this.#giveUpReturn();
  }

  /** Resources that had plugins when the agent before this one ended: their plugins are away. */
  restore(names: Iterable<string>): void {
    for (const name of names) {
      const back = Promise.withResolvers<void>();
      this.#resources.set(name, { serving: undefined, isTold: true, devices: NO_DEVICES, healthy: NONE, back });
      this.#grace.set(name, GRACE_MS);
    }
    if (this.#resources.size > 0) this.#expectReturn();
  }

  /** Plugins can register from now on. */
  opened(): void {
    if (this.#returnTimer !== undefined) this.#expectReturn();
  }

  /**
   * Resolves when the plugin of a restored resource has told its devices, or is not waited for any longer; for any other
   * resource at once. Else an agent that starts would refuse pods whose devices are a moment away.
   */
  async untilBack(name: string): Promise<void> {
    await this.#resources.get(name)?.back?.promise;
  }

  /** Its plugin is expected to be back in a moment. */
  isAwaited(name: string): boolean {
    return this.#resources.get(name)?.back !== undefined;
  }

  /** In the place of whatever plugin served it before. */
  connected(name: string, serving: ServingPlugin): void {
    this.#grace.delete(name);
    const known = this.#resources.get(name);
    if (known !== undefined) known.serving = serving;
    else this.#resources.set(name, { serving, isTold: false, devices: NO_DEVICES, healthy: NONE });
  }

  /** No device can be given or counted on any more; how many there are is still told. */
  disconnected(name: string, plugin: DevicePlugin): void {
    const resource = this.#resources.get(name);
    if (resource === undefined || resource.serving?.plugin !== plugin) return;
    resource.serving = undefined;
    const isNews = !resource.isTold || resource.healthy.size > 0;
    resource.isTold = true;
    resource.healthy = NONE;
    this.#grace.set(name, GRACE_MS);
    if (isNews) this.#listener.amountsChanged();
  }

  /** All devices of the resource, as its plugin tells them; others are not heard. */
  update(name: string, plugin: DevicePlugin, devices: ReadonlyMap<string, Device>): void {
    const resource = this.#resources.get(name);
    if (resource === undefined || resource.serving?.plugin !== plugin) return;
    const before = { ...resource };
    const changed = new Set<string>();
    const healthy = new Set<string>();
    for (const [id, { health }] of devices) {
      if (health === HEALTHY) healthy.add(id);
      if (before.devices.get(id)?.health !== health) changed.add(id);
    }
    resource.back?.resolve();
    Object.assign(resource, { devices, healthy, isTold: true, back: undefined });
    this.#gone.delete(name);
    const isSame = before.isTold && before.devices.size === devices.size && sameSet(before.healthy, healthy);
    if (!isSame) this.#listener.amountsChanged();
    if (changed.size > 0) this.#listener.healthChanged(name, changed);
  }

  /** Has been told of by a plugin, which may be away for the moment. */
  has(name: string): boolean {
    return this.#resources.get(name)?.isTold === true;
  }

  serving(name: string): ServingPlugin | undefined {
    return this.#resources.get(name)?.serving;
  }

  /** A plugin is there, or is expected back. */
  isExpected(name: string): boolean {
    return this.#resources.has(name);
  }

  devices(name: string): ReadonlyMap<string, Device> {
    return this.#resources.get(name)?.devices ?? NO_DEVICES;
  }

  healthy(name: string): ReadonlySet<string> {
    return this.#resources.get(name)?.healthy ?? NONE;
  }

  /** Ids of healthy devices of every resource. */
  registered(): ReadonlyMap<string, ReadonlySet<string>> {
    return new Map([...this.#resources].filter(([, r]) => r.isTold).map(([name, r]) => [name, r.healthy]));
  }

  /** Resources that the Node tells of, or will: also those that are gone. */
  get names(): ReadonlySet<string> {
    return new Set([...this.#resources.keys(), ...this.#gone]);
  }

  /** For the Node: a resource that is gone stays there with 0. */
  amounts(): Map<string, ResourceAmounts> {
    const amounts = new Map<string, ResourceAmounts>();
    for (const name of this.#gone) amounts.set(name, { capacity: 0, allocatable: 0 });
    for (const [name, { isTold, devices, healthy }] of this.#resources) {
      if (isTold) amounts.set(name, { capacity: devices.size, allocatable: healthy.size });
    }
    return amounts;
  }

  #expectReturn(): void {
    this.#returnTimer?.[Symbol.dispose]();
    this.#returnTimer = this.#clock.setTimer(RETURN_MS, () => this.#giveUpReturn());
  }

  #giveUpReturn(): void {
    this.#returnTimer?.[Symbol.dispose]();
    this.#returnTimer = undefined;
    for (const resource of this.#resources.values()) {
      resource.back?.resolve();
      resource.back = undefined;
    }
  }

  #remove(name: string): void {
    this.#resources.delete(name);
    this.#gone.add(name);
    this.#listener.amountsChanged();
  }
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && a.isSubsetOf(b);
}
