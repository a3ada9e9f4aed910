// What the agent tells of its node: the Node's registration and status, and the Lease that says it is alive.
import { lookup } from 'node:dns/promises';
import type { Node } from '../../api/kinds.ts';
import type { Task } from '../../core/tasks.ts';
import { fileSystemFigures } from '../../host/file-system-use.ts';
import type { MachineInfo } from '../../host/machine.ts';
import { bootTimeMs } from '../../host/process-facts.ts';
import { NodeStartup } from '../../kubelet/metrics/node-startup.ts';
import { NodeLease } from '../../kubelet/node/lease.ts';
import { NameLookup } from '../../kubelet/node/name-lookup.ts';
import { computeAddresses } from '../../kubelet/node/node-address.ts';
import { computeNodeStatus, type NodeFacts } from '../../kubelet/node/node-status.ts';
import { initialNode, type NodeIdentity } from '../../kubelet/node/registration.ts';
import { NodeStatusLoop } from '../../kubelet/node/status-loop.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import type { Reservations } from './reservations.ts';
import type { AgentContext } from './shared.ts';

/** What changes while the agent runs, and is asked for with each status. */
export type ChangingFacts = Pick<
  NodeFacts,
  | 'runtimeVersion'
  | 'images'
  | 'runtimeHandlers'
  | 'runtimeFeatures'
  | 'pressure'
  | 'notReady'
  | 'volumesInUse'
  | 'devices'
>;

export interface NodeStatusPartDeps {
  readonly rootDir: string;
  readonly machine: MachineInfo;
  readonly reserved: Reservations;
  readonly runtimeName: string;
  /** Nothing is known here of devices that the node had before. */
  readonly isFresh: boolean;
  readonly changing: () => Promise<ChangingFacts>;
  /** Resolves once the runtime has been asked how it is. */
  readonly looked: Promise<void>;
}

export interface NodeStatusPart {
  /** Status and Lease. */
  readonly tasks: Readonly<Record<string, Task>>;
  /** Computes the status now: call it when readiness or pressure may have changed. */
  request(): void;
  /** Runs `task` once the Node exists. */
  whenRegistered(task: Task): Task;
  /** The Node as it would be registered now, for pods that run without an API server. */
  localNode(): Promise<Node>;
}

export function createNodeStatusPart(ctx: AgentContext, deps: NodeStatusPartDeps): NodeStatusPart {
  const { config, clock, log, recorder: events } = ctx;
  const { kubelet: settings, nodeName } = config;
  const identity = { ...identityOf(ctx, deps.machine), isFresh: deps.isFresh };
  const names = new NameLookup(async (name) => (await lookup(name, { all: true })).map((a) => a.address), clock);
  const facts = async (): Promise<NodeFacts> => ({
    nodeName,
    addresses: await addressesOf(ctx, names),
    externalCloud: config.node.externalCloud,
    machine: deps.machine,
    ephemeralStorageBytes: (await fileSystemFigures(deps.rootDir)).capacityBytes,
    maxPods: settings.maxPods,
    podsPerCore: settings.podsPerCore,
    reservations: [deps.reserved.forSystem, deps.reserved.againstEviction],
    kubeletVersion: KUBERNETES_VERSION,
    runtimeName: deps.runtimeName,
    kubeletPort: config.server.enabled ? config.server.port : undefined,
    maxImages: settings.nodeStatusMaxImages,
    ...(settings.declaredFeatures === undefined ? {} : { declaredFeatures: settings.declaredFeatures }),
    ...(await deps.changing()),
  });
  const startup = new NodeStartup(ctx.registry, bootTimeMs(), clock);
  const loop = new NodeStatusLoop(
    {
      identity,
      registerNode: settings.registerNode,
      updateMs: settings.nodeStatusUpdateFrequencyMs,
      reportMs: settings.nodeStatusReportFrequencyMs,
    },
    { client: ctx.heartbeats, ownNode: ctx.ownNode.store, events, startup, clock, log, facts, looked: deps.looked },
  );
  const lease = new NodeLease(
    {
      nodeName,
      durationSeconds: settings.nodeLeaseDurationSeconds,
      callTimeoutMs: settings.nodeStatusUpdateFrequencyMs,
    },
    { client: ctx.heartbeats, clock, log },
  );
  const whenRegistered =
    (task: Task): Task =>
    async (signal) => {
      await registeredOrStopped(loop, signal);
      await task(signal);
    };
  return {
    tasks: { 'node status': (s) => loop.run(s), lease: whenRegistered((s) => lease.run(s)) },
    request: () => loop.request(),
    whenRegistered,
    localNode: async () => {
      const { status } = computeNodeStatus({}, await facts(), clock.now());
      return { ...initialNode(identity), status };
    },
  };
}

function identityOf({ config }: AgentContext, machine: MachineInfo): NodeIdentity {
  const { externalCloud, nodeIps, labels, taints, providerId } = config.node;
  return {
    nodeName: config.nodeName,
    hostname: config.nodeName,
    architecture: machine.architecture,
    labels,
    taints,
    providerId,
    controllerManagedAttachDetach: true,
    ...(externalCloud && nodeIps.length > 0 ? { providedNodeIp: nodeIps.join(',') } : {}),
  };
}

async function addressesOf(
  { config, addresses, log }: AgentContext,
  names: NameLookup,
): Promise<NodeFacts['addresses']> {
  const sources = {
    local: (await addresses.look()).map((a) => a.address),
    lookup: (name: string) => names.of(name),
    defaultRoute: (family: 4 | 6) => addresses.ofDefaultRoute(family),
  };
  try {
    return await computeAddresses(config.nodeName, config.node.nodeIps, sources, config.node.externalCloud);
  } catch (err) {
    log.warn({ err }, 'node addresses not known, keeping those reported before');
    return undefined;
  }
}

async function registeredOrStopped(status: NodeStatusLoop, signal: AbortSignal): Promise<void> {
  const stopped = Promise.withResolvers<void>();
  const stop = () => stopped.resolve();
  signal.addEventListener('abort', stop, { once: true });
  await Promise.race([status.registered, stopped.promise]);
  signal.removeEventListener('abort', stop);
}
