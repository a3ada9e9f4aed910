// IP addresses and prefixes of both families as integers, in canonical text: RFC 5952 for IPv6. Leading zeros and zones
// are refused, as Go's net/netip does.
import { ParseError } from './parse-error.ts';

export type IpVersion = 4 | 6;

export interface IpAddress {
  readonly version: IpVersion;
  readonly value: bigint;
}

/** A network: `base` has no bits beyond `prefixLength`. */
export interface Cidr {
  readonly version: IpVersion;
  readonly base: bigint;
  readonly prefixLength: number;
}

/** Bits of an address: 32 or 128. */
export function addressBits(version: IpVersion): number {
  return version === 4 ? 32 : 128;
}

/** @throws {ParseError} */
export function parseIp(text: string): IpAddress {
  const ip = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  if (ip === undefined) throw new ParseError('IP address', text, 'expected a form such as 10.0.0.1 or fd00::1');
  return ip;
}

export function isIp(text: string): boolean {
  return (text.includes(':') ? parseIpv6(text) : parseIpv4(text)) !== undefined;
}

function parseIpv4(text: string): IpAddress | undefined {
  const parts = text.split('.', 5);
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return { version: 4, value };
}

function parseIpv6(text: string): IpAddress | undefined {
  if (text.length > 45) return undefined; // the longest form, with an IPv4 tail
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  // `::` stands for at least one group; without it there must be eight.
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array<bigint>(missing).fill(0n), ...tail];
  return { version: 6, value: groups.reduce((value, group) => (value << 16n) | group, 0n) };
}

/** 16-bit groups of one side of `::`. Only the end of an address may be written as IPv4. */
function parseGroups(text: string, isEnd: boolean): bigint[] | undefined {
  if (text === '') return [];
  const groups: bigint[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (isEnd && i === parts.length - 1 && part.includes('.')) {
      const v4 = parseIpv4(part);
      if (v4 === undefined) return undefined;
      groups.push(v4.value >> 16n, v4.value & 0xffffn);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(BigInt(`0x${part}`));
    } else return undefined;
  }
  return groups;
}

/** Canonical text. IPv4-mapped IPv6 addresses print as `::ffff:1.2.3.4`. */
export function formatIp(ip: IpAddress): string {
  if (ip.version === 4) return formatIpv4(ip.value);
  if (ip.value >> 32n === 0xffffn) return `::ffff:${formatIpv4(ip.value & 0xffff_ffffn)}`;
  const groups = Array.from({ length: 8 }, (_, i) => ((ip.value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  const [start, length] = longestZeroRun(groups);
  if (length < 2) return groups.join(':'); // a single zero group is written out (RFC 5952 4.2.2)
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`;
}

function formatIpv4(value: bigint): string {
  const n = Number(value);
  return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;
}

/** The first of the longest runs of zero groups, as start and length. */
function longestZeroRun(groups: readonly string[]): readonly [number, number] {
  let best: readonly [number, number] = [0, 0];
  let length = 0;
  for (const [i, group] of groups.entries()) {
    length = group === '0' ? length + 1 : 0;
    if (length > best[1]) best = [i - length + 1, length];
  }
  return best;
}

/**
 * Reads `10.244.0.0/16`. Host bits are cleared; `parseInterface` keeps them.
 * @throws {ParseError}
 */
export function parseCidr(text: string): Cidr {
  return parseInterface(text).network;
}

/** Reads an address with its network, `10.244.1.1/24`. @throws {ParseError} */
export function parseInterface(text: string): { readonly ip: IpAddress; readonly network: Cidr } {
  const slash = text.indexOf('/');
  const prefix = text.slice(slash + 1);
  const address = text.slice(0, Math.max(0, slash));
  if (slash < 0 || !isIp(address) || !/^(0|[1-9]\d{0,2})$/.test(prefix)) {
    throw new ParseError('CIDR', text, 'expected a form such as 10.244.0.0/16 or fd00::/48');
  }
  const ip = parseIp(address);
  if (Number(prefix) > addressBits(ip.version)) {
    throw new ParseError('CIDR', text, `the prefix length must be at most ${addressBits(ip.version)}`);
  }
  return { ip, network: networkOf(ip, Number(prefix)) };
}

/** The network of that prefix length which holds `ip`. */
export function networkOf(ip: IpAddress, prefixLength: number): Cidr {
  const hostBits = BigInt(addressBits(ip.version) - prefixLength);
  return { version: ip.version, base: (ip.value >> hostBits) << hostBits, prefixLength };
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIp({ version: cidr.version, value: cidr.base })}/${cidr.prefixLength}`;
}

/** Number of addresses, network and broadcast address included. */
export function cidrSize(cidr: Cidr): bigint {
  return 1n << BigInt(addressBits(cidr.version) - cidr.prefixLength);
}

export function cidrContains(cidr: Cidr, ip: IpAddress): boolean {
  return cidr.version === ip.version && ip.value >= cidr.base && ip.value < cidr.base + cidrSize(cidr);
}

/** True when every address of `inner` lies in `outer`. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return inner.prefixLength >= outer.prefixLength && cidrContains(outer, { version: inner.version, value: inner.base });
}

/** True when they share an address: of two networks, one then covers the other. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return cidrCovers(a, b) || cidrCovers(b, a);
}

/** How many subnets of that prefix length fit; 0 when it is shorter than the network's own. */
export function subnetCount(cidr: Cidr, prefixLength: number): bigint {
  return prefixLength < cidr.prefixLength ? 0n : 1n << BigInt(prefixLength - cidr.prefixLength);
}

/** Subnet `index` from 0: (10.244.0.0/16, 24, 3) → 10.244.3.0/24. @throws {RangeError} when there is none. */
export function nthSubnet(cidr: Cidr, prefixLength: number, index: number | bigint): Cidr {
  if (prefixLength > addressBits(cidr.version) || index < 0 || BigInt(index) >= subnetCount(cidr, prefixLength)) {
    throw new RangeError(`${formatCidr(cidr)} has no subnet /${prefixLength} number ${index}`);
  }
  const hostBits = BigInt(addressBits(cidr.version) - prefixLength);
  return { version: cidr.version, base: cidr.base + (BigInt(index) << hostBits), prefixLength };
}

/** Address `index` from 0, which is the network's own. @throws {RangeError} when it lies outside. */
export function nthAddress(cidr: Cidr, index: number | bigint): IpAddress {
  if (index < 0 || BigInt(index) >= cidrSize(cidr)) {
    throw new RangeError(`${formatCidr(cidr)} has no address number ${index}`);
  }
  return { version: cidr.version, value: cidr.base + BigInt(index) };
}

/**
 * First and last address that a host may have: without the network address, and for IPv4 without the broadcast address.
 * Networks of one or two addresses keep all of them (RFC 3021, RFC 6164).
 */
export function hostRange(cidr: Cidr): { readonly first: IpAddress; readonly last: IpAddress } {
  const size = cidrSize(cidr);
  if (size <= 2n) return { first: nthAddress(cidr, 0), last: nthAddress(cidr, size - 1n) };
  return { first: nthAddress(cidr, 1), last: nthAddress(cidr, size - (cidr.version === 4 ? 2n : 1n)) };
}
