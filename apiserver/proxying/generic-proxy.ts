// nodes/proxy, pods/proxy and services/proxy: any request, passed on under a path of this server. After apiserver
// pkg/util/proxy. The server must be able to reach pod addresses for the latter two.
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { endpointSlices, pods, services } from '../../api/resources.ts';
import { spliceUpgrade } from '../../api/streaming/upgrade-client.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { badRequest, notFound, StatusError, serviceUnavailable } from '../status-error.ts';
import type { ConnectSubresource } from '../subresource.ts';
import { Backend, forwardedHeaders, passAnswer } from './backend.ts';
import { kubeletTarget, originOf, parseProxyName } from './kubelet-target.ts';
import type { ProxyDeps } from './pod-subresources.ts';

type Resource = 'nodes' | 'pods' | 'services';

/** Where a proxied request goes. `trusted`: our own kubelet, to which this server proves itself. */
interface Destination {
  readonly origin: string;
  readonly trusted: boolean;
}

export function proxySubresource(resource: Resource, { reader, backend }: ProxyDeps): ConnectSubresource {
  const anonymous = new Backend({}); // pods must never see this server's client certificate
  const to = (url: string | undefined, namespace: string, name: string) => {
    const place = takeApart(url ?? '/');
    const { origin, trusted } = proxyDestination(reader, resource, namespace, name);
    return { ...place, url: new URL(`${origin}${place.path}`), via: trusted ? backend : anonymous };
  };
  return {
    type: 'connect',
    group: '',
    version: 'v1',
    resource,
    subresource: 'proxy',
    verbs: ['create', 'delete', 'get', 'patch', 'update'],
    async handle(request, response, { info, signal }) {
      const { prefix, url, via, path } = to(request.url, info.namespace, info.name);
      if (path === '' || path.startsWith('?')) {
        // Relative links of what is served must lead below `proxy/`.
        response.writeHead(301, { location: `${prefix}/${path}` }).end();
        return;
      }
      const headers = { ...forwardedHeaders(request, false), ...forwardedFor(request) };
      const answer = await via.request(url, request.method ?? 'GET', headers, request, signal);
      await passAnswer(answer, response, (h) => rewriteLocation(h, prefix, url));
    },
    async upgrade(request, socket, head, { info, signal }) {
      const { url, via } = to(request.url, info.namespace, info.name);
      const headers = { ...forwardedHeaders(request, true), ...forwardedFor(request) };
      const upgraded = await via.upgrade(url, request.method ?? 'GET', headers, signal);
      await spliceUpgrade(socket, head, upgraded);
    },
  };
}

/** Pure: the part of a URL up to `proxy`, and what follows with its query, escapes untouched. */
export function takeApart(url: string): { readonly prefix: string; readonly path: string } {
  const match = /^(\/api\/v1\/(?:namespaces\/[^/?]+\/)?(?:nodes|pods|services)\/[^/?]+\/proxy)((?:\/|\?|$).*)/s.exec(
    url,
  );
  if (match === null) throw badRequest('the path of a proxied request must be written plainly');
  return { prefix: match[1]!, path: match[2]! };
}

/** Pure but for `reader` and the choice among endpoints. `text`: `[scheme:]name[:port]`. @throws {StatusError} */
export function proxyDestination(
  reader: ObjectReader,
  resource: Resource,
  namespace: string,
  text: string,
): Destination {
  switch (resource) {
    case 'nodes':
      return nodeDestination(reader, text);
    case 'pods':
      return podDestination(reader, namespace, text);
    case 'services':
      return serviceDestination(reader, namespace, text);
  }
}

function nodeDestination(reader: ObjectReader, text: string): Destination {
  const { name, port } = parseProxyName(text);
  if (port === '') return { origin: kubeletTarget(reader, name).origin, trusted: true };
  const { origin } = kubeletTarget(reader, name, portNumber(port));
  // Another port is another program: it gets no proof of who we are.
  return { origin, trusted: origin === kubeletTarget(reader, name).origin };
}

