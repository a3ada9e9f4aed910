// Stores as reflectors would have filled them, for tests of names and answers.

import { parseCidr } from '../../api/cidr.ts';
import type { Endpoint, EndpointSlice, Namespace, Service } from '../../api/kinds.ts';
import { Store } from '../../client/store.ts';
import { serviceIndexes, sliceIndexes } from './indexes.ts';
import { ClusterZone, type ZoneStores } from './records.ts';

type Spec = NonNullable<Service['spec']>;

export function service(name: string, spec: Spec, namespace = 'default'): Service {
  return { metadata: { name, namespace, uid: name }, spec };
}

export function slice(
  name: string,
  of: string,
  endpoints: Endpoint[],
  ports: EndpointSlice['ports'] = [],
): EndpointSlice {
  return {
    metadata: { name, namespace: 'default', uid: name, labels: { 'kubernetes.io/service-name': of } },
    addressType: endpoints[0]?.addresses[0]?.includes(':') ? 'IPv6' : 'IPv4',
    endpoints,
    ports,
  };
}

export class FakeZoneStores implements ZoneStores {
  readonly services = new Store<Service>(serviceIndexes);
  readonly endpointSlices = new Store<EndpointSlice>(sliceIndexes);
  readonly namespaces = new Store<Namespace>();

  fill(services: readonly Service[], slices: readonly EndpointSlice[] = []): this {
    this.namespaces.replace(['default', 'kube-system'].map((name) => ({ metadata: { name } })));
    this.services.replace(services);
    this.endpointSlices.replace(slices);
    return this;
  }
}

/** `random` as it is by default leaves addresses in their order. */
export function zoneOver(stores: ZoneStores, random: () => number = () => 0.999): ClusterZone {
  return new ClusterZone(stores, {
    zone: 'cluster.local',
    serverIp: '10.96.0.10',
    ownRanges: [parseCidr('10.96.0.0/16'), parseCidr('10.244.0.0/16')],
    serial: 7,
    random,
  });
}
