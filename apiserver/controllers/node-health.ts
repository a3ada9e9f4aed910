// What the control plane says about a Node from what it hears of it, pure (pkg/controller/nodelifecycle).
import type { Node, NodeCondition, Taint } from '../../api/kinds.ts';
import { formatTime } from '../../api/meta.ts';

const NOT_READY = 'node.kubernetes.io/not-ready';
const UNREACHABLE = 'node.kubernetes.io/unreachable';
const WATCHED = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'] as const;

const PRESSURE_TAINTS: Readonly<Record<string, string>> = {
  MemoryPressure: 'node.kubernetes.io/memory-pressure',
  DiskPressure: 'node.kubernetes.io/disk-pressure',
  PIDPressure: 'node.kubernetes.io/pid-pressure',
  NetworkUnavailable: 'node.kubernetes.io/network-unavailable',
};
const UNSCHEDULABLE = 'node.kubernetes.io/unschedulable';

/** Every taint that this controller owns. */
const OWNED = new Set([NOT_READY, UNREACHABLE, UNSCHEDULABLE, ...Object.values(PRESSURE_TAINTS)]);

export function readyStatus(node: Node): string {
  return node.status?.conditions?.find((c) => c.type === 'Ready')?.status ?? 'Unknown';
}

/** The conditions of a node that has not been heard of in time. */
export function silentConditions(node: Node, nowMs: number): NodeCondition[] {
  const now = formatTime(nowMs);
  const current = node.status?.conditions ?? [];
  const silent = WATCHED.map((type): NodeCondition => {
    const old = current.find((c) => c.type === type);
    if (old === undefined) {
      const heartbeat = node.metadata?.creationTimestamp ?? now;
      return {
        type,
        status: 'Unknown',
        reason: 'NodeStatusNeverUpdated',
        message: 'Kubelet never posted node status.',
        lastHeartbeatTime: heartbeat,
        lastTransitionTime: now,
      };
    }
    if (old.status === 'Unknown') return old;
    return {
      ...old,
      status: 'Unknown',
      reason: 'NodeStatusUnknown',
      message: 'Kubelet stopped posting node status.',
      lastTransitionTime: now,
    };
  });
  return [...current.filter((c) => !WATCHED.includes(c.type as never)), ...silent];
}

/** The taints that fit the node's conditions. Those of others stay; a taint that stays keeps its time. */
export function taintsFor(node: Node, nowMs: number): Taint[] {
  const current = node.spec?.taints ?? [];
  const wanted: Taint[] = [];
  // A node that has said nothing yet, and is not overdue, is neither ready nor unreachable.
  const ready = node.status?.conditions?.find((c) => c.type === 'Ready')?.status;
  const key = ready === 'False' ? NOT_READY : ready === 'Unknown' ? UNREACHABLE : undefined;
  if (key !== undefined) wanted.push({ key, effect: 'NoSchedule' }, { key, effect: 'NoExecute' });
  for (const [type, taint] of Object.entries(PRESSURE_TAINTS)) {
    if (node.status?.conditions?.some((c) => c.type === type && c.status === 'True')) {
      wanted.push({ key: taint, effect: 'NoSchedule' });
    }
  }
  if (node.spec?.unschedulable) wanted.push({ key: UNSCHEDULABLE, effect: 'NoSchedule' });
  const dated = wanted.map((taint) => {
    const old = current.find((t) => t.key === taint.key && t.effect === taint.effect);
    return old ?? (taint.effect === 'NoExecute' ? { ...taint, timeAdded: formatTime(nowMs) } : taint);
  });
  return [...current.filter((t) => !OWNED.has(t.key)), ...dated];
}

export function sameTaints(a: readonly Taint[] | undefined, b: readonly Taint[]): boolean {
  const text = (taints: readonly Taint[]): string =>
    JSON.stringify(taints.map((t) => `${t.key}=${t.value ?? ''}:${t.effect}`).sort());
  return text(a ?? []) === text(b);
}
