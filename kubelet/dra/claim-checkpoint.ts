// Which claims drivers have prepared, or may have, and for which pods, on disk: what must be undone survives the agent. The
// format is upstream's, so that a node may change between the two (pkg/kubelet/cm/dra/state): JSON in JSON with a CRC-32.
import { readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';

/** A device as its driver has prepared it. */
export interface PreparedDevice {
  readonly poolName: string;
  readonly deviceName: string;
  /** Of a device that is shared. */
  readonly shareId?: string;
  /** Requests of the claim that it serves; empty: all of them. */
  readonly requestNames: readonly string[];
  readonly cdiDeviceIds: readonly string[];
}

export interface ClaimRecord {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly podUids: ReadonlySet<string>;
  /** Every driver that has given a device to the claim, with what it has prepared so far. */
  readonly drivers: ReadonlyMap<string, readonly PreparedDevice[]>;
}

interface StoredDevice {
  readonly PoolName?: string;
  readonly DeviceName?: string;
  readonly ShareID?: string | null;
  readonly RequestNames?: readonly string[] | null;
  readonly CDIDeviceIDs?: readonly string[] | null;
}

interface StoredClaim {
  readonly ClaimUID: string;
  readonly ClaimName: string;
  readonly Namespace: string;
  readonly PodUIDs?: Readonly<Record<string, object>> | null;
  readonly DriverState?: Readonly<Record<string, { readonly Devices?: readonly StoredDevice[] | null }>> | null;
}

/** Pure: the whole file. Equal records make equal files. */
export function renderClaims(claims: Iterable<ClaimRecord>): string {
  const stored = [...claims]
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
    .map((claim) => ({
      ClaimUID: claim.uid,
      ClaimName: claim.name,
      Namespace: claim.namespace,
      PodUIDs: Object.fromEntries([...claim.podUids].sort().map((uid) => [uid, {}])),
      DriverState: Object.fromEntries([...claim.drivers].map(([driver, devices]) => [driver, storedState(devices)])),
    }));
  const data = JSON.stringify({
    kind: 'DRACheckpoint',
    apiVersion: 'checkpoint.dra.kubelet.k8s.io/v1',
    ClaimInfoStateList: stored,
  });
  return JSON.stringify({ Data: data, Checksum: crc32(data) });
}

function storedState(devices: readonly PreparedDevice[]): object {
  const stored = devices.map((d) => ({
    PoolName: d.poolName,
    DeviceName: d.deviceName,
    ...(d.shareId === undefined ? {} : { ShareID: d.shareId }),
    RequestNames: d.requestNames.length === 0 ? null : d.requestNames,
    CDIDeviceIDs: d.cdiDeviceIds.length === 0 ? null : d.cdiDeviceIds,
  }));
  return { Devices: stored.length === 0 ? null : stored };
}

/** @throws {Error} saying what is wrong with the file. */
export function parseClaims(text: string): ClaimRecord[] {
  const { Data, Checksum } = JSON.parse(text) as { Data?: unknown; Checksum?: unknown };
  if (typeof Data !== 'string') throw new Error('it holds no data');
  if (Checksum !== crc32(Data)) throw new Error('checkpoint is corrupted');
  const { ClaimInfoStateList } = JSON.parse(Data) as { ClaimInfoStateList?: readonly StoredClaim[] | null };
  return (ClaimInfoStateList ?? []).map((claim) => ({
    uid: claim.ClaimUID,
    name: claim.ClaimName,
    namespace: claim.Namespace,
    podUids: new Set(Object.keys(claim.PodUIDs ?? {})),
    drivers: new Map(
      Object.entries(claim.DriverState ?? {}).map(([driver, state]) => [driver, (state.Devices ?? []).map(deviceOf)]),
    ),
  }));
}

function deviceOf(stored: StoredDevice): PreparedDevice {
  return {
    poolName: stored.PoolName ?? '',
    deviceName: stored.DeviceName ?? '',
    ...(stored.ShareID ? { shareId: stored.ShareID } : {}),
    requestNames: stored.RequestNames ?? [],
    cdiDeviceIds: stored.CDIDeviceIDs ?? [],
  };
}

/** Empty when there is no file. @throws {AgentError} DRA_STATE_UNREADABLE */
export function readClaims(file: string): ClaimRecord[] {
  try {
    return parseClaims(readFileSync(file, 'utf8'));
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return [];
    // To go on without would leave devices prepared for ever, and give them to others meanwhile.
    throw new AgentError(`cannot read the prepared resource claims in ${file}: ${errorMessage(cause)}`, {
      code: 'DRA_STATE_UNREADABLE',
      cause,
      hint: 'drain the node and remove the file',
    });
  }
}

export function keyOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`;
}
