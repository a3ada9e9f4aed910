// The part of etcd v3 that subnet leases need, as an interface: the real client, and the model that tests use.

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  /** Revision that made the key: of two, the lower was first. */
  readonly createRevision: number;
  /** Revision of the last change of the key. */
  readonly modRevision: number;
  /** The etcd lease that the key goes away with; '0' for none. */
  readonly leaseId: string;
}

export interface Snapshot {
  /** Store revision that this is the state of. */
  readonly revision: number;
  readonly entries: readonly KeyValue[];
}

export type KeyEvent =
  | { readonly type: 'put'; readonly entry: KeyValue }
  | { readonly type: 'delete'; readonly key: string };

export interface EtcdKv {
  get(key: string, signal: AbortSignal): Promise<KeyValue | undefined>;
  /** All keys that begin with `prefix`, as of one revision. */
  list(prefix: string, signal: AbortSignal): Promise<Snapshot>;
  /** Writes a key, bound to `leaseId` unless it is '0'. */
  put(key: string, value: string, leaseId: string, signal: AbortSignal): Promise<void>;
  /** Creates a key that nobody has. False when it exists. */
  create(key: string, value: string, leaseId: string, signal: AbortSignal): Promise<boolean>;
  /** Writes a key that still is what `entry` says. False when it has changed or is gone. */
  replace(entry: KeyValue, value: string, leaseId: string, signal: AbortSignal): Promise<boolean>;
  /** Deletes a key that still is what `entry` says. False when it has changed or is gone. */
  remove(entry: KeyValue, signal: AbortSignal): Promise<boolean>;
  /** A new etcd lease; `ttlSeconds` after the last renewal its keys are deleted. */
  grantLease(ttlSeconds: number, signal: AbortSignal): Promise<string>;
  /** Ends a lease and deletes its keys. Idempotent. */
  revokeLease(leaseId: string, signal: AbortSignal): Promise<void>;
  /** Seconds that a lease has left; undefined when it is gone. */
  leaseTimeLeft(leaseId: string, signal: AbortSignal): Promise<number | undefined>;
  /**
   * Changes of keys that begin with `prefix`, from `revision` on, one list for each message. Returns when `signal`
   * aborts. @throws {AgentError} ETCD_FAILED, also when the history before `revision` is gone: list anew.
   */
  watch(prefix: string, revision: number, signal: AbortSignal): AsyncIterable<readonly KeyEvent[]>;
  close(): void;
}
