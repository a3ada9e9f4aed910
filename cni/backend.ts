// How packets get from one node's pods to another's: what every backend can do.

/** What one node publishes about its part of the pod network. Source: flannel's node annotations. */
export interface SubnetLease {
  readonly nodeName: string;
  /** Canonical network of one family, e.g. `10.244.2.0/24`. */
  readonly subnet: string;
  readonly publicIp: string;
  readonly backendType: string;
  /** When the subnet was claimed, on a scale of its source that nodes cannot set themselves: the earlier, the less. */
  readonly since: number;
  /** Parsed `backend-data` or `backend-v6-data`; null for backends without data. */
  readonly backendData: unknown;
}

/** The interface that carries what goes to other nodes, with its address of the family in question. */
export interface ExternalInterface {
  readonly device: string;
  readonly ip: string;
  readonly mtu: number;
}

/** One family of one way to reach other nodes. */
export interface Backend {
  readonly type: 'vxlan' | 'host-gw';
  readonly version: 4 | 6;
  /** What this node publishes, as far as it is known before it has a subnet. */
  announce(signal: AbortSignal): Promise<unknown>;
  /**
   * Makes or adopts the device for this node's `subnet`. Returns what to publish and the MTU of pods. Idempotent.
   */
  ensureDevice(subnet: string, signal: AbortSignal): Promise<{ readonly backendData: unknown; readonly mtu: number }>;
  /** Makes routes and the like equal to `peers`, this node's own lease not among them. Stale ones go. Idempotent. */
  syncPeers(peers: readonly SubnetLease[], signal: AbortSignal): Promise<void>;
  /** True when a line of `ip monitor` may mean that somebody changed what this backend made. */
  concerns(monitorLine: string): boolean;
  /** Removes all that the backend made. Idempotent. */
  cleanup(signal: AbortSignal): Promise<void>;
}
