// Container spec → ContainerConfig (pkg/kubelet/kuberuntime/kuberuntime_container.go generateContainerConfig). Pure.
import type { Pod } from '../../api/pod.ts';
import type { ContainerConfig, Device, IDMapping, Image, Mount } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { expandVariables } from './expand.ts';
import { type AnyContainer, containerAnnotations, containerLabels } from './labels.ts';
import { containerLogPath } from './pod-paths.ts';
import { containerResources, type ResourceSettings } from './resources.ts';
import { containerSecurityContext, namespaceOptions, type SecuritySettings } from './security-context.ts';

export interface ContainerConfigInput {
  readonly pod: Pod;
  readonly container: AnyContainer;
  readonly restartCount: number;
  /** What the ensure step resolved the image to. */
  readonly imageRef: string;
  /** Tells the image's user; undefined when that is not known. */
  readonly image: Image | undefined;
  readonly env: ReadonlyMap<string, string>;
  readonly mounts: readonly Init<Mount>[];
  readonly devices?: readonly Init<Device>[];
  /** Qualified CDI names of what drivers have prepared for the container. */
  readonly cdiDevices?: readonly string[];
  /** Container whose processes an ephemeral container sees, '' for none. */
  readonly targetId: string;
  /** Host ids of a pod with a user namespace of its own. */
  readonly userIds?: IDMapping | undefined;
  /** Groups that the pod's volumes ask for. */
  readonly volumeGroups?: readonly number[];
  readonly resources: ResourceSettings;
  readonly security: SecuritySettings;
}

/** @throws {ContainerConfigError} when the security context cannot be met. */
export function containerConfig(input: ContainerConfigInput): Init<ContainerConfig> {
  const { pod, container, env, targetId, userIds } = input;
  const namespaces = namespaceOptions(pod, { targetId, userIds });
  const securityContext = containerSecurityContext(pod, container, input.image, namespaces, input.security);
  const groups = [...(securityContext.supplementalGroups ?? []), ...(input.volumeGroups ?? [])];
  const expand = (text: string) => expandVariables(text, (name) => env.get(name));
  return {
    metadata: { name: container.name, attempt: input.restartCount },
    image: { image: input.imageRef, userSpecifiedImage: container.image ?? '' },
    command: (container.command ?? []).map(expand),
    args: (container.args ?? []).map(expand),
    workingDir: container.workingDir ?? '',
    envs: [...env].map(([key, value]) => ({ key, value: Buffer.from(value, 'utf8') })),
    // On the host the files belong to host users; inside they are to belong to the same ids as without a user namespace.
    mounts:
      userIds === undefined
        ? input.mounts
        : input.mounts.map((m) => ({ ...m, uidMappings: [userIds], gidMappings: [userIds] })),
    devices: input.devices ?? [],
    CDIDevices: (input.cdiDevices ?? []).map((name) => ({ name })),
    labels: containerLabels(pod, container.name),
    annotations: containerAnnotations(pod, container, input.restartCount),
    logPath: containerLogPath(container.name, input.restartCount),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: {
      resources: containerResources(pod, container, input.resources),
      securityContext: { ...securityContext, supplementalGroups: [...new Set(groups)] },
    },
  };
}
