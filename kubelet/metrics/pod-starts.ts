// How long pods take to start. After pkg/kubelet/util/pod_startup_latency_tracker.go.
import type { Pod, PodStatus } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';

export interface PodStart {
  /** From the moment in which the node knew of it, seconds. */
  readonly sinceSeenSeconds: number;
  /** From its creation in the API, seconds. */
  readonly totalSeconds: number;
  /** The same without image pulls. */
  readonly sliSeconds: number;
  /** It waited for storage of a kind that outlives pods, which no promise about starts covers. */
  readonly isStateful: boolean;
  /** No pod with a network of its own was started before: it may have waited for the network of the node. */
  readonly isFirstOnNetwork: boolean;
}

interface Starting {
  readonly createdAtMs: number;
  readonly seenAtMs: number;
  readonly isStateful: boolean;
  readonly hasOwnNetwork: boolean;
  pullingSeconds: number;
}

/** Pods that never start are forgotten with their objects; this many can be pending on one node at most. */
const MAX_STARTING = 1000;

export class PodStarts {
  readonly #clock: Clock;
  readonly #starting = new Map<string, Starting>();
  #hasNetwork = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A pod that runs already, as an agent finds after it was started again, does not count. */
  seen(pod: Pod): void {
    const { uid = '', creationTimestamp } = pod.metadata ?? {};
    const phase = pod.status?.phase ?? 'Pending';
    if (phase !== 'Pending' || this.#starting.has(uid) || this.#starting.size >= MAX_STARTING) return;
    const seenAtMs = this.#clock.now();
    const createdAtMs = creationTimestamp === undefined ? seenAtMs : Date.parse(String(creationTimestamp));
    const isStateful = (pod.spec?.volumes ?? []).some((v) => v.persistentVolumeClaim ?? v.ephemeral ?? v.csi);
    const hasOwnNetwork = pod.spec?.hostNetwork !== true;
    this.#starting.set(uid, { createdAtMs, seenAtMs, isStateful, hasOwnNetwork, pullingSeconds: 0 });
  }

  pulled(uid: string, tookSeconds: number): void {
    const pod = this.#starting.get(uid);
    if (pod !== undefined) pod.pullingSeconds += tookSeconds;
  }

  /** The pod's start, once: with the first status in which all its containers run. */
  status(uid: string, status: PodStatus): PodStart | undefined {
    const pod = this.#starting.get(uid);
    if (pod === undefined || status.phase === 'Pending' || status.phase === undefined) return undefined;
    const containers = status.containerStatuses ?? [];
    const isRunning = containers.length > 0 && containers.every((c) => c.state?.running !== undefined);
    if (status.phase === 'Running' && !isRunning) return undefined;
    this.#starting.delete(uid);
    if (!isRunning) return undefined; // it is over already
    const nowMs = this.#clock.now();
    const totalSeconds = Math.max(0, nowMs - pod.createdAtMs) / 1000;
    const isFirstOnNetwork = pod.hasOwnNetwork && !this.#hasNetwork;
    this.#hasNetwork ||= pod.hasOwnNetwork;
    return {
      sinceSeenSeconds: Math.max(0, nowMs - pod.seenAtMs) / 1000,
      totalSeconds,
      sliSeconds: Math.max(0, totalSeconds - pod.pullingSeconds),
      isStateful: pod.isStateful,
      isFirstOnNetwork,
    };
  }

  forget(uid: string): void {
    this.#starting.delete(uid);
  }
}
