// Addresses in the status of a pod. Source: pkg/apis/core/validation validatePodIPs and validateHostIPs, and
// pkg/apis/core/v1/conversion.go for podIP beside podIPs.
import { isIP, isIPv6 } from 'node:net';
import type { PodStatus } from '../../../api/pod.ts';
import type { Mutable } from '../definition.ts';
import { type FieldError, invalid } from '../field-errors.ts';

const VALID_TEXT = 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)';
const PAIR_TEXT = 'may specify no more than one IP for each IP family';

/** `podIP` is what counts where the two differ: writers from before there were two families know nothing else. */
export function reconcilePodIps(status: Mutable<PodStatus>): void {
  const first = status.podIPs?.[0]?.ip;
  if (status.podIP && status.podIP !== first) status.podIPs = [{ ip: status.podIP }];
  else if (first) status.podIP = first;
}

export function podIpFaults(next: PodStatus, old: PodStatus): FieldError[] {
  return listFaults('status.podIPs', textsOf(next.podIPs), textsOf(old.podIPs));
}

export function hostIpFaults(next: PodStatus, old: PodStatus): FieldError[] {
  const ips = textsOf(next.hostIPs);
  if (ips.length === 0) return [];
  const faults = listFaults('status.hostIPs', ips, textsOf(old.hostIPs));
  if (next.hostIP === ips[0]) return faults;
  return [invalid('status.hostIPs[0].ip', ips[0], 'must be equal to `hostIP`'), ...faults];
}

const textsOf = (list: readonly { readonly ip?: string }[] | undefined): string[] =>
  (list ?? []).map((e) => e.ip ?? '');

function listFaults(field: string, ips: readonly string[], known: readonly string[]): FieldError[] {
  const faults = ips.flatMap((ip, i) => (known.includes(ip) ? [] : ipFaults(`${field}[${i}]`, ip)));
  if (ips.length < 2) return faults;
  const v6 = ips.filter((ip) => isIPv6(ip)).length;
  if (ips.length === 2 && v6 === 1) return faults;
  const value = ips.map((ip) => ({ ip }));
  return [...faults, invalid(field, value, PAIR_TEXT)];
}

function ipFaults(field: string, ip: string): FieldError[] {
  if (isIP(ip) === 0) return [invalid(field, ip, VALID_TEXT)];
  const isMapped = /^::ffff:[0-9.]+$/i.test(ip);
  return isMapped ? [invalid(field, ip, 'must not be an IPv4-mapped IPv6 address')] : [];
}
