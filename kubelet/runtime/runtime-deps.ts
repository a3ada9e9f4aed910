// What the runtime part of the kubelet is told and handed: settings, and the functions through which it sees the rest.
import type { ConfigMap, ObjectReference, Secret, Service } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { ImageService, RuntimeService } from '../../cri/runtime-service.ts';
import type { ContainerGcPolicy } from '../config.ts';
import type { PodClaims } from '../dra/pod-claims.ts';
import type { PullRecorder } from '../images/pull-records.ts';
import type { ContainerGrant } from '../managers/hint-provider.ts';
import type { KubeletObserver } from '../metrics/observer.ts';
import type { ActuatedResources } from '../resize/allocations.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import type { ImagePullerOptions } from './image-puller.ts';
import type { ImageVolumesMissing } from './image-volumes.ts';
import type { AnyContainer } from './labels.ts';
import type { RegistryCredential } from './registry-auth.ts';
import type { ResizablePodCgroups } from './resize-pod.ts';
import type { ResourceSettings } from './resources.ts';
import type { SecuritySettings } from './security-context.ts';
import type { UserNamespaces } from './user-namespaces.ts';

export interface RuntimeSettings {
  /** What Events of the node refer to. */
  readonly nodeName: string;
  /** The kubelet's root directory, e.g. `/var/lib/kubelet`. */
  readonly rootDir: string;
  /** Default `/var/log/pods`. */
  readonly podLogsDir: string;
  /** Where links to running containers' logs are kept for log collectors: `/var/log/containers`. */
  readonly containerLogsDir: string;
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
  /** The node's resolv.conf; '' for none. */
  readonly resolvConfFile: string;
  /** The node's hosts file, shown to pods on the host's network. */
  readonly nodeHostsFile: string;
  /** crashLoopBackOff.maxContainerRestartPeriod, ms. */
  readonly maxRestartBackoffMs: number;
  /** Of the first restart, ms; 10,000 when absent. */
  readonly initialRestartBackoffMs?: number;
  readonly pulls: ImagePullerOptions;
  /** The kubelet's defaults when absent. */
  readonly containerGc?: ContainerGcPolicy;
  readonly resources: ResourceSettings;
  readonly security: SecuritySettings;
}

export interface RuntimeDeps {
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  readonly recorder: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
  /** The node's addresses, the primary first. */
  readonly nodeIps: () => readonly string[];
  /** Node allocatable as quantities, for downward API limits. */
  readonly nodeAllocatable: () => Readonly<Record<string, string>>;
  /** Undefined when the object does not exist; rejects when that is not known. */
  readonly configMap: (namespace: string, name: string) => Promise<ConfigMap | undefined>;
  readonly secret: (namespace: string, name: string) => Promise<Secret | undefined>;
  /** Registry credentials that are not the pod's own: the node's, and what plugins give. */
  readonly nodeCredentials?: (image: string, pod: Pod) => Promise<readonly RegistryCredential[]>;
  /** Who may use images that are present; every pod when absent. */
  readonly pullRecords?: PullRecorder;
  /** All Services; undefined until they have been read once. */
  readonly services: () => readonly Service[] | undefined;
  /** Runtime handler of a RuntimeClass. @throws when there is no such class. */
  readonly runtimeHandler: (runtimeClassName: string) => Promise<string>;
  /** Whether the handler ('' is the default one) can mount recursively read-only. */
  readonly supportsRecursiveReadOnly: (handler: string) => boolean;
  /** Whether the handler can give a pod a user namespace of its own. */
  readonly supportsUserNamespaces: (handler: string) => boolean;
  readonly userNamespaces: Pick<UserNamespaces, 'mappingOf'>;
  readonly imageVolumesMissing: ImageVolumesMissing;
  readonly cgroupParent: (pod: Pod) => string;
  /** What resizing needs; without it running containers keep what they were started with. */
  readonly resizing?: { readonly actuated: ActuatedResources; readonly podCgroups: ResizablePodCgroups };
  /** What the container has for itself; absent where nothing is managed. */
  readonly grant?: (pod: Pod, containerName: string) => Promise<ContainerGrant | undefined>;
  /** Dynamic resources; without it pods that name claims run without them. */
  readonly claims?: Pick<PodClaims, 'prepare' | 'isKnown' | 'cdiDevices'>;
  readonly volumesOf: (podUid: string) => ReadonlyMap<string, MountedVolume> | undefined;
  readonly observer?: Pick<KubeletObserver, 'containerStarted' | 'counted' | 'imagePulled'>;
  /** The last lines of a container's log (cri/container-log.ts), without stamps: at most `maxLines` and `maxBytes`. */
  readonly tailLog: (logFile: string, maxLines: number, maxBytes: number) => Promise<string>;
  /** Bind-mounts `source`, which is never followed further, onto `target`; and undoes it. For sub-paths only. */
  readonly bindMount: (source: string, target: string) => Promise<void>;
  readonly unmount: (target: string) => Promise<void>;
}

/** What Events of a pod, or of one of its containers, refer to. */
export function podReference(pod: Pod, container?: AnyContainer): ObjectReference {
  const { namespace, name, uid, resourceVersion } = pod.metadata ?? {};
  const fieldPath = container === undefined ? undefined : containerFieldPath(pod, container.name);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    ...(namespace === undefined ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(fieldPath === undefined ? {} : { fieldPath }),
  };
}

/** What Events of the node refer to; its name stands for the uid, as in the kubelet's. */
export function nodeReference(nodeName: string): ObjectReference {
  return { kind: 'Node', name: nodeName, uid: nodeName };
}

function containerFieldPath(pod: Pod, name: string): string | undefined {
  for (const list of ['containers', 'initContainers', 'ephemeralContainers'] as const) {
    if (pod.spec?.[list]?.some((c) => c.name === name)) return `spec.${list}{${name}}`;
  }
  return undefined;
}
