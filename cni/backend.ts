// How packets get from one node's pods to another's: what every backend can do.

/** What one node publishes about its part of the pod network. Source: flannel's node annotations. */
export interface SubnetLease {
  readonly nodeName: string;
  /** Canonical IPv4 network, e.g. `10.244.2.0/24`. */
  readonly subnet: string;
  readonly publicIp: string;
  readonly backendType: string;
  /** Parsed annotation `backend-data`; null for backends without data. */
  readonly backendData: unknown;
}

export interface ExternalInterface {
  readonly device: string;
  readonly ip: string;
  readonly mtu: number;
}

export interface Backend {
  readonly type: 'vxlan' | 'host-gw';
  /** Makes or adopts the device. Returns what to publish and the MTU of pods. Idempotent. */
  ensureDevice(signal: AbortSignal): Promise<{ readonly backendData: unknown; readonly mtu: number }>;
  /** Makes routes and the like equal to `peers`, this node's own lease not among them. Stale ones go. Idempotent. */
  syncPeers(peers: readonly SubnetLease[], signal: AbortSignal): Promise<void>;
  /** True when a line of `ip monitor` may mean that somebody changed what this backend made. */
  concerns(monitorLine: string): boolean;
  /** Removes all that the backend made. Idempotent. */
  cleanup(signal: AbortSignal): Promise<void>;
}
