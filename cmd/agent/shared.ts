// What the parts of the agent share: clients, the Nodes, Services and EndpointSlices they all look at, time, logs.
import { availableParallelism } from 'node:os';
import type { EndpointSlice, Node, Service } from '../../api/kinds.ts';
import { endpointSlices, nodes, services } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { ApiEventRecorder, type EventRecorder } from '../../client/event-recorder.ts';
import { createInformer, type Informer } from '../../client/informer.ts';
import { logRecorder, NoApi } from '../../client/no-api.ts';
import { PatientClient } from '../../client/patient-client.ts';
import { RestClient } from '../../client/rest.ts';
import { compactNode } from '../../cni/compact-node.ts';
import { annotationNames } from '../../cni/subnet-manager.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { Rush } from '../../core/rush.ts';
import type { Task } from '../../core/tasks.ts';
import { type Exec, systemExec } from '../../host/exec.ts';
import { LocalAddresses } from '../../host/network-interfaces.ts';
import { procSysctl, type Sysctl } from '../../host/sysctl.ts';
import { compactService, compactSlice } from '../../proxy/compact.ts';
import { ENDPOINT_SLICE_SELECTOR } from '../../proxy/proxy.ts';
import type { AgentConfig } from '../config/agent-config.ts';
import { KUBERNETES_VERSION, versionText } from '../version.ts';
import { createIdentity } from './identity-part.ts';
import { activeResourceMetrics, apiRequestMetrics, eventLoopMetrics } from './metrics.ts';
import { buildMetrics, processMetrics } from './process-metrics.ts';

/** Longer than a pod takes to start or end: its Events reach the API server when its status has. */
const EVENT_HOLD_MS = 500;

/** More calls of the runtime that start something than this for each CPU are a rush. */
const STARTS_PER_CPU = 2;

/** Of calls that give none: what API servers allow before they cancel, or one lost packet would hold up all Events. */
const CALL_TIMEOUT_MS = 60_000;

export interface AgentContext {
  readonly config: AgentConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly registry: Registry;
  readonly exec: Exec;
  readonly sysctl: Sysctl;
  /** Of this host. */
  readonly addresses: LocalAddresses;
  /** There is no API server: `client` and `heartbeats` fail every call, and the node runs static pods alone. */
  readonly standalone: boolean;
  /** For everything but heartbeats. */
  readonly client: ApiClient;
  /** Without a rate limit and with a deadline: a node must not look dead because its pods are busy. */
  readonly heartbeats: ApiClient;
  /** For questions about callers of the node's own server: strangers cause them, and must not use up what others need. */
  readonly reviews: ApiClient;
  readonly recorder: EventRecorder;
  /** The same for the service proxy, whose Events are told as those of kube-proxy. */
  readonly proxyRecorder: EventRecorder;
  /** Many pods start at once: what only tells about them stands back. */
  readonly startRush: Rush;
  /** This node alone: all that a node's credentials may always read. */
  readonly ownNode: Informer<Node>;
  /** Every node, with what the pod network needs of it; made when a part asks for it. */
  readonly allNodes: () => Informer<Node>;
  readonly services: () => Informer<Service>;
  readonly endpointSlices: () => Informer<EndpointSlice>;
  /** What was asked for above, to run together with the parts. */
  readonly tasks: () => Record<string, Task>;
}

/**
 * Waits for the node's first certificate when it is asked for once; `signal` ends the wait.
 * @throws {AgentError} when the kubeconfig cannot be used. Without one the node stands alone.
 */
export async function createContext(
  config: AgentConfig,
  kubeconfig: string | undefined,
  log: Logger,
  signal: AbortSignal,
): Promise<AgentContext> {
  const clock = systemClock;
  const registry = new Registry();
  eventLoopMetrics(registry);
  activeResourceMetrics(registry);
  processMetrics(registry);
  buildMetrics(registry, config.featureGates);
  const observe = apiRequestMetrics(registry);
  const userAgent = `nodelet/${versionText()} (linux) kubernetes/${KUBERNETES_VERSION}`;
  const deps = { clock, log };
  const identity =
    kubeconfig === undefined
      ? undefined
      : await createIdentity(config, kubeconfig, { userAgent, registry, ...deps }, signal);
  const standalone = identity === undefined;
  const restClients: RestClient[] = [];
  const clientWith = (opts: { limit?: { qps: number; burst: number }; timeoutMs?: number }) => {
    if (identity === undefined) return new NoApi();
    const made = new RestClient(identity.credentials, { userAgent, observe, ...opts }, deps);
    restClients.push(made);
    return made;
  };
  identity?.follow(restClients);
  const { qps, burst, eventQps, eventBurst } = config.api;
  const timeoutMs = CALL_TIMEOUT_MS;
  const client = new PatientClient(clientWith({ timeoutMs, ...(qps > 0 ? { limit: { qps, burst } } : {}) }), clock);
  const events = clientWith({ timeoutMs, ...(eventQps > 0 ? { limit: { qps: eventQps, burst: eventBurst } } : {}) });
  const startRush = new Rush(STARTS_PER_CPU * availableParallelism(), clock);
  const apiRecorder = new ApiEventRecorder(
    events,
    { component: 'kubelet', host: config.nodeName },
    { ...deps, holdMs: EVENT_HOLD_MS, rush: startRush },
  );
  const running = new Map<string, Task>([['events', (signal) => apiRecorder.run(signal)]]);
  if (identity?.task !== undefined) running.set('client certificate', identity.task);
  const informers = new Map<string, Informer<never>>();
  const shared = <T>(name: string, make: () => Informer<never>): T => {
    let informer = informers.get(name);
    if (informer === undefined) {
      informer = make();
      informers.set(name, informer);
      running.set(`informer ${name}`, (signal) => informer!.run(signal));
    }
    return informer as T;
  };
  const ownNode = createInformer(client, nodes, { fieldSelector: `metadata.name=${config.nodeName}` }, deps);
  running.set('informer own node', (signal) => ownNode.run(signal));
  return {
    config,
    clock,
    log,
    registry,
    exec: systemExec,
    sysctl: procSysctl(),
    addresses: new LocalAddresses(),
    standalone,
    client,
    reviews: clientWith({ timeoutMs, ...(qps > 0 ? { limit: { qps, burst } } : {}) }),
    heartbeats: clientWith({ timeoutMs: heartbeatDeadlineMs(config) }),
    recorder: standalone ? logRecorder(log) : apiRecorder,
    proxyRecorder: standalone ? logRecorder(log) : apiRecorder.of('kube-proxy'),
    startRush,
    ownNode,
    allNodes: () => {
      const transform = compactNode(annotationNames(config.network.annotationPrefix));
      return shared('nodes', () => createInformer(client, nodes, { transform }, deps) as Informer<never>);
    },
    services: () =>
      shared(
        'services',
        () => createInformer(client, services, { transform: compactService }, deps) as Informer<never>,
      ),
    endpointSlices: () =>
      shared(
        'endpointslices',
        () =>
          createInformer(
            client,
            endpointSlices,
            { ...ENDPOINT_SLICE_SELECTOR, transform: compactSlice },
            deps,
          ) as Informer<never>,
      ),
    tasks: () => (standalone ? {} : Object.fromEntries(running)), // all of them need the API server
  };
}

function heartbeatDeadlineMs({ kubelet }: AgentConfig): number {
  return Math.min(kubelet.nodeStatusUpdateFrequencyMs, kubelet.nodeLeaseDurationSeconds * 1000);
}
