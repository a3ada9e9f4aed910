// How full the volumes of CSI drivers are: NodeGetVolumeStats, where the driver offers it. After
// pkg/volume/csi/csi_metrics.go.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { VolumeUsage } from '../../../cri/gen/messages.ts';
import type { ClaimFigures } from '../../stats/volume-meter.ts';
import type { CsiClient } from './csi-client.ts';
import { VOLUME_DATA_FILE, type VolumeData } from './csi-paths.ts';

export interface CsiStatsDeps {
  /** A connection to the driver, undefined while there is none. */
  readonly connect: (driver: string) => CsiClient | undefined;
}

/** A driver that takes longer holds up the figures of all volumes, ms. */
const CALL_TIMEOUT_MS = 10_000;

/** VolumeUsage.Unit. */
const BYTES = 1;
const INODES = 2;

/**
 * Of a volume with a file system that is published at `target`. Undefined when the driver has no figures.
 * @throws {CriError} with the driver's own text.
 */
export async function csiVolumeFigures(target: string, deps: CsiStatsDeps): Promise<ClaimFigures | undefined> {
  const data = await volumeData(target);
  const client = data === undefined ? undefined : deps.connect(data.driverName);
  if (data === undefined || client === undefined) return undefined;
  using connection = client;
  const signal = AbortSignal.timeout(CALL_TIMEOUT_MS);
  const capabilities = await connection.capabilities(signal);
  if (!capabilities.has('GET_VOLUME_STATS')) return undefined;
  const { usage, volumeCondition } = await connection.volumeStats(data.volumeHandle, target, signal);
  const tellsCondition = capabilities.has('VOLUME_CONDITION') && volumeCondition !== undefined;
  return { ...figuresOf(usage), ...(tellsCondition ? { abnormal: volumeCondition.abnormal } : {}) };
}

/** Pure. Units that nobody knows are passed over. */
export function figuresOf(usage: readonly VolumeUsage[]): ClaimFigures {
  const of = (unit: number) => usage.find((u) => u.unit === unit);
  const [bytes, inodes] = [of(BYTES), of(INODES)];
  return {
    ...(bytes && { availableBytes: bytes.available, capacityBytes: bytes.total, usedBytes: bytes.used }),
    ...(inodes && { inodesFree: inodes.available, inodes: inodes.total, inodesUsed: inodes.used }),
  };
}

/** What stands beside the mount point; undefined for one that is no CSI volume's. */
async function volumeData(target: string): Promise<VolumeData | undefined> {
  try {
    return JSON.parse(await readFile(path.join(path.dirname(target), VOLUME_DATA_FILE), 'utf8')) as VolumeData;
  } catch {
    return undefined;
  }
}
