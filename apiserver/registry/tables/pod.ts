// The row of a Pod: the status word is worked out from the containers. Source: printPod in
// pkg/printers/internalversion/printers.go.
import type { ContainerStatus, Pod } from '../../../api/pod.ts';
import { age, nameOf, since, table } from './format.ts';

export const podTable = table(
  ['Name', 'Ready', 'Status', 'Restarts', 'Age', 'IP*', 'Node*', 'Nominated Node*', 'Readiness Gates*'],
  (pod: Pod, nowMs) => {
    const summary = summarise(pod);
    return [
      nameOf(pod),
      `${summary.ready}/${summary.total}`,
      summary.reason,
      restartsText(summary, nowMs),
      age(pod, nowMs),
      pod.status?.podIPs?.[0]?.ip || pod.status?.podIP || '<none>',
      pod.spec?.nodeName || '<none>',
      pod.status?.nominatedNodeName || '<none>',
      readinessGates(pod),
    ];
  },
);

interface Summary {
  ready: number;
  total: number;
  reason: string;
  restarts: number;
  /** RFC 3339 time of the latest end of a restarted container. */
  lastRestart: string;
}

function conditionOf(pod: Pod, type: string) {
  return pod.status?.conditions?.find((c) => c.type === type);
}

function summarise(pod: Pod): Summary {
  const restartable = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always').map((c) => c.name);
  const summary: Summary = {
    ready: 0,
    total: (pod.spec?.containers.length ?? 0) + restartable.length,
    reason: pod.status?.reason || pod.status?.phase || '',
    restarts: 0,
    lastRestart: '',
  };
  if (conditionOf(pod, 'PodScheduled')?.reason === 'SchedulingGated') summary.reason = 'SchedulingGated';
  const sidecars: Summary = { ...summary, restarts: 0, lastRestart: '' };
  const initializing = scanInitContainers(pod, new Set(restartable), summary, sidecars);
  if (!initializing || conditionOf(pod, 'Initialized')?.status === 'True') {
    summary.restarts = sidecars.restarts;
    summary.lastRestart = sidecars.lastRestart;
    scanContainers(pod, summary);
  }
  if (pod.metadata?.deletionTimestamp !== undefined) {
    if (pod.status?.reason === 'NodeLost') summary.reason = 'Unknown';
    else if (pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed') summary.reason = 'Terminating';
  }
  return summary;
}

/** @returns true when an init container still holds the pod up. */
function scanInitContainers(pod: Pod, restartable: ReadonlySet<string>, summary: Summary, sidecars: Summary): boolean {
  for (const [i, status] of (pod.status?.initContainerStatuses ?? []).entries()) {
    countRestarts(status, summary);
    if (restartable.has(status.name)) countRestarts(status, sidecars);
    const { terminated, waiting } = status.state ?? {};
    if (terminated?.exitCode === 0) continue;
    if (restartable.has(status.name) && status.started === true) {
      if (status.ready) summary.ready++;
      continue;
    }
    if (terminated !== undefined) summary.reason = `Init:${terminatedText(terminated)}`;
    else if (waiting?.reason && waiting.reason !== 'PodInitializing') summary.reason = `Init:${waiting.reason}`;
    else summary.reason = `Init:${i}/${pod.spec?.initContainers?.length ?? 0}`;
    return true;
  }
  return false;
}

function scanContainers(pod: Pod, summary: Summary): void {
  let hasRunning = false;
  let errorReason = '';
  for (const status of (pod.status?.containerStatuses ?? []).toReversed()) {
    countRestarts(status, summary);
    const { terminated, waiting, running } = status.state ?? {};
    if (waiting?.reason) summary.reason = waiting.reason;
    else if (terminated !== undefined) {
      summary.reason = terminatedText(terminated);
      if (terminated.exitCode !== 0) errorReason = summary.reason;
    } else if (status.ready && running !== undefined) {
      hasRunning = true;
      summary.ready++;
    }
  }
  if (summary.reason !== 'Completed') return;
  if (hasRunning && conditionOf(pod, 'Ready')?.status === 'True') summary.reason = 'Running';
  else if (errorReason !== '') summary.reason = errorReason;
  else if (hasRunning) summary.reason = 'NotReady';
}

function terminatedText(state: { reason?: string; signal?: number; exitCode: number }): string {
  if (state.reason) return state.reason;
  return state.signal ? `Signal:${state.signal}` : `ExitCode:${state.exitCode}`;
}

function countRestarts(status: ContainerStatus, summary: Summary): void {
  summary.restarts += status.restartCount;
  const finished = status.lastState?.terminated?.finishedAt ?? '';
  if (finished > summary.lastRestart) summary.lastRestart = finished;
}

function restartsText(summary: Summary, nowMs: number): string {
  if (summary.restarts === 0 || summary.lastRestart === '') return String(summary.restarts);
  return `${summary.restarts} (${since(summary.lastRestart, nowMs)} ago)`;
}

function readinessGates(pod: Pod): string {
  const gates = pod.spec?.readinessGates ?? [];
  if (gates.length === 0) return '<none>';
  const met = gates.filter((gate) => conditionOf(pod, gate.conditionType)?.status === 'True').length;
  return `${met}/${gates.length}`;
}
