// The Service kube-dns, under whose address pods find the cluster's DNS, and its EndpointSlice. Both are written here
// because the server is no pod that a selector could find.
import { formatIp, nthAddress, parseCidr } from '../../api/cidr.ts';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { type KubeObject, type ObjectName, objectKey } from '../../api/meta.ts';
import { endpointSlices, type ResourceType, services } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isNotFound } from '../../client/errors.ts';
import { type Controller, type ControllerContext, waitForStores } from './context.ts';
import { Reconciler } from './reconciler.ts';

const NAMESPACE = 'kube-system';
/** Tests and tools look for this name, whatever serves behind it. */
const NAME = 'kube-dns';
const KEY = `${NAMESPACE}/${NAME}`;
const DNS_PORT = 53;
/** By convention; kubelets are configured with it. */
const ADDRESS_INDEX = 10;

export interface ClusterDnsOptions {
  readonly serviceCidr: string;
  /** Where the server listens, as nodes reach it. */
  readonly address: string;
  readonly port: number;
}

/** Address of the DNS Service: the tenth of the Service range. */
export function clusterDnsIp(serviceCidr: string): string {
  return formatIp(nthAddress(parseCidr(serviceCidr), ADDRESS_INDEX));
}

export class ClusterDnsController implements Controller {
  readonly name = 'cluster-dns-controller';
  readonly #ctx: ControllerContext;
  readonly #opts: ClusterDnsOptions;
  readonly #work: Reconciler;

  constructor(ctx: ControllerContext, opts: ClusterDnsOptions) {
    this.#ctx = ctx;
    this.#opts = opts;
    this.#work = new Reconciler(() => this.#reconcile(), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.services, stores.endpointSlices], signal);
    const request = (object: KubeObject) => {
      if (objectKey(object) === KEY) this.#work.request(KEY);
    };
    const handler = { onUpdate: (_old: KubeObject, object: KubeObject) => request(object), onDelete: request };
    using _services = stores.services.subscribe(handler);
    using _slices = stores.endpointSlices.subscribe(handler);
    this.#work.request(KEY);
    await this.#work.run(signal);
  }

  async #reconcile(): Promise<void> {
    const { client } = this.#ctx;
    const name = { namespace: NAMESPACE, name: NAME };
    const service = await ensure(client, services, name, dnsService(this.#opts));
    // Somebody runs DNS as pods behind this name: theirs, then.
    if (Object.keys(service.spec?.selector ?? {}).length > 0) return;
    const wanted = dnsSlice(this.#opts);
    const slice = await ensure(client, endpointSlices, name, wanted);
    if (isSameTarget(slice, wanted)) return;
    // Started again on another port.
    const body = { endpoints: wanted.endpoints, ports: wanted.ports };
    await client.patch(endpointSlices, name, { type: 'merge', body });
  }
}

/** What is stored under `name`, created as `object` if there was nothing. */
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
    return await client.create<T>(type, { namespace: NAMESPACE }, object);
  }
}

function dnsService(opts: ClusterDnsOptions): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: NAME,
      namespace: NAMESPACE,
      labels: {
        'k8s-app': 'kube-dns',
        'kubernetes.io/cluster-service': 'true',
        'kubernetes.io/name': 'CoreDNS',
      },
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: clusterDnsIp(opts.serviceCidr),
      sessionAffinity: 'None',
      ports: [
        { name: 'dns', port: DNS_PORT, protocol: 'UDP', targetPort: opts.port },
        { name: 'dns-tcp', port: DNS_PORT, protocol: 'TCP', targetPort: opts.port },
      ],
    },
  };
}

function dnsSlice(opts: ClusterDnsOptions): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: NAME,
      namespace: NAMESPACE,
      labels: {
        'kubernetes.io/service-name': NAME,
        'endpointslice.kubernetes.io/managed-by': 'cluster-dns-controller.nodelet',
      },
    },
    addressType: opts.address.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [opts.address], conditions: { ready: true } }],
    ports: [
      { name: 'dns', port: opts.port, protocol: 'UDP' },
      { name: 'dns-tcp', port: opts.port, protocol: 'TCP' },
    ],
  };
}

function isSameTarget(a: EndpointSlice, b: EndpointSlice): boolean {
  const target = ({ endpoints, ports }: EndpointSlice) =>
    JSON.stringify([endpoints?.map((e) => e.addresses), ports?.map((p) => [p.name, p.protocol, p.port])]);
  return target(a) === target(b);
}
