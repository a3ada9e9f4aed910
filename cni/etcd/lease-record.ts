// How flannel lays subnet leases out in etcd: keys and values (flannel pkg/subnet/subnet.go, pkg/lease/lease.go).
import { formatCidr, formatIp, isIp, networkOf, parseIp } from '../../api/cidr.ts';
import type { OwnSubnets } from '../subnet-source.ts';

/** The value of a lease's key. */
export interface LeaseAttributes {
  readonly publicIp: string | undefined;
  readonly publicIpv6: string | undefined;
  readonly backendType: string;
  readonly backendData: unknown;
  readonly backendV6Data: unknown;
}

/** What stands for the IPv4 subnet in the key of a node that has none. */
const NO_V4 = '0.0.0.0/0';

/** `10.5.52.0-24`; `10.5.52.0-24&fd00:1::-64` with both families. */
export function leaseName({ v4 = NO_V4, v6 }: OwnSubnets): string {
  return (v6 === undefined ? v4 : `${v4}&${v6}`).replaceAll('/', '-');
}

/** Undefined for what is no lease key. */
export function parseLeaseName(name: string): OwnSubnets | undefined {
  const parts = name.split('&').map(parsePart);
  if (parts.some((p) => p === undefined) || parts.length > 2) return undefined;
  const [a, b] = parts as { version: 4 | 6; subnet: string }[];
  if (b === undefined) return a!.version === 4 && a!.subnet !== NO_V4 ? { v4: a!.subnet } : undefined;
  if (a!.version !== 4 || b.version !== 6) return undefined;
  return a!.subnet === NO_V4 ? { v6: b.subnet } : { v4: a!.subnet, v6: b.subnet };
}

function parsePart(text: string): { readonly version: 4 | 6; readonly subnet: string } | undefined {
  const dash = text.lastIndexOf('-');
  const address = text.slice(0, Math.max(dash, 0));
  const length = text.slice(dash + 1);
  if (!isIp(address) || !/^\d{1,3}$/.test(length)) return undefined;
  const ip = parseIp(address);
  if (Number(length) > (ip.version === 4 ? 32 : 128)) return undefined;
  return { version: ip.version, subnet: formatCidr(networkOf(ip, Number(length))) };
}

/** Compact JSON with flannel's keys in flannel's order; an empty type and absent data are left out. */
export function renderAttributes(a: LeaseAttributes): string {
  return JSON.stringify({
    PublicIP: a.publicIp ?? '0.0.0.0', // Go's zero address: the field is no pointer there
    PublicIPv6: a.publicIpv6 ?? null,
    ...(a.backendType === '' ? {} : { BackendType: a.backendType }),
    ...(a.backendData === null || a.backendData === undefined ? {} : { BackendData: a.backendData }),
    ...(a.backendV6Data === null || a.backendV6Data === undefined ? {} : { BackendV6Data: a.backendV6Data }),
  });
}

/** Undefined when the value is not what flannel writes: the lease is then kept, but nobody is reached by it. */
export function parseAttributes(value: string): LeaseAttributes | undefined {
  let read: unknown;
  try {
    read = JSON.parse(value);
  } catch {
    return undefined; // somebody else's value
  }
  if (typeof read !== 'object' || read === null) return undefined;
  const a = read as Readonly<Record<string, unknown>>;
  return {
    publicIp: addressOf(a.PublicIP, 4),
    publicIpv6: addressOf(a.PublicIPv6, 6),
    backendType: typeof a.BackendType === 'string' ? a.BackendType : '',
    backendData: a.BackendData ?? null,
    backendV6Data: a.BackendV6Data ?? null,
  };
}

function addressOf(value: unknown, version: 4 | 6): string | undefined {
  if (typeof value !== 'string' || !isIp(value)) return undefined;
  const ip = parseIp(value);
  return ip.version === version && ip.value !== 0n ? formatIp(ip) : undefined;
}
