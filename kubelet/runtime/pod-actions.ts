// The vocabulary of computeActions: what can be asked to happen to a pod, and why a container is killed.
import type { Container, EphemeralContainer, Pod } from '../../api/pod.ts';
import type { ContainerResize, KnownResources } from '../resize/resize-progress.ts';
import { containerHash } from './container-hash.ts';
import type { PodRuntimeStatus, RuntimeContainer } from './pod-runtime-status.ts';
import type { ProbeVerdicts } from './runtime-manager.ts';

/** Why a container is killed: a probe may have a termination grace period of its own. */
export type KillReason = 'startup-probe' | 'liveness-probe' | 'other';

export interface ContainerToKill {
  readonly container: RuntimeContainer;
  /** Of the Killing event. */
  readonly message: string;
  readonly reason: KillReason;
}

export interface PodActions {
  /** Stop every container and sandbox first; with `createSandbox`, to make room for the new one. */
  readonly killPod: boolean;
  readonly createSandbox: boolean;
  /** Of the sandbox to create, or of the one kept. */
  readonly attempt: number;
  /** The sandbox kept, or the one being replaced; '' when there is none to speak of. */
  readonly sandboxId: string;
  /** All three in spec order. */
  readonly initContainersToStart: readonly Container[];
  readonly ephemeralContainersToStart: readonly EphemeralContainer[];
  readonly containersToStart: readonly Container[];
  readonly containersToKill: readonly ContainerToKill[];
  /** These go on running, with other resources. */
  readonly containersToResize: readonly ContainerResize[];
  /** The pod's own cgroup is to have other limits: of its own, or for a container that is started with others. */
  readonly resizePod: boolean;
  /** Restart of all containers in place: these are killed and removed in this order, and nothing else happens. */
  readonly containersToReset: readonly RuntimeContainer[];
}

/** True when the pod is as it should be, as far as its containers tell. */
export function isNothing(actions: PodActions): boolean {
  const { containersToStart, initContainersToStart, ephemeralContainersToStart } = actions;
  const { containersToKill, containersToResize, containersToReset } = actions;
  const lists = [containersToStart, initContainersToStart, ephemeralContainersToStart, containersToKill];
  const isEmpty = [...lists, containersToResize, containersToReset].every((list) => list.length === 0);
  return isEmpty && !actions.killPod && !actions.createSandbox && !actions.resizePod;
}

export interface ComputeActionsInput {
  readonly pod: Pod;
  readonly status: PodRuntimeStatus;
  readonly verdicts: ProbeVerdicts;
  /** What containers were made to use; without it none is resized. */
  readonly resources?: KnownResources;
}

/** An absent hash differs from every hash: such a container was not made by a kubelet. */
export function hasDefinitionChanged(container: Container, running: RuntimeContainer): boolean {
  return running.hash !== containerHash(container);
}

/** The runtime does not know whether it runs: it must be gone before another one starts. */
export function killUnknown(kind: 'Container' | 'Init container', container: RuntimeContainer): ContainerToKill {
  return { container, message: `${kind} is in "unknown" state, try killing it before restart`, reason: 'other' };
}
