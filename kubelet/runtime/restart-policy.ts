// Whether a container that does not run is to run again: pod policy, container policy and exit-code rules (KEP-5307).
// Used both for acting and for what the status shows. After pkg/kubelet/container/helpers.go ShouldContainerBeRestarted.
import type { Container, EphemeralContainer, Pod } from '../../api/pod.ts';
import { findContainer, type PodRuntimeStatus, type RuntimeContainer } from './pod-runtime-status.ts';

type RestartPolicy = 'Always' | 'OnFailure' | 'Never';

/** What these decisions read of a container spec. */
export type RestartSpec = Pick<Container, 'name' | 'restartPolicy' | 'restartPolicyRules'>;

/** A restartable init container: it is started in order, then kept running beside the regular containers. */
export function isSidecar(initContainer: Pick<Container, 'restartPolicy'>): boolean {
  return initContainer.restartPolicy === 'Always';
}

/** The container's own policy when it has one, else the pod's. */
export function effectiveRestartPolicy(pod: Pod, container: Pick<Container, 'restartPolicy'>): RestartPolicy {
  return (container.restartPolicy ?? pod.spec?.restartPolicy ?? 'Always') as RestartPolicy;
}

/** The action of the first rule that matches `exitCode`. */
export function matchRestartRule(
  container: RestartSpec,
  exitCode: number,
): 'Restart' | 'RestartAllContainers' | undefined {
  if (container.restartPolicy === undefined) return undefined; // rules count only beside a container-level policy
  for (const rule of container.restartPolicyRules ?? []) {
    if (rule.exitCodes === undefined) continue;
    const listed = rule.exitCodes.values?.includes(exitCode) ?? false;
    if (listed === (rule.exitCodes.operator === 'In')) return rule.action;
  }
  return undefined;
}

/** How a container ended, by the runtime's account or by a status made of it. */
export interface ContainerEnd {
  readonly exitCode: number;
  readonly reason?: string;
  readonly message?: string;
}

/**
 * containerd's words for a first process that was still being made when whoever had asked for it hung up, or when
 * containerd was killed: then it finds its own beginnings in the way of another start.
 */
const CUT_OFF = /^failed to create containerd task: (?:.*(?:context canceled|signal: killed)|task \S+: already exists)/;

/**
 * The agent or the runtime was killed while the container was being started, which the runtime calls a failed start:
 * nothing of the container has ever run. Beyond upstream, where this is the end of a pod that is not to be restarted.
 */
export function wasCutOff({ reason, message = '' }: ContainerEnd): boolean {
  return reason === 'StartError' && CUT_OFF.test(message);
}

/** Nothing of the container has ever run, and nobody is about to start it: whoever had made it is gone. */
export function hasNeverRun(newest: RuntimeContainer | undefined): boolean {
  return newest === undefined || newest.state === 'created' || (newest.state === 'exited' && wasCutOff(newest));
}

/** Whether such an end is followed by a restart, whatever else happens to the pod. */
export function restartsAfterExit(pod: Pod, container: RestartSpec, end: ContainerEnd): boolean {
  const { exitCode } = end;
  if (wasCutOff(end) || matchRestartRule(container, exitCode) !== undefined) return true;
  const policy = effectiveRestartPolicy(pod, container);
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

/** True when the container is not running and is to be (re)started. */
export function shouldBeRestarted(
  pod: Pod,
  container: RestartSpec | EphemeralContainer,
  status: PodRuntimeStatus | undefined,
): boolean {
  if (pod.metadata?.deletionTimestamp !== undefined) return false;
  const newest = findContainer(status, container.name);
  if (newest === undefined) return true;
  if (newest.state === 'running') return false;
  // Created: the agent or the runtime died between create and start. Unknown: better started again than lost.
  if (newest.state !== 'exited') return true;
  return restartsAfterExit(pod, container, newest);
}

/** A probe kill is followed by a restart unless the policy says Never; exit-code rules have no say in it. */
export function restartsAfterProbeKill(pod: Pod, container: Pick<Container, 'restartPolicy'>): boolean {
  return effectiveRestartPolicy(pod, container) !== 'Never';
}

/** A plain init container that did not do its work. The runtime reports an OOM kill even for exit code 0. */
export function hasInitFailed(container: RuntimeContainer): boolean {
  if (container.state === 'unknown') return true;
  return container.state === 'exited' && (container.exitCode !== 0 || container.reason === 'OOMKilled');
}
