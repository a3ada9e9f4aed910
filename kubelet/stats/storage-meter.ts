// What pods use of the node's disk: writable layers (from the runtime), logs, volumes, the hosts file.
import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { fileSize, flatDirSize } from '../../host/file-system-use.ts';
import { etcHostsFile, podLogDir } from '../runtime/pod-paths.ts';
import { aged } from './aged.ts';
import type { PodTarget } from './targets.ts';
import type { PodStorage, StorageUse } from './usage.ts';
import type { VolumeMeter } from './volume-meter.ts';

export interface StorageMeterDeps {
  readonly runtime: Pick<RuntimeService, 'listContainerStats'>;
  readonly volumes: VolumeMeter;
  readonly rootDir: string;
  readonly podLogsDir: string;
  readonly clock: Clock;
}

export interface Layers {
  /** When the runtime was asked, wall ms. */
  readonly atMs: number;
  /** Writable layers by container id. */
  readonly containers: ReadonlyMap<string, StorageUse>;
}

export interface PodLogs {
  readonly atMs: number;
  readonly monotonicMs: number;
  readonly containers: ReadonlyMap<string, StorageUse>;
  /** Files beside the containers' directories, and the hosts file. */
  readonly others: StorageUse;
}

/** Pods whose logs are looked at at the same time: more would only queue in Node's thread pool. */
const LOOKS_AT_ONCE = 8;

export class StorageMeter {
  readonly #deps: StorageMeterDeps;
  readonly #logs = new Map<string, PodLogs>();
  /** At most `maxAgeMs` old. @throws what the runtime call throws. */
  readonly layers: (maxAgeMs: number) => Promise<Layers>;

  constructor(deps: StorageMeterDeps) {
    this.#deps = deps;
    this.layers = aged(() => this.#readLayers(), deps);
  }

  /** Sizes of the pods' logs, each at most `maxAgeMs` old. */
  async logs(pods: readonly PodTarget[], maxAgeMs: number): Promise<ReadonlyMap<string, PodLogs>> {
    const { clock } = this.#deps;
    const queue = pods.filter(({ uid }) => {
      const known = this.#logs.get(uid);
      return known === undefined || clock.monotonicMs() - known.monotonicMs >= maxAgeMs;
    });
    const worker = async () => {
      for (let target = queue.pop(); target !== undefined; target = queue.pop()) {
        this.#logs.set(target.uid, await this.#readLogs(target));
      }
    };
    await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, worker));
    return this.#logs;
  }

  /** Pods that are not there any more need not be remembered. */
  forgetAllBut(podUids: ReadonlySet<string>): void {
    for (const uid of this.#logs.keys()) if (!podUids.has(uid)) this.#logs.delete(uid);
    this.#deps.volumes.forgetAllBut(podUids);
  }

  /** Everything of each pod. @throws what the runtime call throws. */
  async podStorage(targets: readonly PodTarget[], maxAgeMs: number): Promise<ReadonlyMap<string, PodStorage>> {
    const { volumes } = this.#deps;
    const [layers, logs] = await Promise.all([
      this.layers(maxAgeMs),
      this.logs(targets, maxAgeMs),
      volumes.measure(
        targets.map((t) => t.pod),
        maxAgeMs,
      ),
    ]);
    const found = new Map<string, PodStorage>();
    for (const target of targets) {
      const storage = podStorageOf(target, {
        layers,
        logs: logs.get(target.uid),
        volumes: volumes.known(target.uid),
      });
      if (storage !== undefined) found.set(target.uid, storage);
    }
    return found;
  }

  async #readLayers(): Promise<Layers> {
    const { clock, runtime } = this.#deps;
    const atMs = clock.now();
    const containers = new Map<string, StorageUse>();
    for (const { attributes, writableLayer } of await runtime.listContainerStats()) {
      if (attributes === undefined || writableLayer?.usedBytes === undefined) continue;
      const inodesUsed = writableLayer.inodesUsed?.value ?? 0;
      containers.set(attributes.id, { usedBytes: writableLayer.usedBytes.value, inodesUsed });
    }
    return { atMs, containers };
  }

  async #readLogs({ pod, uid, containers }: PodTarget): Promise<PodLogs> {
    const { clock, podLogsDir } = this.#deps;
    const [atMs, monotonicMs] = [clock.now(), clock.monotonicMs()];
    const dir = podLogDir({ podLogsDir }, pod);
    const sizes = new Map<string, StorageUse>();
    for (const { name } of containers) sizes.set(name, await flatDirSize(path.join(dir, name)));
    const others = sumUse([await flatDirSize(dir), await fileSize(etcHostsFile(this.#deps, uid))]);
    return { atMs, monotonicMs, containers: sizes, others };
  }
}

/** Pure. Undefined while logs or volumes were never looked at. */
export function podStorageOf(
  target: Pick<PodTarget, 'containers'>,
  known: {
    readonly layers: Layers;
    readonly logs: PodLogs | undefined;
    readonly volumes: ReturnType<VolumeMeter['known']>;
  },
): PodStorage | undefined {
  const { logs, volumes } = known;
  if (logs === undefined || volumes === undefined) return undefined;
  const rootfs = new Map<string, StorageUse>();
  for (const { id, name } of target.containers) {
    const layer = known.layers.containers.get(id);
    if (layer !== undefined) rootfs.set(name, layer);
  }
  const sizes = new Map<string, StorageUse>();
  const inMemory = new Set<string>();
  const onDisk: StorageUse[] = [];
  for (const { name, onDisk: isOnDisk, claim, usedBytes, inodesUsed } of volumes.volumes) {
    if (claim !== undefined || usedBytes === undefined) continue;
    const use = { usedBytes, inodesUsed: inodesUsed ?? 0 };
    sizes.set(name, use);
    if (isOnDisk) onDisk.push(use);
    else inMemory.add(name);
  }
  return {
    atMs: Math.min(known.layers.atMs, logs.atMs, volumes.atMs),
    rootfs,
    logs: logs.containers,
    volumes: sizes,
    inMemory,
    total: sumUse([...rootfs.values(), ...logs.containers.values(), logs.others, ...onDisk]),
  };
}

export function sumUse(parts: readonly StorageUse[]): StorageUse {
  let [usedBytes, inodesUsed] = [0, 0];
  for (const part of parts) {
    usedBytes += part.usedBytes;
    inodesUsed += part.inodesUsed;
  }
  return { usedBytes, inodesUsed };
}
