// Names of chains, as upstream makes them: operators and other tools know them.
import { base32Hash } from '../hash.ts';
import type { Endpoint, ServicePort } from '../service-map.ts';

export function chainHash(input: string): string {
  return base32Hash(input, 16);
}

export function servicePortHash(port: ServicePort): string {
  return chainHash(port.nameString + port.protocol.toLowerCase());
}

export function endpointChain(port: ServicePort, endpoint: Endpoint): string {
  return `KUBE-SEP-${chainHash(port.nameString + port.protocol.toLowerCase() + endpoint.address)}`;
}

/** True for the chains of single Services and endpoints, which come and go. `XLB` is what EXT was until v1.23. */
export function isServiceChain(name: string): boolean {
  return /^KUBE-(SVC|SVL|EXT|FW|SEP|XLB)-/.test(name);
}
