// Which devices containers hold and which resources had plugins, on disk, in the kubelet's own format: monitoring agents
// read it, and a node may change between the two kubelets. After pkg/kubelet/cm/devicemanager/checkpoint.
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../../core/errors.ts';
import { decodeMessage, encodeMessage } from '../../cri/codec.ts';
import type { ContainerAllocateResponse } from '../../cri/gen/messages.ts';
import { fnv1a32Hex } from '../runtime/container-hash.ts';
import type { GrantEntry } from './pod-devices.ts';

export const CHECKPOINT_FILE = 'kubelet_internal_checkpoint';

export interface DeviceCheckpoint {
  readonly grants: readonly GrantEntry[];
  /** Resource → ids of its healthy devices. */
  readonly registered: ReadonlyMap<string, Iterable<string>>;
}

/** Nothing is null but what Go writes so. */
interface StoredEntry {
  readonly PodUID: string;
  readonly ContainerName: string;
  readonly ResourceName: string;
  readonly DeviceIDs: Readonly<Record<string, readonly string[] | null>> | null;
  /** Base64 of a ContainerAllocateResponse. */
  readonly AllocResp: string | null;
}

interface StoredData {
  readonly PodDeviceEntries: readonly StoredEntry[] | null;
  readonly RegisteredDevices: Readonly<Record<string, readonly string[] | null>> | null;
}

/** Pure: the whole file. */
export function renderCheckpoint({ grants, registered }: DeviceCheckpoint): string {
  const entries = grants.map(({ podUid, container, resource, grant }) => ({
    PodUID: podUid,
    ContainerName: container,
    ResourceName: resource,
    DeviceIDs: Object.fromEntries([...grant.devices].map(([node, ids]) => [String(node), [...ids]])),
    AllocResp: encodeMessage('ContainerAllocateResponse', grant.response).toString('base64'),
  }));
  const data: StoredData = {
    PodDeviceEntries: entries.length === 0 ? null : entries,
    RegisteredDevices: Object.fromEntries([...registered].map(([name, ids]) => [name, [...ids]])),
  };
  return JSON.stringify({ Data: data, Checksum: checksumOf(data) });
}

/** @throws {Error} saying what is wrong with the file. */
export function parseCheckpoint(text: string): DeviceCheckpoint {
  const { Data: data, Checksum: checksum } = JSON.parse(text) as { Data?: StoredData; Checksum?: unknown };
  if (typeof data !== 'object' || data === null) throw new Error('it holds no data');
  if (checksum !== checksumOf(data)) throw new Error('its checksum is not that of its data');
  return {
    grants: (data.PodDeviceEntries ?? []).map((entry) => ({
      podUid: entry.PodUID,
      container: entry.ContainerName,
      resource: entry.ResourceName,
      grant: {
        devices: new Map(Object.entries(entry.DeviceIDs ?? {}).map(([node, ids]) => [Number(node), ids ?? []])),
        response: decodeMessage<ContainerAllocateResponse>(
          'ContainerAllocateResponse',
          Buffer.from(entry.AllocResp ?? '', 'base64'),
        ),
      },
    })),
    registered: new Map(Object.entries(data.RegisteredDevices ?? {}).map(([name, ids]) => [name, ids ?? []])),
  };
}

/** Undefined when there is no such file: nothing was ever given on this node. @throws {Error} for one that is broken. */
export async function readCheckpoint(file: string): Promise<DeviceCheckpoint | undefined> {
  try {
    return parseCheckpoint(await readFile(file, 'utf8'));
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}

/** Upstream hashes the data as a Go value printer shows it: with types, maps sorted by key. */
function checksumOf({ PodDeviceEntries: entries, RegisteredDevices: registered }: StoredData): number {
  const shown = entries === null ? NIL : `[${entries.map(goEntry).join(' ')}]`;
  const text =
    `(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)${shown} ` +
    `RegisteredDevices:(map[string][]string)${goMap(registered, byBytes)}}`;
  return Number.parseInt(fnv1a32Hex(text), 16);
}

const NIL = '<nil>';

function goEntry({ PodUID, ContainerName, ResourceName, DeviceIDs, AllocResp }: StoredEntry): string {
  const bytes = AllocResp === null ? NIL : goList([...Buffer.from(AllocResp, 'base64')]);
  const devices = goMap(DeviceIDs, (a, b) => Number(a) - Number(b));
  return (
    `{PodUID:(string)${PodUID} ContainerName:(string)${ContainerName} ResourceName:(string)${ResourceName} ` +
    `DeviceIDs:(checkpoint.DevicesPerNUMA)${devices} AllocResp:([]uint8)${bytes}}`
  );
}

function goMap(
  map: Readonly<Record<string, readonly string[] | null>> | null,
  order: (a: string, b: string) => number,
): string {
  if (map === null) return NIL;
  const keys = Object.keys(map).sort(order);
  return `map[${keys.map((key) => `${key}:${map[key] === null ? NIL : goList(map[key]!)}`).join(' ')}]`;
}

function goList(list: readonly (string | number)[]): string {
  return `[${list.join(' ')}]`;
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
