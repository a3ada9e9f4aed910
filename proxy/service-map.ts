// What the proxy knows of Services and endpoints: derived records of one IP family, free of everything that rules do
// not depend on.

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

/** One port of one Service. Addresses are canonical text of the family; every field has been checked. */
export interface ServicePort {
  /** `namespace/name`. */
  readonly serviceKey: string;
  /** `ns/name:port`, or `ns/name` for the unnamed port: upstream's text in comments and chain hashes. */
  readonly nameString: string;
  /** Joins with endpoints: see `portId`. */
  readonly portId: string;
  readonly protocol: Protocol;
  readonly clusterIp: string;
  readonly port: number;
  readonly nodePort: number | undefined;
  readonly externalIps: readonly string[];
  readonly loadBalancerVips: readonly string[];
  /** Empty: everybody may use the load balancer's address. */
  readonly sourceRanges: readonly string[];
  /** Session affinity by client address for so many seconds. */
  readonly affinitySeconds: number | undefined;
  readonly externalPolicyLocal: boolean;
  readonly internalPolicyLocal: boolean;
  readonly healthCheckNodePort: number | undefined;
}

export interface Endpoint {
  readonly ip: string;
  readonly port: number;
  /** `ip:port`: sorting, hashing, DNAT target. */
  readonly address: string;
  readonly isLocal: boolean;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zoneHints: readonly string[];
  readonly nodeHints: readonly string[];
}

/** By service key. A Service without a usable port of this family has no entry. */
export type ServiceMap = ReadonlyMap<string, readonly ServicePort[]>;

/** By service key, then by `portId`; endpoints sorted by address. */
export interface EndpointMap {
  get(key: string): ServiceEndpoints | undefined;
}
export type ServiceEndpoints = ReadonlyMap<string, readonly Endpoint[]>;

/** Identity of a port inside a Service: the protocol belongs to it, so `dns` over TCP and over UDP never mix. */
export function portId(name: string, protocol: string): string {
  return `${name}/${protocol}`;
}

export function isProtocol(value: unknown): value is Protocol {
  return value === 'TCP' || value === 'UDP' || value === 'SCTP';
}

export function isExternallyAccessible(port: ServicePort): boolean {
  return port.nodePort !== undefined || port.loadBalancerVips.length > 0 || port.externalIps.length > 0;
}

/** True when endpoints of the whole cluster matter, be it only for external traffic that starts on this node. */
export function usesClusterEndpoints(port: ServicePort): boolean {
  return !port.internalPolicyLocal || isExternallyAccessible(port);
}

export function usesLocalEndpoints(port: ServicePort): boolean {
  return port.internalPolicyLocal || (port.externalPolicyLocal && isExternallyAccessible(port));
}
