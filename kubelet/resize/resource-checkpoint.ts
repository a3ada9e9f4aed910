// What pods were given, on disk: survives the agent. The format is that of the kubelet's allocation state, so that a
// node may change between the two without its pods being resized anew: JSON in JSON with a checksum
// (pkg/kubelet/allocation/state, pkg/kubelet/checkpointmanager/checksum).
import { readFileSync } from 'node:fs';
import type { ResourceRequirements } from '../../api/pod.ts';
import { errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { CheckpointWriter } from '../checkpoint-writer.ts';
import { fnv1a32Hex } from '../runtime/container-hash.ts';
import type { PodAllocation } from './pod-allocation.ts';

interface StoredPod {
  readonly ContainerResources?: Readonly<Record<string, ResourceRequirements>> | null;
  readonly PodLevelResources?: ResourceRequirements | null;
}

/** Pure: the whole file. Equal entries make equal files. */
export function renderCheckpoint(entries: ReadonlyMap<string, PodAllocation>): string {
  const stored = [...entries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([uid, { containers, pod }]): [string, StoredPod] => [
      uid,
      { ContainerResources: Object.fromEntries(containers), ...(pod === undefined ? {} : { PodLevelResources: pod }) },
    ]);
  const data = JSON.stringify(stored.length === 0 ? {} : { entries: Object.fromEntries(stored) });
  return JSON.stringify({ data, checksum: checksumOf(data) });
}

/** The entries of a file. @throws {Error} saying what is wrong with it. */
export function parseCheckpoint(text: string): Map<string, PodAllocation> {
  const { data, checksum } = JSON.parse(text) as { data?: unknown; checksum?: unknown };
  if (typeof data !== 'string') throw new Error('it holds no data');
  if (checksum !== checksumOf(data)) throw new Error('its checksum is not that of its data');
  const { entries = {} } = JSON.parse(data) as { entries?: Readonly<Record<string, StoredPod>> };
  return new Map(
    Object.entries(entries).map(([uid, { ContainerResources, PodLevelResources }]) => [
      uid,
      {
        containers: new Map(Object.entries(ContainerResources ?? {})),
        ...(PodLevelResources ? { pod: PodLevelResources } : {}),
      },
    ]),
  );
}

/** Upstream hashes the value as Go prints it with its type. */
function checksumOf(data: string): number {
  return Number.parseInt(fnv1a32Hex(`(string)${data}`), 16);
}

export class ResourceCheckpoint {
  readonly #entries: Map<string, PodAllocation>;
  readonly #writer: CheckpointWriter | undefined;

  /** Reads `file`; without one everything is kept in memory alone. A file that cannot be read counts as empty. */
  constructor(file: string | undefined, deps: { readonly log: Logger }) {
    this.#entries = file === undefined ? new Map() : readEntries(file, deps.log);
    if (file === undefined) return;
    const render = () => renderCheckpoint(this.#entries);
    // Not synced: the runtime's own syncs, with a pod starting, would wait for it. After a power cut no container runs
    // any more; what was given to their pods is then read from their statuses.
    this.#writer = new CheckpointWriter(file, render, { durable: false, stored: render() });
  }

  get(uid: string): PodAllocation | undefined {
    return this.#entries.get(uid);
  }

  set(uid: string, allocation: PodAllocation): void {
    this.#entries.set(uid, allocation);
    this.#writer?.markChanged();
  }

  /** Not worth a write of its own: a pod too many in the file does no harm and is forgotten again. */
  delete(uid: string): void {
    this.#entries.delete(uid);
  }

  uids(): string[] {
    return [...this.#entries.keys()];
  }

  /** Resolves when everything that was set before is on disk. @throws what writing throws; call again. */
  async save(): Promise<void> {
    await this.#writer?.flush();
  }
}

/**
 * Upstream refuses to start with a file that it cannot read. Going on is safe: pods are admitted with what they ask for
 * now, and what running containers have is seen in the runtime.
 */
function readEntries(file: string, log: Logger): Map<string, PodAllocation> {
  try {
    return parseCheckpoint(readFileSync(file, 'utf8'));
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') log.warn({ err, file }, 'allocated resources not readable, starting without');
    return new Map();
  }
}
