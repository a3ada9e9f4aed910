// Which endpoints of a Service port this node may use. After kube-proxy's topology.go.
import type { Endpoint, ServicePort } from './service-map.ts';
import { usesClusterEndpoints, usesLocalEndpoints } from './service-map.ts';

export interface NodeTopology {
  readonly nodeName: string;
  /** Label topology.kubernetes.io/zone. */
  readonly zone: string | undefined;
}

export interface UsableEndpoints {
  /** For traffic with the Cluster policy. */
  readonly cluster: readonly Endpoint[];
  /** For traffic with the Local policy. */
  readonly local: readonly Endpoint[];
  /** All that traffic from this node can end at. */
  readonly reachable: readonly Endpoint[];
  /** False: there is no endpoint anywhere, and clients are told so at once. */
  readonly hasAny: boolean;
}

type EndpointFilter = (endpoint: Endpoint) => boolean;

export function chooseEndpoints(
  port: ServicePort,
  endpoints: readonly Endpoint[],
  node: NodeTopology,
): UsableEndpoints {
  const byTopology = usesClusterEndpoints(port) ? topologyFilter(endpoints, node) : undefined;
  const cluster = usesClusterEndpoints(port)
    ? orDraining(
        endpoints.filter((e) => e.ready && (byTopology?.(e) ?? true)),
        endpoints,
      )
    : [];
  if (!usesLocalEndpoints(port)) return { cluster, local: [], reachable: cluster, hasAny: cluster.length > 0 };
  const hasAny = endpoints.some((e) => e.ready || isDraining(e));
  const own = endpoints.filter((e) => e.isLocal);
  const local = orDraining(
    own.filter((e) => e.ready),
    own,
  );
  if (!usesClusterEndpoints(port)) return { cluster, local, reachable: local, hasAny };
  const union = new Map([...cluster, ...local].map((e) => [e.address, e]));
  return { cluster, local, reachable: [...union.values()], hasAny };
}

/** Endpoints that are shutting down but still answer, used when no ready one is left. */
function isDraining(e: Endpoint): boolean {
  return !e.ready && e.serving && e.terminating;
}

function orDraining(ready: readonly Endpoint[], all: readonly Endpoint[]): readonly Endpoint[] {
  return ready.length > 0 ? ready : all.filter(isDraining);
}

/** One ready endpoint without hints switches that kind of hint off: the hints are then being written or removed. */
function topologyFilter(endpoints: readonly Endpoint[], node: NodeTopology): EndpointFilter | undefined {
  const ready = endpoints.filter((e) => e.ready);
  const { nodeName, zone } = node;
  const onNode: EndpointFilter = (e) => e.nodeHints.includes(nodeName);
  if (ready.every((e) => e.nodeHints.length > 0) && ready.some(onNode)) return onNode;
  if (zone === undefined) return undefined;
  const inZone: EndpointFilter = (e) => e.zoneHints.includes(zone);
  return ready.every((e) => e.zoneHints.length > 0) && ready.some(inZone) ? inZone : undefined;
}
