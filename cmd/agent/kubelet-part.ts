// The kubelet: from the configuration to its managers, wired together. Reads top to bottom in the order in which the
// parts depend on each other.
import { runtimeClasses } from '../../api/resources.ts';
import { createInformer } from '../../client/informer.ts';
import { runTasks, type Task } from '../../core/tasks.ts';
import { withoutUndefined } from '../../core/without-undefined.ts';
import { appArmorEnabled } from '../../host/apparmor.ts';
import { systemMounter } from '../../host/mounts.ts';
import { DEVICE_PLUGIN_TYPE } from '../../kubelet/devices/device-plugins.ts';
import { DRA_PLUGIN_TYPE } from '../../kubelet/dra/plugin-services.ts';
import { Kubelet } from '../../kubelet/kubelet.ts';
import { LogRotation } from '../../kubelet/logs/log-rotation.ts';
import { internalIps } from '../../kubelet/node/node-address.ts';
import { RuntimeHealth } from '../../kubelet/node/runtime-health.ts';
import { RuntimePodCidr } from '../../kubelet/node/runtime-pod-cidr.ts';
import { Allocations } from '../../kubelet/resize/allocations.ts';
import { execThrough } from '../../kubelet/runtime/exec-in-container.ts';
import { nodeReference, podReference } from '../../kubelet/runtime/runtime-deps.ts';
import { LocalVolumes } from '../../kubelet/volumes/local-volumes.ts';
import { ObjectCache } from '../../kubelet/volumes/object-cache.ts';
import { TokenManager } from '../../kubelet/volumes/token-manager.ts';
import { createAttempt } from '../../probes/attempt.ts';
import { Prober } from '../../probes/prober.ts';
import { createCgroupsPart } from './cgroups-part.ts';
import { createCsiPart } from './csi-part.ts';
import { createDevicesPart } from './devices-part.ts';
import { createDraPart, healthOf } from './dra-part.ts';
import { createEvictionPart } from './eviction-part.ts';
import { prepareHost, tellStart } from './host-part.ts';
import { createImagesPart } from './images-part.ts';
import { createManagersPart } from './managers-part.ts';
import { createNodeStatusPart } from './node-status-part.ts';
import { createObservers } from './observers.ts';
import { createPodRuntime } from './pod-runtime-part.ts';
import { createPodResourcesPart } from './podresources-part.ts';
import { allocatableMemory, allPodsLimits } from './reservations.ts';
import { memoryQosSettings } from './runtime-settings.ts';
import { createServer } from './server-part.ts';
import type { AgentContext } from './shared.ts';
import { createShutdownPart } from './shutdown-part.ts';
import { createStatsPart } from './stats-part.ts';

export interface KubeletPart {
  readonly task: Task;
  /** The CNI configuration may have changed: look whether the runtime's network is ready now. */
  networkChanged(): void;
  /** Why the process should be started again; undefined while all is well. */
  healthError(): string | undefined;
}

