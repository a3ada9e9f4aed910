// By what the zone looks things up, so that an answer costs the same in a large cluster.
import { isIp } from '../../api/cidr.ts';
import type { Endpoint, EndpointSlice, Service } from '../../api/kinds.ts';

export const serviceIndexes = { clusterIP: (service: Service): readonly string[] => clusterIps(service) };

export const sliceIndexes = {
  /** `namespace/service`. */
  service: (slice: EndpointSlice): readonly string[] => [serviceKeyOf(slice)],
  /** `namespace/service/host`. */
  host: (slice: EndpointSlice): readonly string[] =>
    (slice.endpoints ?? []).flatMap((e) => e.addresses.map((a) => `${serviceKeyOf(slice)}/${hostOf(e, a)}`)),
  /** Addresses of endpoints with a host name. */
  namedAddress: (slice: EndpointSlice): readonly string[] =>
    (slice.endpoints ?? []).flatMap((e) => (e.hostname ? e.addresses : [])),
};

/** The Service a slice belongs to. */
export function serviceKeyOf(slice: EndpointSlice): string {
  return `${slice.metadata?.namespace ?? ''}/${slice.metadata?.labels?.['kubernetes.io/service-name'] ?? ''}`;
}

/** An endpoint's label below its Service: its host name, else its address with dashes. */
export function hostOf(endpoint: Endpoint, address: string): string {
  return endpoint.hostname || address.replace(/[.:]/g, '-');
}

export function clusterIps(service: Service): readonly string[] {
  const { type, clusterIP, clusterIPs } = service.spec ?? {};
  if (type === 'ExternalName') return [];
  return (clusterIPs ?? [clusterIP ?? '']).filter(isIp);
}
