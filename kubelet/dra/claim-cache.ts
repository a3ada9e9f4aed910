// The claims that drivers have prepared, or may have, for pods of this node, in memory and on disk. A claim is in it from
// before a driver is first asked until all its drivers have let go of it. After pkg/kubelet/cm/dra/claiminfo.go.
import path from 'node:path';
import { CheckpointWriter } from '../checkpoint-writer.ts';
import { type ClaimRecord, keyOf, type PreparedDevice, readClaims, renderClaims } from './claim-checkpoint.ts';
import { STATE_FILE } from './lazy-claims.ts';

export interface ClaimId {
  readonly namespace: string;
  readonly name: string;
}

export interface KnownClaim extends ClaimRecord {
  readonly podUids: Set<string>;
  readonly drivers: Map<string, readonly PreparedDevice[]>;
  /** All drivers have prepared it since this agent began: those that were started anew meanwhile may have forgotten. */
  isPrepared: boolean;
}

export class ClaimCache {
  readonly #claims = new Map<string, KnownClaim>();
  readonly #writer: CheckpointWriter;

  /** Reads what is in `rootDir`. @throws {AgentError} DRA_STATE_UNREADABLE */
  constructor(rootDir: string) {
    const file = path.join(rootDir, STATE_FILE);
    const records = readClaims(file);
    for (const record of records) this.#claims.set(keyOf(record), known(record));
    // Synced: drivers keep what they do over a power cut too.
    const opts = { durable: true, stored: renderClaims(records) };
    this.#writer = new CheckpointWriter(file, () => renderClaims(this.#claims.values()), opts);
  }

  get(id: ClaimId): KnownClaim | undefined {
    return this.#claims.get(keyOf(id));
  }

  /** The claim, known from now on, with `podUid` among its pods. */
  reference(id: ClaimId & { readonly uid: string }, drivers: readonly string[], podUid: string): KnownClaim {
    const before = this.get(id);
    const claim = before ?? known({ ...id, podUids: new Set(), drivers: new Map(drivers.map((d) => [d, []])) });
    this.#claims.set(keyOf(id), claim);
    claim.podUids.add(podUid);
    return claim;
  }

  delete(id: ClaimId): void {
    this.#claims.delete(keyOf(id));
  }

  ofPod(podUid: string): KnownClaim[] {
    return [...this.#claims.values()].filter((claim) => claim.podUids.has(podUid));
  }

  podUids(): Set<string> {
    return new Set([...this.#claims.values()].flatMap((claim) => [...claim.podUids]));
  }

  all(): Iterable<KnownClaim> {
    return this.#claims.values();
  }

  /** Resolves when all that was changed before is on disk. @throws what writing throws; call again. */
  async save(): Promise<void> {
    await this.#writer.save();
  }
}

function known(record: ClaimRecord): KnownClaim {
  return {
    uid: record.uid,
    name: record.name,
    namespace: record.namespace,
    podUids: new Set(record.podUids),
    drivers: new Map(record.drivers),
    isPrepared: false,
  };
}
