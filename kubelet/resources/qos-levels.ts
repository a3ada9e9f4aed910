// What the groups of the QoS classes are given for all of their pods together, written when it is something else.
// After pkg/kubelet/cm/qos_container_manager_linux.go.
import type { QosClass } from '../../api/qos.ts';
import type { CgroupLimits } from '../../host/cgroup.ts';
import { millisToShares } from './node-allocatable.ts';

/** Components below the root: all pods, and the Burstable ones. */
export type QosLevel = readonly ['kubepods'] | readonly ['kubepods', 'burstable'];

/** What one pod asks for. */
export interface PodShare {
  readonly qos: QosClass;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

export interface QosLevelsOptions {
  /** Memory that pods ask for is kept for them (memory-qos.ts). */
  readonly reservesMemory: boolean;
  readonly write: (level: QosLevel, limits: CgroupLimits) => Promise<void>;
}

const NOTHING: PodShare = { qos: 'BestEffort', cpuMillis: 0, memoryBytes: 0 };

export class QosLevels {
  readonly #opts: QosLevelsOptions;
  /** By uid; pods that ask for nothing have no part in any sum. */
  readonly #shares = new Map<string, PodShare>();
  #burstableMillis = 0;
  #burstableBytes = 0;
  #allBytes = 0;
  /** By level: what is written. */
  readonly #written = new Map<string, string>();
  #writing: Promise<void> = Promise.resolve();

  constructor(opts: QosLevelsOptions) {
    this.#opts = opts;
  }

  /** Bytes that are kept for all pods, and for the Burstable ones among them. */
  get keptMemory(): { readonly allBytes: number; readonly burstableBytes: number } {
    return { allBytes: this.#allBytes, burstableBytes: this.#burstableBytes };
  }

  has(uid: string): boolean {
    return this.#shares.has(uid);
  }

  /** Resolves when the groups have what all pods ask for together. @throws what writing throws. */
  async set(uid: string, share: PodShare = NOTHING): Promise<void> {
    const before = this.#shares.get(uid) ?? NOTHING;
    if (!this.#counts(before) && !this.#counts(share)) return;
    this.#add(before, -1);
    this.#add(share, 1);
    if (share.qos === 'BestEffort') this.#shares.delete(uid);
    else this.#shares.set(uid, share);
    if (this.#changed().length === 0) return;
    // One after the other, each with the newest sums: what many pods change at once is written once.
    const written = this.#writing.then(() => this.#write());
    this.#writing = written.catch(() => {});
    await written;
  }

  /** What Guaranteed pods ask for counts only where memory is kept. */
  #counts({ qos }: PodShare): boolean {
    return qos === 'Burstable' || (qos === 'Guaranteed' && this.#opts.reservesMemory);
  }

  #add({ qos, cpuMillis, memoryBytes }: PodShare, sign: 1 | -1): void {
    if (qos === 'Burstable') {
      this.#burstableMillis += sign * cpuMillis;
      this.#burstableBytes += sign * memoryBytes;
    }
    if (qos !== 'BestEffort') this.#allBytes += sign * memoryBytes;
  }

  async #write(): Promise<void> {
    for (const { level, limits, text } of this.#changed()) {
      await this.#opts.write(level, limits);
      this.#written.set(level.join('/'), text);
    }
  }

  #changed() {
    const { reservesMemory } = this.#opts;
    const cpuShares = millisToShares(this.#burstableMillis);
    const levels: { level: QosLevel; limits: CgroupLimits }[] = [
      {
        level: ['kubepods', 'burstable'],
        limits: { cpuShares, ...(reservesMemory ? { memoryLowBytes: this.#burstableBytes } : {}) },
      },
      ...(reservesMemory ? [{ level: ['kubepods'] as const, limits: { memoryMinBytes: this.#allBytes } }] : []),
    ];
    return levels
      .map((l) => ({ ...l, text: JSON.stringify(l.limits) }))
      .filter(({ level, text }) => this.#written.get(level.join('/')) !== text);
  }
}
