// How pods are made of sandboxes and containers, wired: what the host and the configuration say, what the runtime can do,
// and who is asked for what a container needs.
import { availableParallelism } from 'node:os';
import type { RuntimeClass } from '../../api/kinds.ts';
import type { ReadonlyStore } from '../../client/store.ts';
import { Slots } from '../../core/slots.ts';
import { tailLog } from '../../cri/container-log.ts';
import type { ImageService, RuntimeService } from '../../cri/runtime-service.ts';
import type { Mounter } from '../../host/mounts.ts';
import type { RuntimeHealth } from '../../kubelet/node/runtime-health.ts';
import type { Allocations } from '../../kubelet/resize/allocations.ts';
import type { PodCgroups } from '../../kubelet/resources/pod-cgroup.ts';
import { imageVolumesMissing } from '../../kubelet/runtime/image-volumes.ts';
import { KubeRuntime } from '../../kubelet/runtime/kube-runtime.ts';
import type { RuntimeDeps } from '../../kubelet/runtime/runtime-deps.ts';
import { pacedStarts } from '../../kubelet/runtime/start-rush.ts';
import type { LocalVolumes } from '../../kubelet/volumes/local-volumes.ts';
import type { ObjectCache } from '../../kubelet/volumes/object-cache.ts';
import type { ImagesPart } from './images-part.ts';
import { type Observers, observedSandboxes } from './observers.ts';
import { handlerOf, type RuntimeHost, runtimeSettings, userNamespacesOf } from './runtime-settings.ts';
import type { AgentContext } from './shared.ts';

/** Sandboxes made at once: part of their time is spent waiting (docs/decisions/0007-starts-come-first.md). */
const SANDBOXES_PER_CPU = 2;

export interface PodRuntimeInput extends Pick<RuntimeDeps, 'nodeIps' | 'nodeAllocatable'> {
  readonly host: RuntimeHost;
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  readonly runtimeName: string;
  /** Counts until the runtime has been asked again. */
  readonly versionAtStart: string;
  readonly health: () => RuntimeHealth;
  readonly classes: ReadonlyStore<RuntimeClass>;
  readonly imagesPart: Pick<ImagesPart, 'nodeCredentials' | 'pullRecords'>;
  readonly objects: ObjectCache;
  readonly volumes: LocalVolumes;
  readonly mounter: Mounter;
  readonly cgroups: PodCgroups;
  readonly allocations: Allocations;
  readonly claims: NonNullable<RuntimeDeps['claims']>;
  readonly grant: RuntimeDeps['grant'] | undefined;
  readonly observer: Observers['observer'];
}

export async function createPodRuntime(ctx: AgentContext, input: PodRuntimeInput): Promise<KubeRuntime> {
  const { clock, log, recorder } = ctx;
  const { host, runtime, runtimeName, versionAtStart, health, objects, volumes, cgroups, observer } = input;
  const { nodeCredentials, pullRecords } = input.imagesPart;
  const featuresOf = (handler: string) =>
    health().status?.runtimeHandlers.find((h) => h.name === handler)?.features ?? undefined;
  const services = ctx.services().store;
  return new KubeRuntime(await runtimeSettings(ctx, host), {
    runtime: pacedStarts(observedSandboxes(runtime, ctx.registry), {
      rush: ctx.startRush,
      sandboxes: new Slots(SANDBOXES_PER_CPU * availableParallelism()),
      clock,
    }),
    images: input.images,
    recorder,
    clock,
    log,
    nodeIps: input.nodeIps,
    nodeAllocatable: input.nodeAllocatable,
    configMap: (namespace, name) => objects.getConfigMap(namespace, name),
    secret: (namespace, name) => objects.getSecret(namespace, name),
    nodeCredentials,
    ...(pullRecords === undefined ? {} : { pullRecords }),
    services: () => (services.hasSynced ? services.list() : undefined),
    runtimeHandler: async (name) => handlerOf(input.classes, name),
    supportsRecursiveReadOnly: (handler) => featuresOf(handler)?.recursiveReadOnlyMounts ?? false,
    supportsUserNamespaces: (handler) => featuresOf(handler)?.userNamespaces ?? false,
    userNamespaces: await userNamespacesOf(ctx, host.rootDir),
    imageVolumesMissing: (withSubPath) =>
      imageVolumesMissing(runtimeName, health().version?.runtimeVersion ?? versionAtStart, withSubPath),
    cgroupParent: (pod) => cgroups.cgroupParentOf(pod),
    resizing: { actuated: input.allocations, podCgroups: cgroups },
    ...(input.grant === undefined ? {} : { grant: input.grant }),
    claims: input.claims,
    volumesOf: (uid) => volumes.volumesOf(uid),
    observer,
    tailLog,
    bindMount: (source, target) => input.mounter.bind(source, target),
    unmount: (target) => input.mounter.unmount(target),
  });
}
