// Pod and its parts. kubernetes-types stops at v1.30; fields that came later and that the node acts on are added here.
import type * as core from 'kubernetes-types/core/v1.js';
import type { KubeObject, ObjectMeta } from './meta.ts';

export type {
  ConfigMapVolumeSource,
  ContainerPort,
  ContainerState,
  ContainerStateRunning,
  ContainerStateTerminated,
  ContainerStateWaiting,
  DownwardAPIVolumeSource,
  EmptyDirVolumeSource,
  EnvFromSource,
  EnvVar,
  EnvVarSource,
  ExecAction,
  GRPCAction,
  HostPathVolumeSource,
  HTTPGetAction,
  KeyToPath,
  PodSecurityContext,
  Probe,
  ProjectedVolumeSource,
  ResourceRequirements,
  SecretVolumeSource,
  SecurityContext,
  TCPSocketAction,
  Toleration,
  VolumeMount,
} from 'kubernetes-types/core/v1.js';

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';

/** Container restart rules: KEP-5307 (v1.34 alpha, v1.35 beta). */
export interface ContainerRestartRule {
  action: 'Restart' | 'RestartAllContainers';
  exitCodes?: { operator: 'In' | 'NotIn'; values?: number[] };
}

export interface Lifecycle extends core.Lifecycle {
  /** KEP-4960. */
  stopSignal?: string;
}

export interface Container extends Omit<core.Container, 'lifecycle'> {
  lifecycle?: Lifecycle;
  restartPolicyRules?: ContainerRestartRule[];
}

export interface EphemeralContainer extends core.EphemeralContainer {
  restartPolicyRules?: ContainerRestartRule[];
}

/** Image volumes: KEP-4639. */
export interface ImageVolumeSource {
  reference?: string;
  pullPolicy?: 'Always' | 'Never' | 'IfNotPresent';
}

export interface Volume extends core.Volume {
  image?: ImageVolumeSource;
}

export interface PodSpec
  extends Omit<core.PodSpec, 'containers' | 'initContainers' | 'ephemeralContainers' | 'volumes'> {
  containers: Container[];
  initContainers?: Container[];
  ephemeralContainers?: EphemeralContainer[];
  volumes?: Volume[];
  hostnameOverride?: string;
  /** Pod-level resources: KEP-2837. */
  resources?: core.ResourceRequirements;
}

export interface ContainerUser {
  linux?: { uid: number; gid: number; supplementalGroups?: number[] };
}

export interface VolumeMountStatus {
  name: string;
  mountPath: string;
  readOnly?: boolean;
  recursiveReadOnly?: string;
}

/** Health of what a container was given of one resource: KEP-4680. */
export interface ResourceStatus {
  name: string;
  resources?: ResourceHealth[];
}

export interface ResourceHealth {
  resourceID: string;
  health?: 'Healthy' | 'Unhealthy' | 'Unknown';
  /** KEP-4680, beta since 1.36. */
  message?: string;
}

export interface ContainerStatus extends core.ContainerStatus {
  allocatedResourcesStatus?: ResourceStatus[];
  user?: ContainerUser;
  volumeMounts?: VolumeMountStatus[];
  stopSignal?: string;
}

export interface PodCondition extends core.PodCondition {
  observedGeneration?: number;
}

export interface PodStatus
  extends Omit<
    core.PodStatus,
    'conditions' | 'containerStatuses' | 'initContainerStatuses' | 'ephemeralContainerStatuses'
  > {
  observedGeneration?: number;
  conditions?: PodCondition[];
  /** Of the pod as a whole: KEP-5419. */
  allocatedResources?: Record<string, string>;
  resources?: core.ResourceRequirements;
  containerStatuses?: ContainerStatus[];
  initContainerStatuses?: ContainerStatus[];
  ephemeralContainerStatuses?: ContainerStatus[];
}

export interface Pod extends KubeObject {
  metadata?: ObjectMeta;
  spec?: PodSpec;
  status?: PodStatus;
}

/** How messages name a pod: `<name>_<namespace>(<uid>)` (pkg/kubelet/util/format). */
export function podDescription(pod: Pod): string {
  const m = pod.metadata ?? {};
  return `${m.name ?? ''}_${m.namespace ?? ''}(${m.uid ?? ''})`;
}

/** `<name>_<namespace>`: what identifies a static pod. */
export function podFullName(pod: Pod): string {
  return `${pod.metadata?.name ?? ''}_${pod.metadata?.namespace ?? ''}`;
}

/** On the API's copy of a static pod; its value is the static pod's hash. */
export const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';

export function isMirrorPod(pod: Pod): boolean {
  return pod.metadata?.annotations?.[MIRROR_ANNOTATION] !== undefined;
}

/** `containerd://<id>`, as statuses have it → `<id>`; '' when there is none. */
export function bareContainerId(containerId: string | undefined): string {
  const at = containerId?.indexOf('://') ?? -1;
  return at < 0 ? (containerId ?? '') : containerId!.slice(at + 3);
}

/** True once the phase cannot change any more. */
export function isTerminalPhase(phase: string | undefined): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}
