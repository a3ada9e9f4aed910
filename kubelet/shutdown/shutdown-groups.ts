// Which pods end together when the node goes down, and in which order. Pure. After pkg/kubelet/nodeshutdown/
// nodeshutdown_manager.go groupByPriority.
import type { Pod, PodStatus } from '../../api/pod.ts';
import { endedByNode } from '../eviction/evicted-status.ts';

/** Pods of this priority and more, below that of the next group. */
export interface ShutdownGroup {
  readonly priority: number;
  /** How long they have to end. */
  readonly seconds: number;
}

export interface PodGroup {
  readonly seconds: number;
  readonly pods: readonly Pod[];
}

const MESSAGE = 'Pod was terminated in response to imminent node shutdown.';

/** In the order in which they end, empty ones left out. `groups` is sorted by priority; pods below all go with the lowest. */
export function groupPods(pods: readonly Pod[], groups: readonly ShutdownGroup[]): PodGroup[] {
  const members = groups.map((): Pod[] => []);
  for (const pod of pods) {
    const priority = pod.spec?.priority ?? 0;
    const at = groups.findLastIndex((g) => g.priority <= priority);
    members[Math.max(0, at)]?.push(pod);
  }
  return groups.map(({ seconds }, i) => ({ seconds, pods: members[i]! })).filter((g) => g.pods.length > 0);
}

/** What a pod gets of its group's time. */
export function graceSecondsOf(pod: Pod, groupSeconds: number): number {
  return Math.min(pod.spec?.terminationGracePeriodSeconds ?? groupSeconds, groupSeconds);
}

/** What the status of a pod says that ended with the node. One that had done its work stays Succeeded. */
export function endedWithNode(pod: Pod, nowMs: number): (status: PodStatus) => PodStatus {
  const override = endedByNode(pod, { reason: 'Terminated', message: MESSAGE, disruption: MESSAGE }, nowMs);
  return (status) => {
    const next = override(status);
    return status.phase === 'Succeeded' ? { ...next, phase: 'Succeeded' } : next;
  };
}

/** What logind must be asked for, s. */
export function totalSeconds(groups: readonly ShutdownGroup[]): number {
  return groups.reduce((sum, g) => sum + g.seconds, 0);
}
