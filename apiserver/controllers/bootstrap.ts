// Objects that every cluster has from the start (pkg/controlplane/controller). Ensured at start and again when somebody
// removes one.

import { formatIp, nthAddress, parseCidr } from '../../api/cidr.ts';
import type { EndpointSlice, Namespace, Service } from '../../api/kinds.ts';
import type { KubeObject, ObjectName } from '../../api/meta.ts';
import { endpointSlices, namespaces, type ResourceType, services } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isAlreadyExists, isNotFound } from '../../client/errors.ts';

export const SYSTEM_NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];

export interface BootstrapOptions {
  readonly advertiseAddress: string;
  readonly port: number;
  readonly serviceCidr: string;
}

/** The `kubernetes` Service's address: the first usable one of the Service range. */
export function apiServiceIp(serviceCidr: string): string {
  return formatIp(nthAddress(parseCidr(serviceCidr), 1));
}

/** Creates what is missing and mends what differs. Idempotent. */
export async function ensureBootstrapObjects(client: ApiClient, opts: BootstrapOptions): Promise<void> {
  for (const name of SYSTEM_NAMESPACES) {
    await ensure<Namespace>(client, namespaces, { name }, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  }
  const name = { namespace: 'default', name: 'kubernetes' };
  const service = kubernetesService(opts);
  const storedService = await ensure(client, services, name, service);
  if (storedService.spec?.ports?.[0]?.targetPort !== opts.port) {
    await client.patch(services, name, { type: 'merge', body: { spec: { ports: service.spec!.ports } } });
  }
  const slice = kubernetesSlice(opts);
  const stored = await ensure(client, endpointSlices, name, slice);
  if (stored.endpoints?.[0]?.addresses[0] === opts.advertiseAddress && stored.ports?.[0]?.port === opts.port) return;
  // The API server has moved since the store was made.
  await client.patch(endpointSlices, name, { type: 'merge', body: { endpoints: slice.endpoints, ports: slice.ports } });
}

async function ensure<T extends KubeObject>(
  client: ApiClient,
  type: ResourceType<T>,
  name: ObjectName,
  object: T,
): Promise<T> {
  try {
    return await client.get(type, name);
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
  try {
    return await client.create<T>(type, name.namespace === undefined ? {} : { namespace: name.namespace }, object);
  } catch (err) {
    if (isAlreadyExists(err)) return await client.get(type, name);
    throw err;
  }
}

function kubernetesService(opts: BootstrapOptions): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kubernetes', namespace: 'default', labels: { component: 'apiserver', provider: 'kubernetes' } },
    spec: {
      clusterIP: apiServiceIp(opts.serviceCidr),
      type: 'ClusterIP',
      sessionAffinity: 'None',
      ipFamilyPolicy: 'SingleStack',
      ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: opts.port }],
    },
  };
}

function kubernetesSlice(opts: BootstrapOptions): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'kubernetes', namespace: 'default', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: [opts.advertiseAddress], conditions: { ready: true } }],
    ports: [{ name: 'https', port: opts.port, protocol: 'TCP' }],
  };
}
