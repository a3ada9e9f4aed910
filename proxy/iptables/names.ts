// Names of chains, as upstream makes them: operators and other tools know them.
import { hash } from 'node:crypto';
import type { Endpoint, ServicePort } from '../service-map.ts';

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'; // RFC 4648

/** The first 16 characters of base32(sha256(input)): 10 bytes. */
export function chainHash(input: string): string {
  const digest = hash('sha256', input, 'buffer');
  let out = '';
  for (let at = 0; at < 10; at += 5) {
    // 40 bits are eight characters; two 20-bit halves stay inside the 32 bits of JavaScript's bit operators.
    const high = (digest[at]! << 12) | (digest[at + 1]! << 4) | (digest[at + 2]! >> 4);
    const low = ((digest[at + 2]! & 15) << 16) | (digest[at + 3]! << 8) | digest[at + 4]!;
    for (const half of [high, low]) {
      for (let shift = 15; shift >= 0; shift -= 5) out += BASE32[(half >> shift) & 31];
    }
  }
  return out;
}

export function servicePortHash(port: ServicePort): string {
  return chainHash(port.nameString + port.protocol.toLowerCase());
}

export function endpointChain(port: ServicePort, endpoint: Endpoint): string {
  return `KUBE-SEP-${chainHash(port.nameString + port.protocol.toLowerCase() + endpoint.address)}`;
}

/** True for the chains of single Services and endpoints, which come and go. */
export function isServiceChain(name: string): boolean {
  return /^KUBE-(SVC|SVL|EXT|FW|SEP)-/.test(name);
}
