// Gives containers the devices they ask for. What each container holds is kept with what its plugin said, on disk before
// the container is made: after a restart of the agent it is made with the same. After pkg/kubelet/cm/devicemanager.
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Container, Pod, ResourceStatus } from '../../api/pod.ts';
import { podLimits } from '../../api/pod-resources.ts';
import { quantityValue } from '../../api/quantity.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import { KeyedLock } from '../../core/keyed-lock.ts';
import type { Logger } from '../../core/log.ts';
import type { ContainerAllocateResponse } from '../../cri/gen/messages.ts';
import { CheckpointWriter } from '../checkpoint-writer.ts';
import type {
  AllocationRefusal,
  ContainerGrant,
  NumaMask,
  ResourceHints,
  ResourceManager,
  TopologyHint,
} from '../managers/hint-provider.ts';
import { rpcErrorText } from '../plugins/rpc-text.ts';
import { chooseDevices } from './choose-devices.ts';
import { CHECKPOINT_FILE, type DeviceCheckpoint, readCheckpoint, renderCheckpoint } from './device-checkpoint.ts';
import { containerGrant } from './device-grants.ts';
import { deviceHints, isAligned } from './device-hints.ts';
import { DeviceInventory, type ResourceAmounts } from './device-inventory.ts';
import {
  type DeviceReport,
  type DeviceRow,
  deviceRequests,
  HEALTHY,
  isDeviceName,
  NO_NUMA_NODE,
} from './device-types.ts';
import { PodDevices } from './pod-devices.ts';

export interface DeviceManagerDeps {
  /** Whether the runtime has the container running, as it was last listed. */
  readonly isRunning: (podUid: string, container: string) => boolean;
  /** NUMA nodes of the machine. */
  readonly numaNodes: () => readonly number[];
  /** What `amounts` says has changed. */
  readonly onAmountsChanged: () => void;
  /** What `health` says of the pod may have changed. */
  readonly onPodHealthChanged: (podUid: string) => void;
  /** A plugin was asked to allocate. Must not throw. */
  readonly onAllocated?: (resource: string, tookSeconds: number) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const NO_DEVICES: ReadonlySet<string> = new Set();

export class DeviceManager implements ResourceManager, DeviceReport, Disposable {
  readonly name = 'devices';
  readonly inventory: DeviceInventory;
  /** No agent was ever here before this one: what others say of devices of this node is about another of its name. */
  readonly isFresh: boolean;
  readonly #deps: DeviceManagerDeps;
  readonly #log: Logger;
  readonly #pods = new PodDevices();
  readonly #checkpoint: CheckpointWriter;
  /** What is free must not change between the choice of a device and its record. */
  readonly #lock = new KeyedLock<'allocation'>();