/** @throws {AgentError} when the host cannot be a node as configured. */
export async function createKubeletPart(ctx: AgentContext): Promise<KubeletPart> {
  const { config, clock, log, client, recorder } = ctx;
  const { kubelet: settings } = config;
  const host = await prepareHost(ctx);
  const { machine, hierarchies, swap, runtime, images, version, rootDir, reserved } = host;
  const { runtimeName } = version;

  const observed = createObservers(ctx);
  const { observer } = observed;
  const objects = new ObjectCache({ client, clock, log });
  const tokens = new TokenManager({ client, clock, log, onRefreshDue: (uid) => volumes.notifyPod(uid) });
  const mounter = systemMounter(ctx.exec);
  const nodeAllocatable = () => (kubelet.node()?.status?.allocatable ?? {}) as Record<string, string>;
  const hostIps = () => internalIps(kubelet.node());
  const dra = await createDraPart(ctx, { rootDir, retryPod: (uid) => kubelet.retryPod(uid) });
  const devices = await createDevicesPart(ctx, {
    rootDir,
    kubelet: () => kubelet,
    requestNodeStatus: () => status.request(),
  });
  const csi = createCsiPart(ctx, {
    rootDir,
    otherPlugins: [
      [DRA_PLUGIN_TYPE, dra.claims],
      [DEVICE_PLUGIN_TYPE, devices.plugins],
    ],
    tokens,
    mounter,
    notifyPod: (uid) => volumes.notifyPod(uid),
    notifyWaitingPods: () => volumes.notifyWaitingPods(),
    requestNodeStatus: () => status.request(),
  });
  const volumes = new LocalVolumes(
    { rootDir, nodeMemoryBytes: allocatableMemory(machine, reserved) },
    {
      objects,
      tokens,
      claims: csi.claims,
      fieldFacts: () => ({ podIps: [], hostIps: hostIps(), nodeAllocatable: nodeAllocatable() }),
      mounter,
      observer,
      events: recorder,
      clock,
      log,
    },
  );
  const managers = await createManagersPart(ctx, {
    rootDir,
    machine,
    reserved,
    runtime,
    kubelet: () => kubelet,
    others: [devices.manager],
  });
  const { hasUnlimitedCpus } = managers;
  const memoryQos = memoryQosSettings(ctx, hierarchies, allocatableMemory(machine, reserved));
  const cgroupsPart = await createCgroupsPart(ctx, {
    machine,
    hierarchies,
    observe: observed.cgroups,
    hasUnlimitedCpus,
    allPodsMemoryBytes: allPodsLimits(machine, reserved).memoryBytes,
    ...memoryQos,
  });
  const { cgroups } = cgroupsPart;
  const allocations = new Allocations(rootDir, { clock, log });

  const classes = createInformer(client, runtimeClasses, {}, { clock, log });
  const imagesPart = await createImagesPart(ctx, {
    rootDir,
    runtime,
    images,
    tokens,
    mountedImages: () => kubelet.mountedImages(),
    onImageRemoved: (why) => observer.imageRemoved(why),
  });
  const kubeRuntime = await createPodRuntime(ctx, {
    host: { rootDir, machine, hierarchies, hasUnlimitedCpus, ...withoutUndefined({ swap }), ...memoryQos },
    runtime,
    images,
    runtimeName,
    versionAtStart: version.runtimeVersion,
    health: () => health,
    classes: classes.store,
    imagesPart,
    objects,
    volumes,
    mounter,
    cgroups,
    allocations,
    claims: dra.claims,
    grant: managers.grant,
    nodeIps: hostIps,
    nodeAllocatable,
    observer,
  });

  const prober = new Prober({
    ...observed.probes,
    attempt: createAttempt(execThrough(runtime)),
    report: (pod, container, reason, message) => {
      const spec = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].find(
        (c) => c.name === container,
      );
      recorder.event(podReference(pod, spec), 'Warning', reason, message);
    },
    clock,
    log,
  });
  const health = new RuntimeHealth(runtime, { clock, log, onChange: () => status.request() });
  const podCidr = new RuntimePodCidr(settings.podCidr, { runtime, nodes: ctx.ownNode.store, clock, log });
  const kubelet = new Kubelet(settings, {
    client,
    standalone: ctx.standalone,
    runtime: kubeRuntime,
    runtimeEvents: runtime,
    startRush: ctx.startRush,
    observer,
    resizes: observed.resizes,
    volumes,
    probes: prober,
    events: recorder,
    nodes: ctx.ownNode.store,
    localNode: () => status.localNode(),
    cgroups,
    ...(managers.resources === undefined ? {} : { resources: managers.resources }),
    resizeRefusal: managers.resizeRefusal,
    ...(devices.health === undefined ? {} : { resourceHealth: healthOf(devices.health, dra.claims) }),
    claims: dra.claims,
    allocations,
    appArmorEnabled: await appArmorEnabled(),
    pressure: () => eviction.pressure(),
    ...withoutUndefined({ swap }),
    shuttingDown: () => shutdown.error() !== undefined,
    networkError: () => health.networkErrors()[0],
    staticPodRules: async () => (await import('./static-pod-rules.ts')).staticPodRules,
    runtimeName,
    clock,
    log,
  });
  const logRotation = new LogRotation(
    {
      maxSizeBytes: settings.containerLogMaxSizeBytes,
      maxFiles: settings.containerLogMaxFiles,
      workers: settings.containerLogMaxWorkers,
      intervalMs: settings.containerLogMonitorIntervalMs,
    },
    { runningLogs: () => kubelet.runningLogs(), runtime, clock, log },
  );

  const status = createNodeStatusPart(ctx, {
    rootDir,
    machine,
    reserved,
    runtimeName,
    isFresh: devices.manager.isFresh,
    looked: health.looked,
    changing: async () => ({
      runtimeVersion: health.version?.runtimeVersion ?? version.runtimeVersion,
      images: imagesPart.list.current,
      runtimeHandlers: health.status?.runtimeHandlers ?? [],
      runtimeFeatures: health.status?.features,
      pressure: eviction.pressure(),
      notReady: [
        ...health.runtimeErrors(),
        ...definedOnly(kubelet.plegError()),
        ...health.networkErrors(),
        ...definedOnly(shutdown.error()),
      ],
      volumesInUse: await csi.volumesInUse(),
      devices: devices.manager.amounts(),
    }),
  });
  const {
    usage,
    handlers,
    slis,
    task: volumeFigures,
  } = createStatsPart(ctx, {
    rootDir,
    machine,
    hierarchies,
    runtime,
    images,
    runtimeName,
    cgroups,
    volumes,
    csiFigures: csi.volumeFigures,
    probes: observed.probeRegistry,
    kubelet: () => kubelet,
  });
  const eviction = createEvictionPart(ctx, {
    usage,
    kubelet: () => kubelet,
    removeUnusedImages: imagesPart.removeUnused,
    requestNodeStatus: () => status.request(),
  });
  const shutdown = await createShutdownPart(ctx, {
    rootDir,
    node: nodeReference(config.nodeName),
    kubelet: () => kubelet,
    requestNodeStatus: () => status.request(),
  });
  const { cpu: cpus, memory } = managers;
  const podresources = createPodResourcesPart(ctx, {
    rootDir,
    kubelet: () => kubelet,
    reports: { cpus, memory, devices: devices.manager, claims: dra.claims },
  });
  const server = await createServer(ctx, {
    kubelet,
    runtime,
    handlers,
    slis,
    healthChecks: [devices.healthCheck],
  });

  const apiTasks: Record<string, Task> = {
    'runtime classes': (s) => classes.run(s),
    ...status.tasks,
    plugins: status.whenRegistered((s) => csi.plugins(s)),
    'dynamic resources': status.whenRegistered(dra.task),
  };
  const task: Task = async (signal) => {
    try {
      await tellStart(ctx, host);
      await runTasks(signal, {
        ...(ctx.standalone ? {} : apiTasks),
        'runtime health': (s) => health.run(s),
        'runtime pod ranges': (s) => podCidr.run(s),
        ...imagesPart.tasks,
        ...eviction.tasks,
        ...cgroupsPart.tasks,
        'resource managers': managers.task,
        ...shutdown.tasks,
        'log rotation': (s) => logRotation.run(s),
        'volume figures': volumeFigures,
        podresources,
        'device plugins': devices.task,
        pods: (s) => kubelet.run(s),
        ...server,
      });
    } finally {
      await volumes
        .handOver()
        .catch((err: unknown) => log.warn({ err }, 'volumes stay where a kubelet would not look'));
      volumes[Symbol.dispose]();
      csi[Symbol.dispose]();
      dra.claims[Symbol.dispose]();
      devices[Symbol.dispose]();
      objects[Symbol.dispose]();
      tokens[Symbol.dispose]();
      host.close();
    }
  };
  return {
    task,
    networkChanged: () => health.request(),
    healthError: () => kubelet.plegError() ?? devices.healthCheck.error(),
  };
}

function definedOnly<T>(value: T | undefined): T[] {
  return value === undefined ? [] : [value];
}
