// What a node's certificate must say, and when another one is due. Pure. After client-go util/certificate/
// certificate_manager.go and pkg/kubelet/certificate/kubelet.go.
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { NodeAddress } from '../../api/kinds.ts';
import type { CertUsage } from '../../api/pki.ts';
import type { LoadedPair } from './key-pair.ts';

export interface CertificateTemplate {
  readonly commonName: string;
  readonly organizations: readonly string[];
  /** Sorted, none twice. */
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
}

export const CLIENT_SIGNER = 'kubernetes.io/kube-apiserver-client-kubelet';
export const SERVING_SIGNER = 'kubernetes.io/kubelet-serving';
/** `key encipherment` is for RSA keys alone; ours are of an elliptic curve. */
export const CLIENT_USAGES: readonly CertUsage[] = ['digital signature', 'client auth'];
export const SERVING_USAGES: readonly CertUsage[] = ['digital signature', 'server auth'];

export function clientTemplate(nodeName: string): CertificateTemplate {
  return {
    commonName: `system:node:${nodeName}`,
    organizations: ['system:nodes'],
    dnsNames: [],
    ipAddresses: [],
  };
}

/** Undefined as long as no address is known (with `namesSuffice`: nor a name): there is nothing to ask for yet. */
export function servingTemplate(
  nodeName: string,
  addresses: readonly NodeAddress[],
  { namesSuffice = false }: { readonly namesSuffice?: boolean } = {},
): CertificateTemplate | undefined {
  const names: string[] = [];
  const ips: string[] = [];
  for (const { type, address } of addresses) {
    if (address === '') continue;
    if (type === 'Hostname') (isIP(address) === 0 ? names : ips).push(address);
    else if (type === 'InternalDNS' || type === 'ExternalDNS') names.push(address);
    else if (isIP(address) !== 0) ips.push(address);
  }
  if (ips.length === 0 && !(namesSuffice && names.length > 0)) return undefined;
  return { ...clientTemplate(nodeName), dnsNames: sortedSet(names), ipAddresses: sortedSet(ips) };
}

/** Whether the certificate says all that `template` asks for; it may say more. */
export function satisfies(leaf: X509Certificate, template: CertificateTemplate): boolean {
  const { CN, O } = leaf.toLegacyObject().subject as { CN?: string; O?: string | string[] };
  const organizations = O === undefined ? [] : [O].flat();
  return (
    CN === template.commonName &&
    template.organizations.every((o) => organizations.includes(o)) &&
    template.dnsNames.every((name) => leaf.checkHost(name, { subject: 'never' }) !== undefined) &&
    template.ipAddresses.every((ip) => leaf.checkIP(ip) !== undefined)
  );
}

/** Wall ms at which to ask for the next one: after 70 to 90 % of its life. `spread` is from [0, 1). */
export function rotationDueMs(pair: LoadedPair, spread: number): number {
  return pair.notBeforeMs + (pair.notAfterMs - pair.notBeforeMs) * (0.7 + 0.2 * spread);
}

export function sameTemplate(a: CertificateTemplate | undefined, b: CertificateTemplate | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function sortedSet(values: readonly string[]): string[] {
  return [...new Set(values)].sort();
}
