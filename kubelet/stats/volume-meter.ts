// Sizes of the pods' volumes. Walking a volume may take long: it is done by another process, for all pods that are due at
// once, seldom, and nobody who only wants to look waits for more than the first time.
import type { Pod, Volume } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';
import { isAgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { type FileSystemFigures, fileSystemFigures, type TreeSize, treeSizes } from '../../host/file-system-use.ts';
import { claimOf } from '../volumes/claims/claim-rules.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { type VolumeMeasure, volumeMeasure } from './volume-stats.ts';

/** What a volume's server says; a figure that it does not know is undefined. */
export interface ClaimFigures extends Partial<FileSystemFigures> {
  /** Undefined when the driver does not say how its volumes are. */
  readonly abnormal?: boolean;
}

export interface VolumeFigures extends ClaimFigures {
  readonly name: string;
  readonly claim: { readonly name: string; readonly namespace: string } | undefined;
  /** Of the node's disk: part of the pod's ephemeral storage. */
  readonly onDisk: boolean;
}

export interface PodVolumes {
  /** Wall ms. */
  readonly atMs: number;
  readonly volumes: readonly VolumeFigures[];
}

export interface VolumeMeterDeps {
  readonly exec: Exec;
  readonly volumesOf: (podUid: string) => ReadonlyMap<string, MountedVolume> | undefined;
  /** Figures of a volume that a driver serves; undefined when nobody knows any. */
  readonly claimFigures: (volume: MountedVolume, podUid: string) => Promise<ClaimFigures | undefined>;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Known extends PodVolumes {
  readonly monotonicMs: number;
}

interface DuePod {
  readonly pod: Pod;
  readonly volumes: readonly Due[];
}

interface Due {
  readonly volume: Volume;
  readonly mount: MountedVolume;
  readonly measure: VolumeMeasure;
}

/** Who serves a claim may tell only some figures, e.g. the size of a device; the others show as 0, as upstream's do. */
const UNTOLD: FileSystemFigures = {
  capacityBytes: 0,
  availableBytes: 0,
  usedBytes: 0,
  inodes: 0,
  inodesFree: 0,
  inodesUsed: 0,
};

/** A walk that takes longer is given up, and each pod's volumes are walked alone, ms. */
const WALK_TIMEOUT_MS = 120_000;
/** Of a pod whose walk takes longer nothing new is known: one with very many files does not hide how big others are, ms. */
const ALONE_TIMEOUT_MS = 60_000;
/** Until it is tried again, ms. */
const SLOW_AGE_MS = 300_000;
/** Pods whose volumes' servers are asked at once: one that does not answer holds up only its own for its time. */
const PODS_AT_ONCE = 16;

export class VolumeMeter {
  readonly #deps: VolumeMeterDeps;
  readonly #log: Logger;
  readonly #known = new Map<string, Known>();
  /** Pods whose walk did not end in its time, by uid, and when that was: monotonic ms. They are walked alone. */
  readonly #slow = new Map<string, number>();
  #turn: Promise<void> = Promise.resolve();

  constructor(deps: VolumeMeterDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'volume-meter' });
  }

  /** What is known of the pod, however old. */
  known(podUid: string): PodVolumes | undefined {
    return this.#known.get(podUid);
  }

  /**
   * Measures the volumes of the pods whose figures are older than `maxAgeMs`. A volume that cannot be measured has no
   * figures; a pod whose walk does not end keeps those that it had. @throws {AgentError} when no walk could be made.
   */
  async measure(pods: readonly Pod[], maxAgeMs: number): Promise<void> {
    const mine = this.#turn.then(() => this.#measure(pods, maxAgeMs));
    this.#turn = mine.catch(() => {}); // told to the caller
    await mine;
  }

  forgetAllBut(podUids: ReadonlySet<string>): void {
    for (const map of [this.#known, this.#slow]) {
      for (const uid of map.keys()) if (!podUids.has(uid)) map.delete(uid);
    }
  }

  async #measure(pods: readonly Pod[], maxAgeMs: number): Promise<void> {
    const { clock } = this.#deps;
    const due = pods.filter((pod) => {
      const [slowMs, known] = [this.#slow.get(uidOf(pod)), this.#known.get(uidOf(pod))];
      if (slowMs !== undefined) return clock.monotonicMs() - slowMs >= Math.max(maxAgeMs, SLOW_AGE_MS);
      return known === undefined || clock.monotonicMs() - known.monotonicMs >= maxAgeMs;
    });
    if (due.length === 0) return;
    const atMs = clock.now();
    const monotonicMs = clock.monotonicMs();
    const mounted = due.map((pod): DuePod => ({ pod, volumes: this.#mountedOf(pod) }));
    const sizes = await this.#walk(mounted);
    const fileSystems = new FileSystems();
    const queue = mounted.filter(({ pod }) => !this.#slow.has(uidOf(pod)));
    const worker = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const { pod, volumes } = next;
        const figures = await Promise.all(volumes.map((v) => this.#figuresOf(pod, v, sizes, fileSystems)));
        this.#known.set(uidOf(pod), { atMs, monotonicMs, volumes: figures.filter((f) => f !== undefined) });
      }
    };
    await Promise.all(Array.from({ length: PODS_AT_ONCE }, worker));
  }

  /** All together, as long as none is known to take too long. @throws {AgentError} EXEC_NOT_FOUND, EXEC_FAILED */
  async #walk(pods: readonly DuePod[]): Promise<ReadonlyMap<string, TreeSize>> {
    const sizes = new Map<string, TreeSize>();
    const quick = pods.filter(({ pod }) => !this.#slow.has(uidOf(pod)));
    const alone = pods.filter((p) => !quick.includes(p));
    if (!(await this.#walkInto(sizes, quick, WALK_TIMEOUT_MS))) alone.push(...quick);
    for (const one of alone) {
      const uid = uidOf(one.pod);
      if (await this.#walkInto(sizes, [one], ALONE_TIMEOUT_MS)) this.#slow.delete(uid);
      else {
        if (!this.#slow.has(uid)) this.#log.warn({ podUid: uid }, 'it takes too long to find out how big volumes are');
        this.#slow.set(uid, this.#deps.clock.monotonicMs());
      }
    }
    return sizes;
  }

  /** False when it did not end in time. */
  async #walkInto(sizes: Map<string, TreeSize>, pods: readonly DuePod[], timeoutMs: number): Promise<boolean> {
    const trees = pods.flatMap(({ volumes }) => volumes.filter((v) => v.measure.endsWith('tree')));
    if (trees.length === 0) return true;
    try {
      const dirs = trees.map((v) => v.mount.hostPath);
      for (const [dir, size] of await treeSizes(this.#deps.exec, dirs, timeoutMs)) sizes.set(dir, size);
      return true;
    } catch (err) {
      if (!isAgentError(err, 'EXEC_TIMEOUT')) throw err;
      return false;
    }
  }

  #mountedOf(pod: Pod): Due[] {
    const mounts = this.#deps.volumesOf(uidOf(pod));
    return (pod.spec?.volumes ?? []).flatMap((volume) => {
      const mount = mounts?.get(volume.name);
      const measure = volumeMeasure(volume);
      return mount === undefined || measure === 'none' ? [] : [{ volume, mount, measure }];
    });
  }

  async #figuresOf(
    pod: Pod,
    { volume, mount, measure }: Due,
    sizes: ReadonlyMap<string, { usedBytes: number; inodesUsed: number }>,
    fileSystems: FileSystems,
  ): Promise<VolumeFigures | undefined> {
    const claim = claimOf(pod, volume);
    const about = {
      name: volume.name,
      claim: claim && { name: claim.name, namespace: pod.metadata?.namespace ?? '' },
      onDisk: measure === 'disk tree',
    };
    try {
      if (measure === 'claim') {
        const figures = await this.#deps.claimFigures(mount, uidOf(pod));
        return figures && { ...about, ...UNTOLD, ...figures };
      }
      const whole = await fileSystems.of(mount.hostPath, measure === 'memory file system');
      const size = measure === 'memory file system' ? whole : sizes.get(mount.hostPath);
      return size && { ...about, ...whole, usedBytes: size.usedBytes, inodesUsed: size.inodesUsed };
    } catch (err) {
      this.#log.debug({ err, podUid: uidOf(pod), volume: volume.name }, 'volume not measured');
      return undefined;
    }
  }
}

function uidOf(pod: Pod): string {
  return pod.metadata?.uid ?? '';
}

/** Asks each file system once: the volumes of one kind lie side by side below the root directory. */
class FileSystems {
  readonly #asked = new Map<string, Promise<FileSystemFigures>>();

  /** @throws what `dir` itself is refused with: one that was asked in its stead may be gone by now. */
  async of(dir: string, isOne: boolean): Promise<FileSystemFigures> {
    // …/pods/<uid>/volumes/<plugin>/<name>, …/volatile/<uid>/<plugin>/<name>: what differs comes after these words.
    const key = isOne ? dir : (/^(.*?\/(?:pods|volatile)\/)/.exec(dir)?.[1] ?? dir);
    for (let asked = this.#asked.get(key); asked !== undefined; asked = this.#asked.get(key)) {
      const figures = await asked.catch(() => undefined);
      if (figures !== undefined) return figures;
      if (this.#asked.get(key) === asked) this.#asked.delete(key);
    }
    const mine = fileSystemFigures(dir);
    this.#asked.set(key, mine);
    return await mine;
  }
}