function podDestination(reader: ObjectReader, namespace: string, text: string): Destination {
  const { scheme, name, port } = parseProxyName(text);
  const pod = reader.get<Pod>(pods, { namespace, name });
  if (pod === undefined) throw notFound({ group: '', resource: 'pods' }, name);
  const ip = pod.status?.podIP ?? '';
  if (ip === '') throw badRequest(`pod ${name} has no address yet`);
  mustBeReachable(ip);
  const declared = pod.spec?.containers.flatMap((c) => c.ports ?? [])[0]?.containerPort;
  const number = port === '' ? (declared ?? (scheme === 'https' ? 443 : 80)) : portNumber(port);
  return { origin: originOf(scheme || 'http', ip, number), trusted: false };
}

function serviceDestination(reader: ObjectReader, namespace: string, text: string): Destination {
  const { scheme, name, port } = parseProxyName(text);
  const service = reader.get<Service>(services, { namespace, name });
  if (service === undefined) throw notFound({ group: '', resource: 'services' }, name);
  const candidates = readyEndpoints(reader, namespace, name, portNameOf(service, port));
  const chosen = candidates[Math.floor(Math.random() * candidates.length)];
  if (chosen === undefined) throw serviceUnavailable(`no endpoints available for service "${name}"`);
  mustBeReachable(chosen.address);
  return { origin: originOf(scheme || 'http', chosen.address, chosen.port), trusted: false };
}

/** Endpoints know ports by name; a number is one of the Service's own. */
function portNameOf(service: Service, port: string): string {
  if (!/^\d+$/.test(port)) return port;
  const found = service.spec?.ports?.find((p) => p.port === Number(port));
  if (found !== undefined) return found.name ?? '';
  throw serviceUnavailable(`no service port ${port} found for service "${service.metadata?.name}"`);
}

function readyEndpoints(reader: ObjectReader, namespace: string, service: string, portName: string) {
  return reader
    .list<EndpointSlice>(endpointSlices, namespace)
    .filter((slice) => slice.metadata?.labels?.['kubernetes.io/service-name'] === service)
    .flatMap((slice) => {
      const port = slice.ports?.find((p) => (p.name ?? '') === portName)?.port;
      if (!port) return [];
      const ready = (slice.endpoints ?? []).filter((e) => e.conditions?.ready !== false);
      return ready.flatMap((e) => e.addresses.map((address) => ({ address, port })));
    });
}

/** Who may write a pod's or an endpoint's address could otherwise have this server talk to itself or to its host's neighbours. */
const FORBIDDEN = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 4],
] as const) {
  FORBIDDEN.addSubnet(network, bits, 'ipv4');
}
FORBIDDEN.addAddress('255.255.255.255', 'ipv4');
for (const [network, bits] of [
  ['::', 127],
  ['fe80::', 10],
  ['ff00::', 8],
] as const) {
  FORBIDDEN.addSubnet(network, bits, 'ipv6');
}

function mustBeReachable(ip: string): void {
  const family = isIP(ip);
  if (family === 0 || FORBIDDEN.check(ip, family === 4 ? 'ipv4' : 'ipv6')) throw badRequest('address not allowed');
}

function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535)
    throw new StatusError(400, 'BadRequest', `invalid port ${JSON.stringify(text)}`);
  return port;
}

function forwardedFor(request: IncomingMessage): Record<string, string> {
  const host = request.headers.host;
  return {
    'x-forwarded-uri': (request.url ?? '/').split('?')[0]!,
    'x-forwarded-proto': 'https',
    ...(host === undefined ? {} : { 'x-forwarded-host': host }),
  };
}

/** A redirect within the backend must lead back through the proxy. */
function rewriteLocation(headers: IncomingHttpHeaders, prefix: string, url: URL): void {
  if (headers.location === undefined) return;
  if (!URL.canParse(headers.location, url)) return;
  const target = new URL(headers.location, url);
  if (target.origin === url.origin) headers.location = `${prefix}${target.pathname}${target.search}${target.hash}`;
}
