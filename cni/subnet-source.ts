// Where a node's part of the pod network comes from, and how it learns of the others': the control plane
// (kube-subnets.ts) or leases of our own in etcd (etcd-subnets.ts).
import type { SubnetLease } from './backend.ts';

/** Families that the pod network has, with the node's part of each; canonical networks such as `10.244.1.0/24`. */
export interface OwnSubnets {
  readonly v4?: string;
  readonly v6?: string;
}

/** What this node tells the others. Families that the network does not have are absent. */
export interface Announcement {
  readonly backendType: string;
  readonly v4?: { readonly publicIp: string; readonly backendData: unknown };
  readonly v6?: { readonly publicIp: string; readonly backendData: unknown };
}

export interface SubnetSource {
  /** Watches until `signal` aborts; calls `changed` whenever one of the answers below may be another. */
  run(changed: () => void, signal: AbortSignal): Promise<void>;
  /** The MAC that this node published earlier for the same network identifier. */
  publishedMac(version: 4 | 6, vni: number, signal: AbortSignal): Promise<string | undefined>;
  /**
   * The node's subnets; undefined while none is assigned. May take them, with what `announce` gives for others to read, and
   * prefers `previous`. @throws {AgentError} when there is none to be had.
   */
  acquire(
    announce: () => Promise<Announcement>,
    previous: OwnSubnets,
    signal: AbortSignal,
  ): Promise<OwnSubnets | undefined>;
  /** Tells the others; does nothing when they have been told. Only after `acquire` gave subnets. */
  publish(announcement: Announcement, signal: AbortSignal): Promise<void>;
  /** What other nodes publish for the network of this family, this node's own lease not among them. */
  peers(version: 4 | 6): readonly SubnetLease[];
  /** Called after every sync that left the network working. */
  markUp(signal: AbortSignal): Promise<void>;
}
