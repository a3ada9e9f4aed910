// What the groups of the QoS classes are given for all of their pods together, written when it is something else.
// After pkg/kubelet/cm/qos_container_manager_linux.go.
import type { QosClass } from '../../api/qos.ts';
import type { CgroupLimits } from '../../host/cgroup.ts';
import { cpuShares } from './cpu-shares.ts';

/** Components below the root: all pods, or those of one class. */
export type QosLevel = readonly ['kubepods'] | readonly ['kubepods', 'burstable' | 'besteffort'];

/** What one pod asks for. */
export interface PodShare {
  readonly qos: QosClass;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

/** qosReserved: what pods ask for of memory is kept from pods of the classes below theirs. */
export interface QosReserved {
  /** How much of it, 0 to 100. */
  readonly percent: number;
  /** What all pods may have together, bytes. */
  readonly allocatableBytes: number;
}

export interface QosLevelsOptions {
  /** Memory that pods ask for is kept for them (memory-qos.ts). */
  readonly reservesMemory: boolean;
  readonly reserved?: QosReserved;
  readonly write: (level: QosLevel, limits: CgroupLimits) => Promise<void>;
  /** Bytes in use. */
  readonly usage: (level: QosLevel) => Promise<number>;
}

/** Pure: what the classes below may have. Without memory to share there are no limits. */
export function qosMemoryLimits(
  { percent, allocatableBytes }: QosReserved,
  guaranteedBytes: number,
  burstableBytes: number,
): { readonly burstableBytes: number; readonly bestEffortBytes: number } | undefined {
  if (allocatableBytes <= 0) return undefined;
  const kept = (bytes: number) => Math.trunc((bytes * percent) / 100);
  const burstable = allocatableBytes - kept(guaranteedBytes);
  // Pods that nothing refuses, such as critical ones, may ask for more than there is: below zero would lift the limit.
  return {
    burstableBytes: Math.max(burstable, 0),
    bestEffortBytes: Math.max(burstable - kept(burstableBytes), 0),
  };
}

const NOTHING: PodShare = { qos: 'BestEffort', cpuMillis: 0, memoryBytes: 0 };

export class QosLevels {
  readonly #opts: QosLevelsOptions;
  /** By uid; pods that ask for nothing have no part in any sum. */
  readonly #shares = new Map<string, PodShare>();
  #burstableMillis = 0;
  #burstableBytes = 0;
  #allBytes = 0;
  /** By level: what is written; undefined where that went wrong, or has to be tried again. */
  readonly #written = new Map<string, string | undefined>();
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
    if (this.#changed().length > 0) await this.#inTurn(() => this.#write(this.#changed()));
  }

  /** Writes again what was written, whatever others have done to it meanwhile. @throws what writing throws. */
  async refresh(): Promise<void> {
    // Of other levels the pods have not been seen yet: they keep what a former agent has given them. But memory that it
    // kept for pods that are gone is not theirs any more.
    const isOurs = ({ name }: WantedLevel) => this.#opts.reserved !== undefined || this.#written.has(name);
    await this.#inTurn(() => this.#write(this.#wanted().filter(isOurs)));
  }

  /** One after the other, each with the newest sums: what many pods change at once is written once. */
  async #inTurn(write: () => Promise<void>): Promise<void> {
    const written = this.#writing.then(write);
    this.#writing = written.catch(() => {});
    await written;
  }

  /** What Guaranteed pods ask for counts only where memory is kept. */
  #counts({ qos }: PodShare): boolean {
    const { reservesMemory, reserved } = this.#opts;
    return qos === 'Burstable' || (qos === 'Guaranteed' && (reservesMemory || reserved !== undefined));
  }

  #add({ qos, cpuMillis, memoryBytes }: PodShare, sign: 1 | -1): void {
    if (qos === 'Burstable') {
      this.#burstableMillis += sign * cpuMillis;
      this.#burstableBytes += sign * memoryBytes;
    }
    if (qos !== 'BestEffort') this.#allBytes += sign * memoryBytes;
  }

  async #write(levels: readonly WantedLevel[]): Promise<void> {
    for (const { name, level, limits, text } of levels) {
      this.#written.set(name, undefined);
      if (await this.#writeLevel(level, limits)) this.#written.set(name, text);
    }
  }

  /** False when a group uses more memory than it may, and is kept to that: it is at least not to grow. */
  async #writeLevel(level: QosLevel, limits: CgroupLimits): Promise<boolean> {
    try {
      await this.#opts.write(level, limits);
      return true;
    } catch (err) {
      if (limits.memoryBytes === undefined) throw err;
      const usageBytes = await this.#opts.usage(level);
      if (usageBytes <= limits.memoryBytes) throw err;
      await this.#opts.write(level, { ...limits, memoryBytes: usageBytes });
      return false;
    }
  }

  #changed(): WantedLevel[] {
    return this.#wanted().filter(({ name, text }) => this.#written.get(name) !== text);
  }

  #wanted(): WantedLevel[] {
    const { reservesMemory, reserved } = this.#opts;
    const may = reserved && qosMemoryLimits(reserved, this.#allBytes - this.#burstableBytes, this.#burstableBytes);
    const levels: [QosLevel, CgroupLimits][] = [
      [
        ['kubepods', 'burstable'],
        {
          cpuShares: cpuShares(this.#burstableMillis),
          ...(reservesMemory ? { memoryLowBytes: this.#burstableBytes } : {}),
          ...(may === undefined ? {} : { memoryBytes: may.burstableBytes }),
        },
      ],
    ];
    if (may !== undefined) levels.push([['kubepods', 'besteffort'], { memoryBytes: may.bestEffortBytes }]);
    if (reservesMemory) levels.push([['kubepods'], { memoryMinBytes: this.#allBytes }]);
    return levels.map(([level, limits]) => ({ name: level.join('/'), level, limits, text: JSON.stringify(limits) }));
  }
}

interface WantedLevel {
  readonly name: string;
  readonly level: QosLevel;
  readonly limits: CgroupLimits;
  readonly text: string;
}
