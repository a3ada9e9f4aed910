// What is kept of Services and EndpointSlices: the fields that proxying and the environment of pods depend on. With
// 5,000 Services of five endpoints the rest would be a third of the proxy's memory.
import type { Endpoint, EndpointSlice, Service } from '../api/kinds.ts';
import { SERVICE_NAME_LABEL, TRIGGER_TIME_ANNOTATION } from './endpoint-changes.ts';
import { SERVICE_PROXY_NAME_LABEL } from './service-changes.ts';

type Conditions = NonNullable<Endpoint['conditions']>;

/** Nearly all endpoints are in the same state: one object serves them all. */
const READY: Conditions = Object.freeze({ ready: true, serving: true, terminating: false });

/** Pure: a slice without what nobody here reads. The parts that are kept are shared with `slice`. */
export function compactSlice(slice: EndpointSlice): EndpointSlice {
  return {
    metadata: compactMetadata(slice.metadata, SERVICE_NAME_LABEL),
    addressType: slice.addressType,
    ports: slice.ports,
    endpoints: Array.isArray(slice.endpoints) ? slice.endpoints.map(compactEndpoint) : [],
  } as EndpointSlice;
}

function compactEndpoint(e: Endpoint): Endpoint {
  const { addresses, conditions: c, nodeName, hints } = e ?? {};
  const isReady = c?.ready === true && c.serving === true && c.terminating === false;
  const conditions = isReady ? READY : c;
  // Whole literals: an object put together by spreading takes twice the memory.
  if (hints !== undefined) return { addresses, conditions, nodeName: shared(nodeName), hints } as Endpoint;
  return { addresses, conditions, nodeName: shared(nodeName) } as Endpoint;
}

/** A cluster has far fewer nodes than endpoints, and a decoded object a text of its own for each. */
const nodeNames = new Map<string, string>();
const MAX_NODE_NAMES = 10_000;

function shared(nodeName: string | null | undefined): string | undefined {
  if (nodeName === undefined || nodeName === null) return undefined;
  const known = nodeNames.get(nodeName);
  if (known !== undefined) return known;
  if (nodeNames.size >= MAX_NODE_NAMES) nodeNames.clear();
  nodeNames.set(nodeName, nodeName);
  return nodeName;
}

/** Pure: a Service without what nobody here reads. The parts that are kept are shared with `service`. */
export function compactService(service: Service): Service {
  const { spec, status } = service;
  const balancer = status?.loadBalancer;
  return {
    metadata: compactMetadata(service.metadata, SERVICE_PROXY_NAME_LABEL),
    ...(spec === undefined ? {} : { spec: compactSpec(spec) }),
    ...(balancer?.ingress === undefined ? {} : { status: { loadBalancer: balancer } }),
  };
}

function compactSpec(spec: NonNullable<Service['spec']>): NonNullable<Service['spec']> {
  const { selector, sessionAffinity, internalTrafficPolicy, ipFamilyPolicy, ipFamilies, clusterIPs, ...kept } = spec;
  const isPlain = clusterIPs?.length === 1 && clusterIPs[0] === spec.clusterIP;
  return {
    ...kept,
    // Without ipFamilies the one cluster IP tells the family by itself.
    ...(isPlain ? {} : { ipFamilies, clusterIPs }),
    ...(sessionAffinity === undefined || sessionAffinity === 'None' ? {} : { sessionAffinity }),
    ...(internalTrafficPolicy === undefined || internalTrafficPolicy === 'Cluster' ? {} : { internalTrafficPolicy }),
  } as NonNullable<Service['spec']>;
}

function compactMetadata(metadata: Service['metadata'], label: string): NonNullable<Service['metadata']> {
  const { name, namespace, uid, resourceVersion, labels, annotations } = metadata ?? {};
  const labelled = labels?.[label];
  const trigger = annotations?.[TRIGGER_TIME_ANNOTATION];
  return {
    name,
    namespace,
    uid,
    resourceVersion,
    ...(labelled === undefined ? {} : { labels: { [label]: labelled } }),
    ...(trigger === undefined ? {} : { annotations: { [TRIGGER_TIME_ANNOTATION]: trigger } }),
  } as NonNullable<Service['metadata']>;
}
