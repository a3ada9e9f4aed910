// The labels and annotations that the kubelet writes on sandboxes and containers, and reading them back: they are all
// that survives a restart of the agent, so containers are re-adopted, and orphans killed properly, from them alone
// (pkg/kubelet/kuberuntime/labels.go, pkg/kubelet/types/labels.go).
import type { Container, ContainerPort, EphemeralContainer, Pod } from '../../api/pod.ts';
import { containerHash } from './container-hash.ts';

export const POD_NAME_LABEL = 'io.kubernetes.pod.name';
export const POD_NAMESPACE_LABEL = 'io.kubernetes.pod.namespace';
export const POD_UID_LABEL = 'io.kubernetes.pod.uid';
export const CONTAINER_NAME_LABEL = 'io.kubernetes.container.name';

const HASH = 'io.kubernetes.container.hash';
const RESTART_COUNT = 'io.kubernetes.container.restartCount';
const TERMINATION_PATH = 'io.kubernetes.container.terminationMessagePath';
const TERMINATION_POLICY = 'io.kubernetes.container.terminationMessagePolicy';
const POD_DELETION_GRACE = 'io.kubernetes.pod.deletionGracePeriod';
const POD_TERMINATION_GRACE = 'io.kubernetes.pod.terminationGracePeriod';
const PRE_STOP = 'io.kubernetes.container.preStopHandler';
const PORTS = 'io.kubernetes.container.ports';

export const DEFAULT_TERMINATION_PATH = '/dev/termination-log';

/** A container of any of the three lists of a pod spec. */
export type AnyContainer = Container | EphemeralContainer;

export type LifecycleHandler = NonNullable<NonNullable<Container['lifecycle']>['preStop']>;

/** What was known about a container when it was created. */
export interface ContainerMeta {
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly containerName: string;
  /** '' when absent. */
  readonly hash: string;
  readonly restartCount: number;
  readonly terminationMessagePath: string;
  readonly terminationMessagePolicy: string;
  /** Seconds. */
  readonly podDeletionGrace?: number;
  /** Seconds. */
  readonly podTerminationGrace?: number;
  readonly preStop?: LifecycleHandler;
  readonly ports: readonly ContainerPort[];
}

/** The pod's own labels, then those that identify it: a pod must not be able to pose as another one. */
export function sandboxLabels(pod: Pod): Record<string, string> {
  return { ...pod.metadata?.labels, ...podIdentity(pod) };
}

export function containerLabels(pod: Pod, containerName: string): Record<string, string> {
  return { ...podIdentity(pod), [CONTAINER_NAME_LABEL]: containerName };
}

function podIdentity(pod: Pod): Record<string, string> {
  return {
    [POD_NAME_LABEL]: pod.metadata?.name ?? '',
    [POD_NAMESPACE_LABEL]: pod.metadata?.namespace ?? '',
    [POD_UID_LABEL]: pod.metadata?.uid ?? '',
  };
}

export function containerAnnotations(pod: Pod, container: AnyContainer, restartCount: number): Record<string, string> {
  const annotations: Record<string, string> = {
    [HASH]: containerHash(container),
    [RESTART_COUNT]: String(restartCount),
    [TERMINATION_PATH]: container.terminationMessagePath ?? DEFAULT_TERMINATION_PATH,
    [TERMINATION_POLICY]: container.terminationMessagePolicy ?? 'File',
  };
  const deletionGrace = pod.metadata?.deletionGracePeriodSeconds;
  if (deletionGrace !== undefined) annotations[POD_DELETION_GRACE] = String(deletionGrace);
  const terminationGrace = pod.spec?.terminationGracePeriodSeconds;
  if (terminationGrace !== undefined) annotations[POD_TERMINATION_GRACE] = String(terminationGrace);
  const preStop = container.lifecycle?.preStop;
  if (preStop !== undefined) annotations[PRE_STOP] = JSON.stringify(preStop);
  if (container.ports !== undefined && container.ports.length > 0) annotations[PORTS] = JSON.stringify(container.ports);
  return annotations;
}

/** Reads back what was written, by us or by an upstream kubelet. Values that cannot be read count as absent. */
export function parseContainerMeta(
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
): ContainerMeta {
  const podDeletionGrace = parseInteger(annotations[POD_DELETION_GRACE]);
  const podTerminationGrace = parseInteger(annotations[POD_TERMINATION_GRACE]);
  const preStop = parseJson(annotations[PRE_STOP]);
  const ports = parseJson(annotations[PORTS]);
  return {
    podName: labels[POD_NAME_LABEL] ?? '',
    podNamespace: labels[POD_NAMESPACE_LABEL] ?? '',
    podUid: labels[POD_UID_LABEL] ?? '',
    containerName: labels[CONTAINER_NAME_LABEL] ?? '',
    hash: annotations[HASH] ?? '',
    restartCount: Math.max(0, parseInteger(annotations[RESTART_COUNT]) ?? 0),
    terminationMessagePath: annotations[TERMINATION_PATH] ?? '',
    terminationMessagePolicy: annotations[TERMINATION_POLICY] ?? '',
    ...(podDeletionGrace === undefined ? {} : { podDeletionGrace }),
    ...(podTerminationGrace === undefined ? {} : { podTerminationGrace }),
    ...(isObject(preStop) ? { preStop: preStop as LifecycleHandler } : {}),
    ports: Array.isArray(ports) ? ports.filter(isObject).map((p) => p as unknown as ContainerPort) : [],
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseInteger(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
}

function parseJson(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // somebody else's annotation under our key: killing the container must still work
  }
}