  private constructor(
    dir: string,
    { isFresh, restored }: { readonly isFresh: boolean; readonly restored: DeviceCheckpoint | undefined },
    deps: DeviceManagerDeps,
  ) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'devices' });
    this.isFresh = isFresh;
    const listener = {
      amountsChanged: () => this.#amountsChanged(),
      healthChanged: (resource: string, ids: ReadonlySet<string>) => {
        for (const uid of this.#pods.holders(resource, ids)) deps.onPodHealthChanged(uid);
      },
    };
    this.inventory = new DeviceInventory(listener, deps);
    for (const entry of restored?.grants ?? []) this.#pods.set(entry);
    this.inventory.restore(restored?.registered.keys() ?? []);
    const render = () => renderCheckpoint({ grants: this.#pods.entries(), registered: this.inventory.registered() });
    // Not synced: after a power cut no container runs that could hold a device.
    this.#checkpoint = new CheckpointWriter(path.join(dir, CHECKPOINT_FILE), render, { durable: false });
  }

  /** `dir`: where plugins register, and the checkpoint is. One that cannot be read is told and counts as missing. */
  static async open(dir: string, deps: DeviceManagerDeps): Promise<DeviceManager> {
    await mkdir(dir, { recursive: true, mode: 0o750 });
    const isFresh = (await readdir(dir)).length === 0;
    let restored: DeviceCheckpoint | undefined;
    try {
      restored = await readCheckpoint(path.join(dir, CHECKPOINT_FILE));
    } catch (err) {
      deps.log.warn({ err, dir }, 'what devices containers hold is not readable, starting without');
    }
    const manager = new DeviceManager(dir, { isFresh, restored }, deps);
    if (isFresh) manager.#saveLater(); // the next agent is to find something
    return manager;
  }

  [Symbol.dispose](): void {
    this.inventory[Symbol.dispose]();
  }

  /** Resolves when what is known now is on disk. @throws what writing throws */
  async flush(): Promise<void> {
    await this.#checkpoint.save();
  }

  /** For the Node's capacity and allocatable. */
  amounts(): ReadonlyMap<string, ResourceAmounts> {
    return this.inventory.amounts();
  }

  concerns(pod: Pod): boolean {
    return containersOf(pod).some((c) => Object.keys(c.resources?.limits ?? {}).some(isDeviceName));
  }

  /** Plugins that were there before the agent are waited for, but not by containers that run: they have what they need. */
  awaited(pod: Pod): Promise<void> | undefined {
    const uid = pod.metadata?.uid ?? '';
    const idle = containersOf(pod).filter((c) => !this.#deps.isRunning(uid, c.name));
    const names = idle.flatMap((c) => this.#requests(c).map(([resource]) => resource));
    const away = names.filter((name) => this.inventory.isAwaited(name));
    return away.length === 0
      ? undefined
      : Promise.all(away.map((name) => this.inventory.untilBack(name))).then(() => {});
  }

  containerHints(pod: Pod, container: Container): ResourceHints {
    const uid = pod.metadata?.uid ?? '';
    const hints = this.#requests(container).map(([resource, count]) => {
      const given = this.#pods.ids(uid, container.name, resource) ?? NO_DEVICES;
      const reusable = this.#pods.reusable(pod, container.name, resource);
      return [resource, this.#hints(resource, count, given, reusable)] as const;
    });
    return new Map(hints);
  }

  podHints(pod: Pod): ResourceHints {
    const uid = pod.metadata?.uid ?? '';
    const wanted = [...podLimits(pod)].filter(([name, amount]) => amount.nanos > 0n && this.#isKnown(name));
    const hints = wanted.map(([resource, amount]) => {
      const given = this.#pods.idsOfPod(uid, resource);
      return [resource, this.#hints(resource, quantityValue(amount), given, NO_DEVICES)] as const;
    });
    return new Map(hints);
  }

  /** @throws {AgentError} DEVICES_UNAVAILABLE, DEVICE_PLUGIN_FAILED */
  async allocate(pod: Pod, container: Container, hint: TopologyHint): Promise<AllocationRefusal | undefined> {
    const requests = this.#requests(container);
    if (requests.length === 0) return undefined;
    await this.#lock.run('allocation', async () => {
      for (const [resource, count] of requests) {
        await this.#allocateOne(pod, container.name, resource, count, hint.nodes);
      }
      await this.#checkpoint.flush();
    });
    return undefined;
  }

  grant(pod: Pod, containerName: string): ContainerGrant | undefined | Promise<ContainerGrant | undefined> {
    const container = containersOf(pod).find((c) => c.name === containerName);
    if (container === undefined || this.#requests(container).length === 0) return undefined;
    return this.#grant(pod, container);
  }

  heldAmounts(): ReadonlyMap<string, number> {
    return new Map([...this.#pods.held()].map(([resource, ids]) => [resource, ids.size]));
  }

  uids(): Iterable<string> {
    return this.#pods.uids();
  }

  forget(podUid: string): void {
    if (this.#pods.delete(podUid)) this.#saveLater();
  }

  /** Of what the container holds; undefined when it holds nothing. After UpdateAllocatedResourcesStatus. */
  health(podUid: string, container: string): ResourceStatus[] | undefined {
    const rows = this.devicesOf(podUid, container);
    if (rows.length === 0) return undefined;
    return [...Map.groupBy(rows, (row) => row.resourceName)].map(([name, devices]) => ({
      name,
      resources: devices.map(({ deviceId: id }) => {
        // Upstream too takes a device that its plugin does not tell of for well: after a restart that is every one.
        const health = this.inventory.devices(name).get(id)?.health ?? HEALTHY;
        return { resourceID: id, health: health === HEALTHY ? 'Healthy' : 'Unhealthy' };
      }),
    }));
  }

  /** Sorted by resource and id. */
  devicesOf(podUid: string, container: string): readonly DeviceRow[] {
    const rows = [...this.#pods.ofContainer(podUid, container)].flatMap(([resourceName, { devices }]) => {
      const nodes = new Map<string, number[]>();
      for (const [node, ids] of devices) {
        for (const id of ids) nodes.set(id, [...(nodes.get(id) ?? []), ...(node === NO_NUMA_NODE ? [] : [node])]);
      }
      return [...nodes].map(([deviceId, numaNodes]) => ({ resourceName, deviceId, numaNodes }));
    });
    return rows.sort(byNameAndId);
  }

  allocatableDevices(): readonly DeviceRow[] {
    const rows = [...this.inventory.registered()].flatMap(([resourceName, healthy]) => {
      const devices = this.inventory.devices(resourceName);
      return [...healthy].map((deviceId) => ({
        resourceName,
        deviceId,
        numaNodes: devices.get(deviceId)?.numaNodes ?? [],
      }));
    });
    return rows.sort(byNameAndId);
  }

  /** Of the container, those that plugins serve or served. */
  #requests(container: Container): [resource: string, count: number][] {
    return deviceRequests(container).filter(([resource]) => this.#isKnown(resource));
  }

  #isKnown(resource: string): boolean {
    return this.inventory.has(resource) || this.#pods.held().has(resource);
  }

  #available(resource: string): ReadonlySet<string> {
    return this.inventory.healthy(resource).difference(this.#pods.held().get(resource) ?? NO_DEVICES);
  }

  #hints(resource: string, count: number, given: ReadonlySet<string>, reusable: ReadonlySet<string>) {
    const devices = this.inventory.devices(resource);
    const numaNodes = this.#deps.numaNodes();
    if (!isAligned(devices)) return 'any';
    if (given.size > 0) {
      if (given.size !== count) return [];
      return deviceHints({ devices, available: given, reusable: NO_DEVICES, count, numaNodes });
    }
    const available = this.#available(resource);
    if (available.union(reusable).size < count) return [];
    return deviceHints({ devices, available, reusable, count, numaNodes });
  }

  /** What the container was given is marked for the next write of the checkpoint. */
  async #allocateOne(
    pod: Pod,
    container: string,
    resource: string,
    count: number,
    nodes: NumaMask | undefined,
  ): Promise<void> {
    const podUid = pod.metadata?.uid ?? '';
    const given = this.#pods.ids(podUid, container, resource);
    if (given !== undefined && given.size !== count) {
      const change = `from ${given.size} to ${count}`;
      throw unavailable(
        `pod "${podUid}" container "${container}" changed request for resource "${resource}" ${change}`,
      );
    }
    // It has what it needs, whether its plugin has come to this agent yet or not.
    if (this.#deps.isRunning(podUid, container)) return;
    this.#refuseUnhealthy(resource, given ?? NO_DEVICES);
    if (given !== undefined) return;
    const ids = await this.#choose(pod, container, resource, count, nodes);
    const response = await this.#ask(resource, ids);
    this.#pods.set({ podUid, container, resource, grant: { devices: this.#byNode(resource, ids), response } });
    this.#checkpoint.markChanged();
  }

  #refuseUnhealthy(resource: string, given: ReadonlySet<string>): void {
    const healthy = this.inventory.healthy(resource);
    if (!this.inventory.has(resource)) throw unavailable(`cannot allocate unregistered device ${resource}`);
    if (healthy.size === 0) {
      throw unavailable(`no healthy devices present; cannot allocate unhealthy devices ${resource}`);
    }
    if (!given.isSubsetOf(healthy)) {
      const why = 'previously allocated devices are no longer healthy';
      throw unavailable(`${why}; cannot allocate unhealthy devices ${resource}`);
    }
  }

  async #choose(pod: Pod, container: string, resource: string, count: number, nodes: NumaMask | undefined) {
    const available = this.#available(resource);
    const ids = await chooseDevices({
      count,
      reusable: this.#pods.reusable(pod, container, resource),
      available,
      devices: this.inventory.devices(resource),
      nodes,
      prefer: (from, mustInclude) => this.#prefer(resource, from, mustInclude, count),
    });
    if (ids instanceof Set) return ids;
    const figures = `Requested: ${ids.missing}, Available: ${available.size}`;
    throw unavailable(`requested number of devices unavailable for ${resource}. ${figures}`);
  }

  async #prefer(
    resource: string,
    available: ReadonlySet<string>,
    mustInclude: ReadonlySet<string>,
    count: number,
  ): Promise<ReadonlySet<string>> {
    const serving = this.inventory.serving(resource);
    if (serving?.options.getPreferredAllocationAvailable !== true) return NO_DEVICES;
    try {
      return new Set(await serving.plugin.preferred(available, mustInclude, count));
    } catch (cause) {
      throw failed(`device plugin GetPreferredAllocation rpc failed with err: ${rpcErrorText(cause)}`, cause);
    }
  }

  async #ask(resource: string, ids: ReadonlySet<string>): Promise<ContainerAllocateResponse> {
    const serving = this.inventory.serving(resource);
    if (serving === undefined) throw unavailable(`endpoint of ${resource} has been stopped`);
    const startMs = this.#deps.clock.monotonicMs();
    try {
      const response = await serving.plugin.allocate(ids);
      if (response === undefined) throw failed('no containers return in allocation response');
      return response;
    } catch (cause) {
      throw failed(rpcErrorText(cause), cause);
    } finally {
      this.#deps.onAllocated?.(resource, (this.#deps.clock.monotonicMs() - startMs) / 1000);
    }
  }

  #byNode(resource: string, ids: ReadonlySet<string>): Map<number, string[]> {
    const devices = this.inventory.devices(resource);
    const byNode = new Map<number, string[]>();
    for (const id of ids) {
      const nodes = devices.get(id)?.numaNodes ?? [];
      for (const node of nodes.length === 0 ? [NO_NUMA_NODE] : nodes)
        byNode.set(node, [...(byNode.get(node) ?? []), id]);
    }
    return byNode;
  }

  async #grant(pod: Pod, container: Container): Promise<ContainerGrant | undefined> {
    const uid = pod.metadata?.uid ?? '';
    const requests = this.#requests(container);
    for (const [resource] of requests) await this.#preStart(uid, container.name, resource);
    // Admitted before the plugin came, when nobody knew that there are such devices.
    if (requests.some(([resource]) => this.#pods.ids(uid, container.name, resource) === undefined)) {
      await this.allocate(pod, container, { nodes: undefined, preferred: false });
    }
    await this.#checkpoint.flush(); // it may have failed the last time
    return containerGrant(this.#pods.ofContainer(uid, container.name));
  }

  async #preStart(podUid: string, container: string, resource: string): Promise<void> {
    if (!this.inventory.isExpected(resource)) {
      throw unavailable(`endpoint not found in cache for a registered resource: ${resource}`);
    }
    const serving = this.inventory.serving(resource);
    if (serving?.options.preStartRequired !== true) return;
    const ids = this.#pods.ids(podUid, container, resource);
    if (ids === undefined) {
      const whose = `pod ${podUid}, container ${container}, resource ${resource}`;
      throw unavailable(`no devices found allocated in local cache for ${whose}`);
    }
    try {
      await serving.plugin.preStart(ids);
    } catch (cause) {
      throw failed(`device plugin PreStartContainer rpc failed with err: ${rpcErrorText(cause)}`, cause);
    }
  }

  #amountsChanged(): void {
    this.#saveLater();
    this.#deps.onAmountsChanged();
  }

  /** For what would be no more than out of date if it were lost. */
  #saveLater(): void {
    this.#checkpoint.save().catch((err: unknown) => {
      this.#log.warn({ error: errorMessage(err) }, 'what devices containers hold was not written');
    });
  }
}

function containersOf(pod: Pod): Container[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
}

function byNameAndId(a: DeviceRow, b: DeviceRow): number {
  if (a.resourceName !== b.resourceName) return a.resourceName < b.resourceName ? -1 : 1;
  return a.deviceId < b.deviceId ? -1 : a.deviceId > b.deviceId ? 1 : 0;
}

function unavailable(message: string): AgentError {
  return new AgentError(message, { code: 'DEVICES_UNAVAILABLE' });
}

function failed(message: string, cause?: unknown): AgentError {
  return new AgentError(message, { code: 'DEVICE_PLUGIN_FAILED', cause });
}
