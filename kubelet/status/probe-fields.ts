// `started` and `ready` of container statuses, from probe verdicts and, after a restart of the agent, from what the API
// said before. Pure. After pkg/kubelet/prober/prober_manager.go UpdatePodStatus.
import { bareContainerId, type Container, type ContainerStatus, type Pod } from '../../api/pod.ts';
import type { ProbeKind, ProbeVerdict } from '../../probes/probe-manager.ts';
import { isSidecar } from '../runtime/restart-policy.ts';

/** What is known of probing, read by container id without the runtime's prefix. */
export interface ProbeFacts {
  verdict(kind: ProbeKind, containerId: string): ProbeVerdict | undefined;
  hasProbe(podUid: string, container: string, kind: ProbeKind): boolean;
}

export interface ProbeFieldsInput {
  readonly pod: Pod;
  /** The statuses stored before this one, of the same list. */
  readonly previous: readonly ContainerStatus[];
  readonly probes: ProbeFacts;
  /** Wall ms at which the agent started. */
  readonly agentStartedAtMs: number;
  /** What the API said of Ready when the pod came in. */
  readonly wasPodReady: boolean;
}

/** A container that started this long before the agent did was adopted, not started by it, ms. */
const ADOPTION_MARGIN_MS = 10_000;

export function withProbeFields(
  kind: 'init' | 'regular',
  statuses: readonly ContainerStatus[],
  input: ProbeFieldsInput,
): ContainerStatus[] {
  const specs = new Map<string, Container>(
    ((kind === 'init' ? input.pod.spec?.initContainers : input.pod.spec?.containers) ?? []).map((c) => [c.name, c]),
  );
  return statuses.map((status) => {
    const spec = specs.get(status.name);
    if (spec === undefined) return status;
    const started = isStarted(spec, status, input);
    const plainInit = kind === 'init' && !isSidecar(spec);
    const ready = plainInit ? status.state?.terminated?.exitCode === 0 : started && isReady(spec, status, input);
    return { ...status, started, ready };
  });
}

function isStarted(spec: Container, status: ContainerStatus, input: ProbeFieldsInput): boolean {
  if (status.state?.running === undefined) return false;
  const verdict = input.probes.verdict('startup', bareContainerId(status.containerID));
  if (verdict !== undefined && verdict !== 'unknown') return verdict === 'success';
  if (toldBefore(status, input)?.started === true) return true;
  return spec.startupProbe === undefined && !input.probes.hasProbe(uidOf(input.pod), status.name, 'startup');
}

function isReady(spec: Container, status: ContainerStatus, input: ProbeFieldsInput): boolean {
  if (status.state?.running === undefined) return false;
  const verdict = input.probes.verdict('readiness', bareContainerId(status.containerID));
  if (verdict === 'success') return true;
  const startedAtMs = Date.parse(String(status.state.running.startedAt));
  const adopted = startedAtMs < input.agentStartedAtMs - ADOPTION_MARGIN_MS;
  if (adopted && verdict === undefined) {
    return spec.readinessProbe === undefined || (input.wasPodReady && toldBefore(status, input)?.ready === true);
  }
  // The spec is asked too: between start and the first look at the probes nothing may look ready.
  return spec.readinessProbe === undefined && !input.probes.hasProbe(uidOf(input.pod), status.name, 'readiness');
}

/**
 * What was told of this very container. Not of its namesake: one that took its place, which the API may not have heard
 * of while it was away, has to prove itself (kubernetes/kubernetes#141473).
 */
function toldBefore(status: ContainerStatus, input: ProbeFieldsInput): ContainerStatus | undefined {
  return input.previous.find((p) => p.name === status.name && p.containerID === status.containerID);
}

function uidOf(pod: Pod): string {
  return pod.metadata?.uid ?? '';
}
