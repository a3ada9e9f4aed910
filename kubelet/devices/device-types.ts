// What is known of devices, and what containers were given. Types and names alone.
import { isQualifiedName } from '../../api/labels.ts';
import type { Container } from '../../api/pod.ts';
import { parseQuantity, quantityValue } from '../../api/quantity.ts';
import type { ContainerAllocateResponse, PluginDevice } from '../../cri/gen/messages.ts';

export const HEALTHY = 'Healthy';
/** Stands for "on no NUMA node" in checkpoints. */
export const NO_NUMA_NODE = -1;

/** One device as its plugin told it last. */
export interface Device {
  /** `Healthy`; whatever else a plugin says is not. */
  readonly health: string;
  /** NUMA nodes it is near to; empty where that does not matter. */
  readonly numaNodes: readonly number[];
}

const HEALTHY_ANYWHERE: Device = Object.freeze({ health: HEALTHY, numaNodes: [] });

/** What a plugin told, by id. Most devices are alike, and there may be many thousands of them. */
export function devicesTold(told: readonly PluginDevice[]): Map<string, Device> {
  return new Map(
    told.map(({ ID: id, health, topology }) => {
      const numaNodes = topology?.nodes.map((n) => n.ID) ?? [];
      return [id, health === HEALTHY && numaNodes.length === 0 ? HEALTHY_ANYWHERE : { health, numaNodes }];
    }),
  );
}

/** Of one resource and one container. */
export interface DeviceGrant {
  /** Ids by NUMA node; a device that is near to several stands under each of them. */
  readonly devices: ReadonlyMap<number, readonly string[]>;
  /** What the plugin said that the container needs. */
  readonly response: ContainerAllocateResponse;
}

export function idsOf(grant: DeviceGrant): Set<string> {
  return new Set([...grant.devices.values()].flat());
}

/**
 * A resource that plugins may offer: of a domain of their own (pkg/apis/core/v1/helper IsExtendedResourceName). As a quota
 * it would be called `requests.<name>`, which has to be a proper name as well.
 */
export function isExtendedResourceName(name: string): boolean {
  if (!isDeviceName(name) || name.startsWith('requests.')) return false;
  return isQualifiedName(`requests.${name}`);
}

/** May be served by a plugin, whatever else is wrong with it: the API server has looked at names already. */
export function isDeviceName(name: string): boolean {
  return name.includes('/') && !name.includes('kubernetes.io/');
}

/** How many of each extended resource the container asks for; requests equal limits. Sorted by name. */
export function deviceRequests(container: Pick<Container, 'resources'>): [resource: string, count: number][] {
  return Object.entries(container.resources?.limits ?? {})
    .filter(([name]) => isDeviceName(name))
    .map(([name, amount]): [string, number] => [name, quantityValue(parseQuantity(amount))])
    .filter(([, count]) => count > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** What the podresources API tells of one device. */
export interface DeviceRow {
  readonly resourceName: string;
  readonly deviceId: string;
  /** Empty where that does not matter. */
  readonly numaNodes: readonly number[];
}

/** For the podresources API. */
export interface DeviceReport {
  devicesOf(podUid: string, containerName: string): readonly DeviceRow[];
  /** All healthy devices, free or not. */
  allocatableDevices(): readonly DeviceRow[];
}
