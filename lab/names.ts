// How a lab's parts are called and addressed, from its directory and number alone: two labs never share a name.
import { createHash } from 'node:crypto';
import path from 'node:path';

/** Numbers of the second octet pair a lab may take: 64 labs side by side on one machine. */
export const MAX_LABS = 64;
/** Addresses .10 to .249 of the lab's /24. */
export const MAX_NODES = 240;

/** Of every lab's interface on the host. */
export const HOST_LINK_PREFIX = 'ndl-';

/** What a node may be called: it becomes a host name, a directory and part of a namespace's name. */
export function isNodeName(name: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name);
}

export interface LabNames {
  /** Six hex digits of the directory's hash; part of every kernel-visible name. */
  readonly id: string;
  /** Namespace that holds the bridge between the nodes, so that the host's own firewall and sysctls stay out of it. */
  readonly switchNetns: string;
  readonly bridge: string;
  /** The host's leg into the lab network (interface names are at most 15 bytes). */
  readonly hostLink: string;
  /** Parent of all pod cgroups of the lab, relative to each hierarchy's root. */
  readonly cgroupRoot: string;
}

export function labNames(dir: string): LabNames {
  const id = createHash('sha256').update(path.resolve(dir)).digest('hex').slice(0, 6);
  return {
    id,
    switchNetns: `nodelet-${id}-switch`,
    bridge: 'lab0',
    hostLink: `${HOST_LINK_PREFIX}${id}`,
    cgroupRoot: `/nodelet-lab-${id}`,
  };
}

export function nodeNetns(id: string, node: string): string {
  return `nodelet-${id}-${node}`;
}

export interface LabAddresses {
  /** Node network of the lab, a /24. */
  readonly network: string;
  readonly prefixLength: 24;
  /** The host's (and so the API server's) address in it. */
  readonly host: string;
  readonly clusterCidr: string;
  readonly serviceCidr: string;
  readonly clusterDns: string;
}

/** Addresses of lab number `index` (0 to MAX_LABS − 1); number 0 has the ranges that Kubernetes users know. */
export function labAddresses(index: number): LabAddresses {
  return {
    network: `172.29.${100 + index}.0/24`,
    prefixLength: 24,
    host: `172.29.${100 + index}.1`,
    clusterCidr: `10.${244 - index}.0.0/16`,
    serviceCidr: '10.96.0.0/16',
    clusterDns: '10.96.0.10',
  };
}

/** Address of the node with this ordinal (1-based) in lab `index`. */
export function nodeAddress(index: number, ordinal: number): string {
  return `172.29.${100 + index}.${9 + ordinal}`;
}

/** The lowest lab number of which no address is in use yet. `used`: every IPv4 address on the host. */
export function freeLabIndex(used: readonly string[]): number | undefined {
  for (let index = 0; index < MAX_LABS; index++) {
    const prefix = `172.29.${100 + index}.`;
    if (!used.some((address) => address.startsWith(prefix))) return index;
  }
  return undefined;
}
