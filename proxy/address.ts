// Addresses, ports and names as they come from the API, checked before any of them may stand in a rule. What fails is
// left out: a line that the kernel's tools refuse would hold up every other Service.
import { cidrContains, formatCidr, formatIp, type IpAddress, type IpVersion, parseCidr, parseIp } from '../api/cidr.ts';

const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const CANONICAL_IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);

/** Canonical text of `text` when it is an address of `family`. Leading zeros of IPv4 octets are read as decimal. */
export function canonicalIp(text: unknown, family: IpVersion): string | undefined {
  // Nearly all are: a look is a tenth of the work of taking them apart.
  if (typeof text === 'string' && CANONICAL_IPV4.test(text)) return family === 4 ? text : undefined;
  const ip = readIp(text);
  return ip?.version === family ? formatIp(ip) : undefined;
}

/** Canonical text of a network of `family`; a bare address is no network. Zeros and blanks as the API server lets them by. */
export function canonicalCidr(text: unknown, family: IpVersion): string | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    const cidr = parseCidr(withoutLeadingZeros(text.trim()));
    return cidr.version === family ? formatCidr(cidr) : undefined;
  } catch {
    return undefined; // not a CIDR: the caller leaves it out
  }
}

/** Networks that no endpoint may lie in: the API server refuses them, and a DNAT to one would reach the node itself. */
const SPECIAL = ['0.0.0.0/32', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '::/127', 'fe80::/10', 'ff00::/8'].map(
  parseCidr,
);

/** The first octets of the IPv4 ones among them, as `parseIp` need not be asked about others. */
const SPECIAL_START = /^(0|127|169|22[4-9]|23\d)\./;

export function isEndpointAddress(canonical: string): boolean {
  if (!canonical.includes(':') && !SPECIAL_START.test(canonical)) return true;
  const ip = parseIp(canonical);
  return !SPECIAL.some((cidr) => cidrContains(cidr, ip));
}

export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535;
}

/**
 * True for names that the API server accepts for namespaces, Services and ports: safe inside a quoted comment, and three of
 * them short enough for one (iptables takes 255 characters).
 */
export function isObjectName(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(value);
}

/** `10.0.0.1:80`, `[fd00::1]:80`. */
export function joinHostPort(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function readIp(text: unknown): IpAddress | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    return parseIp(withoutLeadingZeros(text));
  } catch {
    return undefined; // not an address: the caller leaves it out
  }
}

/** Of IPv4 octets, which are decimal whatever they begin with; other text as it is. */
function withoutLeadingZeros(text: string): string {
  return /^\d[\d.]*(\/|$)/.test(text) ? text.replace(/(^|\.)0+(?=\d)/g, '$1') : text;
}
