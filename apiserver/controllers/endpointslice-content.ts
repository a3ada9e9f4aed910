// What the EndpointSlices of a Service say, pure (k8s.io/endpointslice utils.go, reconciler.go).
import type { Endpoint, EndpointPort, EndpointSlice, Node, Service, ServicePort } from '../../api/kinds.ts';
import { isTerminalPhase, type Pod } from '../../api/pod.ts';
import { isPodReady } from './pod-control.ts';

export const SERVICE_NAME = 'kubernetes.io/service-name';
export const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
export const CONTROLLER_NAME = 'endpointslice-controller.k8s.io';
const HEADLESS = 'service.kubernetes.io/headless';
const MAX_ENDPOINTS = 100;

export type AddressType = 'IPv4' | 'IPv6';

/** Endpoints that share one set of ports: named target ports may differ from pod to pod. */
export interface EndpointGroup {
  readonly ports: readonly EndpointPort[];
  readonly endpoints: readonly Endpoint[];
}

export function addressTypesOf(service: Service): AddressType[] {
  const families = service.spec?.ipFamilies ?? [];
  return families.length === 0 ? ['IPv4'] : families.map((f) => (f === 'IPv6' ? 'IPv6' : 'IPv4'));
}

/** Pods that a Service may send to: addressed, not ended. Readiness is a mark on the endpoint, not a filter. */
export function isEndpointPod(pod: Pod): boolean {
  return !isTerminalPhase(pod.status?.phase) && (pod.status?.podIP ?? '') !== '';
}

export function endpointGroups(
  service: Service,
  pods: readonly Pod[],
  addressType: AddressType,
  nodeOf: (name: string) => Node | undefined,
): EndpointGroup[] {
  const groups = new Map<string, { ports: EndpointPort[]; endpoints: Endpoint[] }>();
  for (const pod of pods) {
    const address = podAddress(pod, addressType);
    if (address === undefined) continue;
    const ports = podPorts(service, pod);
    const key = JSON.stringify(ports);
    let group = groups.get(key);
    if (group === undefined) {
      group = { ports, endpoints: [] };
      groups.set(key, group);
    }
    group.endpoints.push(endpointOf(service, pod, address, nodeOf(pod.spec?.nodeName ?? '')));
  }
  return [...groups.values()];
}

function podAddress(pod: Pod, addressType: AddressType): string | undefined {
  const ips = pod.status?.podIPs?.map((p) => p.ip) ?? [pod.status?.podIP];
  return ips.find((ip): ip is string => !!ip && ip.includes(':') === (addressType === 'IPv6'));
}

function podPorts(service: Service, pod: Pod): EndpointPort[] {
  return (service.spec?.ports ?? []).flatMap((port) => {
    const number = resolveTargetPort(port, pod);
    if (number === undefined) return [];
    const { name = '', protocol = 'TCP', appProtocol } = port;
    return [{ name, protocol, port: number, ...(appProtocol === undefined ? {} : { appProtocol }) }];
  });
}

function resolveTargetPort(port: ServicePort, pod: Pod): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === 'number') return target === 0 ? port.port : target;
  const sidecars = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always');
  return [...(pod.spec?.containers ?? []), ...sidecars]
    .flatMap((c) => c.ports ?? [])
    .find((p) => p.name === target && (p.protocol ?? 'TCP') === (port.protocol ?? 'TCP'))?.containerPort;
}

function endpointOf(service: Service, pod: Pod, address: string, node: Node | undefined): Endpoint {
  const serving = isPodReady(pod);
  const terminating = pod.metadata?.deletionTimestamp !== undefined;
  const ready = service.spec?.publishNotReadyAddresses === true || (serving && !terminating);
  const zone = node && zoneOf(node);
  const { hostname, subdomain } = pod.spec ?? {};
  const named = hostname !== undefined && subdomain === service.metadata?.name;
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    targetRef: { kind: 'Pod', namespace, name, uid },
    ...(pod.spec?.nodeName ? { nodeName: pod.spec.nodeName } : {}),
    ...(zone === undefined ? {} : { zone }),
    ...(named ? { hostname } : {}),
    ...(ready ? hintsOf(service, pod.spec?.nodeName, zone) : {}),
  };
}

/** forNodes came with v1.33. */
interface Hints {
  readonly forZones?: { name: string }[];
  readonly forNodes?: { name: string }[];
}

/** Where traffic to this endpoint should come from (k8s.io/endpointslice trafficdist): its zone, or its node before that. */
function hintsOf(service: Service, nodeName: string | undefined, zone: string | undefined): Pick<Endpoint, 'hints'> {
  const wish = service.spec?.trafficDistribution ?? '';
  if (!['PreferClose', 'PreferSameZone', 'PreferSameNode'].includes(wish)) return {};
  const hints: Hints = {
    ...(zone === undefined ? {} : { forZones: [{ name: zone }] }),
    ...(nodeName && wish === 'PreferSameNode' ? { forNodes: [{ name: nodeName }] } : {}),
  };
  return Object.keys(hints).length === 0 ? {} : { hints };
}

export function zoneOf(node: Node): string | undefined {
  return node.metadata?.labels?.['topology.kubernetes.io/zone'];
}

