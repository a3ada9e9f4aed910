// Names of chains and sets, as upstream makes them.
import { base32Hash } from '../hash.ts';
import type { Endpoint, ServicePort } from '../service-map.ts';

/** nft takes 255 characters with the prefix. */
const MAX_BASE_LENGTH = 240;

/** `ULMVA6XW-ns1/svc1/tcp/p80`: the hash keeps it unique when the rest has to be cut. */
function baseOf(text: string): string {
  const base = `${base32Hash(text, 8)}-${text}`;
  return base.length > MAX_BASE_LENGTH ? `${base.slice(0, MAX_BASE_LENGTH - 3)}...` : base;
}

function portText({ serviceKey, portId, protocol }: ServicePort): string {
  return `${serviceKey}/${protocol.toLowerCase()}/${portId.slice(0, portId.lastIndexOf('/'))}`;
}

export function portBase(port: ServicePort): string {
  return baseOf(portText(port));
}

export function endpointBase(port: ServicePort, { ip, port: number }: Endpoint): string {
  return baseOf(`${portText(port)}__${ip.replaceAll(':', '.')}/${number}`);
}

/** True for the chains of single Services and endpoints, which come and go. */
export function isServiceChain(name: string): boolean {
  return name.includes('/');
}

/** True for the sets that remember clients of single endpoints. */
export function isAffinitySet(name: string): boolean {
  return name.startsWith('affinity-');
}
