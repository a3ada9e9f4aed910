// Where the kubelet of a node answers, read from the Node object. After pkg/kubelet/client/kubelet_client.go.
import { isIPv6 } from 'node:net';
import type { Node } from '../../api/kinds.ts';
import { nodes } from '../../api/resources.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { badRequest, notFound } from '../status-error.ts';

/** Addresses that reach a node from inside the cluster come first: in a lab there is no DNS for host names. */
const ADDRESS_TYPES = ['InternalIP', 'Hostname', 'InternalDNS', 'ExternalDNS', 'ExternalIP'];
const DEFAULT_PORT = 10250;
/** Of Node.status.declaredFeatures: the kubelet serves v5 WebSockets and tunnels itself. */
const SPEAKS_WEBSOCKETS = 'ExtendWebSocketsToKubelet';

export interface KubeletTarget {
  /** `https://10.0.0.7:10250`, without a path. */
  readonly origin: string;
  readonly speaksWebSockets: boolean;
}

/** @throws {StatusError} 404 for an unknown node, 400 for one without an address. `port`: instead of the kubelet's own. */
export function kubeletTarget(reader: ObjectReader, nodeName: string, port?: number): KubeletTarget {
  const node = reader.get<Node>(nodes, { name: nodeName });
  if (node === undefined) throw notFound({ group: '', resource: 'nodes' }, nodeName);
  const addresses = node.status?.addresses ?? [];
  const address = ADDRESS_TYPES.map((type) => addresses.find((a) => a.type === type)?.address).find((a) => a);
  if (address === undefined) throw badRequest(`node "${nodeName}" reports no address to reach its kubelet at`);
  const kubeletPort = port ?? (node.status?.daemonEndpoints?.kubeletEndpoint?.Port || DEFAULT_PORT);
  const features = (node.status as { declaredFeatures?: readonly string[] } | undefined)?.declaredFeatures ?? [];
  return { origin: originOf('https', address, kubeletPort), speaksWebSockets: features.includes(SPEAKS_WEBSOCKETS) };
}

export function originOf(scheme: string, host: string, port: number): string {
  return `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** `[scheme:]name[:port]`, as nodes, pods and services are named under `proxy`. @throws {StatusError} 400 */
export function parseProxyName(text: string): {
  readonly scheme: string;
  readonly name: string;
  readonly port: string;
} {
  const parts = text.split(':');
  const [first = '', second = '', third = ''] = parts;
  if (parts.length === 1) return { scheme: '', name: first, port: '' };
  if (parts.length === 2) return { scheme: '', name: first, port: second };
  if (parts.length === 3 && (first === '' || first === 'http' || first === 'https')) {
    return { scheme: first, name: second, port: third };
  }
  throw badRequest(`invalid name ${JSON.stringify(text)}: expected [scheme:]name[:port]`);
}
