// Which node has which part of the pod network: Node.spec.podCIDR and flannel's annotations, read and written so that
// nodes with real flanneld take part.
import { cidrCovers, formatCidr, formatIp, type IpVersion, parseCidr, parseIp } from '../api/cidr.ts';
import type { Node } from '../api/kinds.ts';
import { formatTime } from '../api/meta.ts';
import type { Patch } from '../client/api-client.ts';
import type { SubnetLease } from './backend.ts';
import type { Announcement } from './subnet-source.ts';

const DEFAULT_PREFIX = 'flannel.alpha.coreos.com';

export interface AnnotationNames {
  readonly managed: string;
  readonly backendType: string;
  readonly backendData: string;
  readonly backendV6Data: string;
  readonly publicIp: string;
  readonly publicIpv6: string;
  /** Set by an administrator: goes into public-ip instead of what was detected. */
  readonly publicIpOverwrite: string;
  readonly publicIpv6Overwrite: string;
  /** Set by an administrator: the address to use in place of --public-ip. */
  readonly nodePublicIp: string;
  readonly nodePublicIpv6: string;
}

/** The names under `prefix`. One without a slash gets one; one with a path gets a hyphen, unless it ends in either. */
export function annotationNames(prefix: string): AnnotationNames {
  const start = /[/-]$/.test(prefix) ? prefix : `${prefix}${prefix.includes('/') ? '-' : '/'}`;
  return {
    managed: `${start}kube-subnet-manager`,
    backendType: `${start}backend-type`,
    backendData: `${start}backend-data`,
    backendV6Data: `${start}backend-v6-data`,
    publicIp: `${start}public-ip`,
    publicIpv6: `${start}public-ipv6`,
    publicIpOverwrite: `${start}public-ip-overwrite`,
    publicIpv6Overwrite: `${start}public-ipv6-overwrite`,
    nodePublicIp: `${start}node-public-ip`,
    nodePublicIpv6: `${start}node-public-ipv6`,
  };
}

/** What all of them start with. */
export function annotationPrefix({ managed }: AnnotationNames): string {
  return managed.slice(0, -'kube-subnet-manager'.length);
}

/** With flannel's own prefix. */
export const annotation = annotationNames(DEFAULT_PREFIX);

/** The node's pod network of one family in canonical form; undefined while none (or nonsense) is assigned. */
export function podSubnetOf(node: Node, version: IpVersion = 4): string | undefined {
  const cidrs = node.spec?.podCIDRs?.length ? node.spec.podCIDRs : [node.spec?.podCIDR ?? ''];
  for (const text of cidrs.slice(0, 2)) {
    try {
      const cidr = parseCidr(text);
      if (cidr.version === version) return formatCidr(cidr);
    } catch {
      // not a CIDR: as good as none
    }
  }
  return undefined;
}

/**
 * What `node` publishes about its part of `network` (IPv4 or IPv6); undefined when it takes no part, or its annotations
 * cannot be used.
 */
export function readLease(node: Node, network: string, names: AnnotationNames = annotation): SubnetLease | undefined {
  const a = node.metadata?.annotations ?? {};
  const { version } = parseCidr(network);
  const subnet = podSubnetOf(node, version);
  if (a[names.managed] !== 'true' || subnet === undefined) return undefined;
  // A subnet outside the pod network could draw any traffic of this node to the peer.
  if (!cidrCovers(parseCidr(network), parseCidr(subnet))) return undefined;
  try {
    const ip = parseIp(a[version === 4 ? names.publicIp : names.publicIpv6] ?? '');
    if (ip.version !== version) return undefined;
    const data = a[version === 4 ? names.backendData : names.backendV6Data];
    const backendData: unknown = JSON.parse(data ?? 'null');
    const backendType = a[names.backendType] ?? '';
    const since = Date.parse(node.metadata?.creationTimestamp ?? '') || Number.POSITIVE_INFINITY;
    const nodeName = node.metadata?.name ?? '';
    return { nodeName, subnet, publicIp: formatIp(ip), since, backendType, backendData };
  } catch {
    return undefined; // unreadable address or JSON: the node publishes again when it is mended
  }
}

/** The MAC that this node published earlier for the same network identifier. */
export function publishedMac(
  node: Node,
  vni: number,
  version: IpVersion = 4,
  names: AnnotationNames = annotation,
): string | undefined {
  try {
    const text = node.metadata?.annotations?.[version === 4 ? names.backendData : names.backendV6Data];
    return macOf(JSON.parse(text ?? 'null'), vni);
  } catch {
    return undefined; // somebody else's form: a new one is made
  }
}

/** The MAC in a VXLAN node's backend data, when it is for this network identifier. */
export function macOf(backendData: unknown, vni: number): string | undefined {
  const data = backendData as { readonly VNI?: unknown; readonly VtepMAC?: unknown } | null | undefined;
  const mac = data?.VNI === vni ? data.VtepMAC : undefined;
  return typeof mac === 'string' && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac) ? mac.toLowerCase() : undefined;
}

/**
 * The annotations to publish, those of both families in one patch: flanneld ignores an update in which either family's
 * stay the same. Undefined when the node has them already.
 */
export function leasePatch(node: Node, lease: Announcement, names: AnnotationNames = annotation): Patch | undefined {
  const there = node.metadata?.annotations ?? {};
  const wanted: Record<string, string> = { [names.managed]: 'true', [names.backendType]: lease.backendType };
  if (lease.v4 !== undefined) {
    wanted[names.backendData] = JSON.stringify(lease.v4.backendData);
    wanted[names.publicIp] = there[names.publicIpOverwrite] || lease.v4.publicIp;
  }
  if (lease.v6 !== undefined) {
    wanted[names.backendV6Data] = JSON.stringify(lease.v6.backendData);
    wanted[names.publicIpv6] = there[names.publicIpv6Overwrite] || lease.v6.publicIp;
  }
  if (Object.entries(wanted).every(([key, value]) => there[key] === value)) return undefined;
  return { type: 'strategic', body: { metadata: { annotations: wanted } } };
}

/** Tells the scheduler that pods on this node can talk. */
export function networkUpPatch(wallMs: number): Patch {
  const at = formatTime(wallMs);
  const condition = {
    type: 'NetworkUnavailable',
    status: 'False',
    reason: 'FlannelIsUp',
    message: 'Flannel is running on this node',
    lastTransitionTime: at,
    lastHeartbeatTime: at,
  };
  return { type: 'strategic', body: { status: { conditions: [condition] } } };
}

export function hasNetworkUp(node: Node): boolean {
  const c = node.status?.conditions?.find((c) => c.type === 'NetworkUnavailable');
  return c?.status === 'False' && c.reason === 'FlannelIsUp';
}