export interface SlicePlan {
  readonly create: readonly EndpointSlice[];
  readonly update: readonly EndpointSlice[];
  readonly remove: readonly EndpointSlice[];
}

/** How the existing slices of one address family become what they shall be, with as few writes as can be. */
export function planSlices(
  service: Service,
  existing: readonly EndpointSlice[],
  groups: readonly EndpointGroup[],
  addressType: AddressType,
): SlicePlan {
  const create: EndpointSlice[] = [];
  const update: EndpointSlice[] = [];
  const unused = [...existing];
  // A Service whose pods are all gone keeps one slice that says so.
  const wanted = groups.length > 0 ? groups : [{ ports: [], endpoints: [] }];
  // Every group takes its own slices first; only then may one take over what is left of the others.
  const plans = wanted.map((group) => {
    const key = portsKey(group.ports);
    const mine = takeWhere(unused, (slice) => portsKey(slice.ports ?? []) === key);
    const lists = spread(group.endpoints, mine);
    unused.push(...mine.slice(lists.length));
    return { group, mine, lists };
  });
  for (const { group, mine, lists } of plans) {
    for (const [i, endpoints] of lists.entries()) {
      const old = mine[i] ?? unused.shift();
      const next = sliceWith(service, addressType, group.ports, endpoints);
      if (old === undefined) create.push(next);
      else if (!sameSlice(old, next)) update.push(mergeSlice(old, next));
    }
  }
  return { create, update, remove: unused };
}

/** Endpoints over slices of at most 100; one that is in a slice already stays in it while there is room. */
function spread(endpoints: readonly Endpoint[], slices: readonly EndpointSlice[]): Endpoint[][] {
  const count = Math.max(1, Math.ceil(endpoints.length / MAX_ENDPOINTS));
  const homes = new Map<string, number>();
  for (const [i, slice] of slices.slice(0, count).entries()) {
    for (const e of slice.endpoints ?? []) homes.set(e.targetRef?.uid ?? '', i);
  }
  const result: Endpoint[][] = Array.from({ length: count }, () => []);
  const homeless: Endpoint[] = [];
  for (const endpoint of endpoints) {
    const home = homes.get(endpoint.targetRef?.uid ?? '');
    if (home !== undefined && result[home]!.length < MAX_ENDPOINTS) result[home]!.push(endpoint);
    else homeless.push(endpoint);
  }
  for (const endpoint of homeless) result.find((list) => list.length < MAX_ENDPOINTS)!.push(endpoint);
  return result;
}

function sliceWith(
  service: Service,
  addressType: AddressType,
  ports: readonly EndpointPort[],
  endpoints: readonly Endpoint[],
): EndpointSlice {
  const { name = '', namespace = '', uid = '' } = service.metadata ?? {};
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      generateName: `${name}-`,
      namespace,
      labels: sliceLabels(service),
      ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid, controller: true, blockOwnerDeletion: true }],
    },
    addressType,
    endpoints: [...endpoints],
    ports: [...ports],
  };
}

function sliceLabels(service: Service): Record<string, string> {
  const own = Object.entries(service.metadata?.labels ?? {}).filter(
    ([k]) => ![SERVICE_NAME, MANAGED_BY, HEADLESS].includes(k),
  );
  return {
    ...Object.fromEntries(own),
    [SERVICE_NAME]: service.metadata?.name ?? '',
    [MANAGED_BY]: CONTROLLER_NAME,
    ...(service.spec?.clusterIP === 'None' ? { [HEADLESS]: '' } : {}),
  };
}

function mergeSlice(old: EndpointSlice, next: EndpointSlice): EndpointSlice {
  return {
    ...next,
    metadata: {
      ...old.metadata,
      labels: next.metadata?.labels ?? {},
      ownerReferences: next.metadata?.ownerReferences ?? [],
    },
  };
}

function sameSlice(a: EndpointSlice, b: EndpointSlice): boolean {
  const essence = (s: EndpointSlice): string =>
    JSON.stringify([
      sortedEntries(s.metadata?.labels),
      portsKey(s.ports ?? []),
      (s.endpoints ?? []).map(endpointKey).sort(),
    ]);
  return essence(a) === essence(b);
}

function endpointKey(e: Endpoint): string {
  const { ready, serving, terminating } = e.conditions ?? {};
  const { forZones = [], forNodes = [] } = (e.hints ?? {}) as Hints;
  const hints = [...forZones, ...forNodes].map(({ name }) => name);
  const { addresses, targetRef, nodeName, zone, hostname } = e;
  return JSON.stringify([addresses, ready, serving, terminating, targetRef?.uid, nodeName, zone, hostname, hints]);
}

function portsKey(ports: readonly EndpointPort[]): string {
  return JSON.stringify(ports.map((p) => [p.name ?? '', p.protocol ?? 'TCP', p.port, p.appProtocol ?? '']).sort());
}

function sortedEntries(record: Record<string, string> | undefined): [string, string][] {
  return Object.entries(record ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
}

function takeWhere<T>(list: T[], predicate: (item: T) => boolean): T[] {
  const taken = list.filter(predicate);
  for (const item of taken) list.splice(list.indexOf(item), 1);
  return taken;
}
