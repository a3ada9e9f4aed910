// Which node has which part of the pod network: Node.spec.podCIDR and flannel's annotations, read and written so that
// nodes with real flanneld take part.
import { cidrCovers, formatCidr, formatIp, parseCidr, parseIp } from '../api/cidr.ts';
import type { Node } from '../api/kinds.ts';
import { formatTime } from '../api/meta.ts';
import type { Patch } from '../client/api-client.ts';
import type { SubnetLease } from './backend.ts';

const PREFIX = 'flannel.alpha.coreos.com';
export const annotation = {
  managed: `${PREFIX}/kube-subnet-manager`,
  backendType: `${PREFIX}/backend-type`,
  backendData: `${PREFIX}/backend-data`,
  publicIp: `${PREFIX}/public-ip`,
  /** Set by an administrator: goes into public-ip instead of what was detected. */
  publicIpOverwrite: `${PREFIX}/public-ip-overwrite`,
} as const;

/** The node's IPv4 pod network in canonical form; undefined while none (or nonsense) is assigned. */
export function podSubnetOf(node: Node): string | undefined {
  const cidrs = node.spec?.podCIDRs?.length ? node.spec.podCIDRs : [node.spec?.podCIDR ?? ''];
  for (const text of cidrs) {
    try {
      const cidr = parseCidr(text);
      if (cidr.version === 4) return formatCidr(cidr);
    } catch {
      // not a CIDR: as good as none
    }
  }
  return undefined;
}

/** What `node` publishes; undefined when it takes no part, or its annotations cannot be used. */
export function readLease(node: Node, network: string): SubnetLease | undefined {
  const a = node.metadata?.annotations ?? {};
  const subnet = podSubnetOf(node);
  if (a[annotation.managed] !== 'true' || subnet === undefined) return undefined;
  // A subnet outside the pod network could draw any traffic of this node to the peer.
  if (!cidrCovers(parseCidr(network), parseCidr(subnet))) return undefined;
  try {
    const ip = parseIp(a[annotation.publicIp] ?? '');
    if (ip.version !== 4) return undefined;
    const backendData: unknown = JSON.parse(a[annotation.backendData] ?? 'null');
    const backendType = a[annotation.backendType] ?? '';
    return { nodeName: node.metadata?.name ?? '', subnet, publicIp: formatIp(ip), backendType, backendData };
  } catch {
    return undefined; // unreadable address or JSON: the node publishes again when it is mended
  }
}

/** The MAC that this node published earlier for the same network identifier. */
export function publishedMac(node: Node, vni: number): string | undefined {
  try {
    const data = JSON.parse(node.metadata?.annotations?.[annotation.backendData] ?? 'null') as {
      readonly VNI?: unknown;
      readonly VtepMAC?: unknown;
    } | null;
    const mac = data?.VNI === vni ? data.VtepMAC : undefined;
    return typeof mac === 'string' && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) ? mac : undefined;
  } catch {
    return undefined; // somebody else's form: a new one is made
  }
}

/** The annotations to publish, all in one patch; undefined when the node has them already. */
export function leasePatch(
  node: Node,
  lease: { readonly backendType: string; readonly backendData: unknown; readonly publicIp: string },
): Patch | undefined {
  const there = node.metadata?.annotations ?? {};
  const wanted: Record<string, string> = {
    [annotation.managed]: 'true',
    [annotation.backendType]: lease.backendType,
    [annotation.backendData]: JSON.stringify(lease.backendData),
    [annotation.publicIp]: there[annotation.publicIpOverwrite] || lease.publicIp,
  };
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
