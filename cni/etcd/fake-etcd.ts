// A model of etcd for tests: revisions, transactions, leases on a test's clock, watches, compaction; and what a network
// does: calls take their time, fail before they reach it, or lose their answer.
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { EtcdKv, KeyEvent, KeyValue, Snapshot } from './kv.ts';

export interface FakeEtcdOptions {
  /** Called around the effect of each call; may wait, or throw instead of an answer. */
  readonly network?: (when: 'before' | 'after') => Promise<void>;
}

interface Watcher {
  readonly prefix: string;
  readonly queue: KeyEvent[][];
  wake: () => void;
}

export class FakeEtcd implements EtcdKv {
  readonly #clock: Clock;
  readonly #network: (when: 'before' | 'after') => Promise<void>;
  readonly #data = new Map<string, KeyValue>();
  readonly #leases = new Map<string, number>();
  readonly #history: { readonly revision: number; readonly event: KeyEvent }[] = [];
  readonly #watchers = new Set<Watcher>();
  #compacted = 0;
  #revision = 1;
  #nextLease = 7_587_848_390_000_000_001n;

  constructor(clock: Clock, opts: FakeEtcdOptions = {}) {
    this.#clock = clock;
    this.#network = opts.network ?? (async () => {});
  }

  /** The keys and values as they are now. */
  contents(): Map<string, string> {
    this.#expire();
    return new Map([...this.#data].map(([key, { value }]) => [key, value]));
  }

  entry(key: string): KeyValue | undefined {
    this.#expire();
    return this.#data.get(key);
  }

  /** What an administrator does with etcdctl. */
  set(key: string, value: string): void {
    this.#write(key, value, '0');
  }

  delete(key: string): void {
    if (!this.#data.delete(key)) return;
    this.#record({ type: 'delete', key });
  }

  /** Forgets history; watches that are behind fail. */
  compact(): void {
    this.#compacted = this.#revision;
    this.#history.length = 0;
  }

  /** Ends every watch, as a member that goes away does. */
  breakWatches(): void {
    for (const w of this.#watchers) {
      this.#watchers.delete(w);
      w.wake();
    }
  }

  get(key: string): Promise<KeyValue | undefined> {
    return this.#call(() => this.#data.get(key));
  }

  list(prefix: string): Promise<Snapshot> {
    return this.#call(() => ({
      revision: this.#revision,
      entries: [...this.#data.values()].filter((e) => e.key.startsWith(prefix)),
    }));
  }

  async put(key: string, value: string, leaseId: string): Promise<void> {
    await this.#call(() => this.#write(key, value, leaseId));
  }

  create(key: string, value: string, leaseId: string): Promise<boolean> {
    return this.#call(() => !this.#data.has(key) && this.#write(key, value, leaseId));
  }

  replace(entry: KeyValue, value: string, leaseId: string): Promise<boolean> {
    return this.#call(() => this.#isSame(entry) && this.#write(entry.key, value, leaseId));
  }

  remove(entry: KeyValue): Promise<boolean> {
    return this.#call(() => {
      if (!this.#isSame(entry)) return false;
      this.delete(entry.key);
      return true;
    });
  }

  grantLease(ttlSeconds: number): Promise<string> {
    return this.#call(() => {
      const id = String(this.#nextLease++);
      this.#leases.set(id, this.#clock.monotonicMs() + ttlSeconds * 1000);
      return id;
    });
  }

  async revokeLease(leaseId: string): Promise<void> {
    await this.#call(() => this.#endLease(leaseId));
  }

  leaseTimeLeft(leaseId: string): Promise<number | undefined> {
    return this.#call(() => {
      const endsMs = this.#leases.get(leaseId);
      return endsMs === undefined ? undefined : Math.ceil((endsMs - this.#clock.monotonicMs()) / 1000);
    });
  }

  async *watch(prefix: string, revision: number, signal: AbortSignal): AsyncIterable<readonly KeyEvent[]> {
    if (revision <= this.#compacted) throw new AgentError('compacted', { code: 'ETCD_FAILED', retryable: true });
    const missed = this.#history.filter((h) => h.revision >= revision && keyOf(h.event).startsWith(prefix));
    const watcher: Watcher = { prefix, queue: missed.map((h) => [h.event]), wake: () => {} };
    this.#watchers.add(watcher);
    const stop = () => watcher.wake();
    signal.addEventListener('abort', stop);
    try {
      while (!signal.aborted && this.#watchers.has(watcher)) {
        const events = watcher.queue.shift();
        if (events !== undefined) yield events;
        else await new Promise<void>((resolve) => (watcher.wake = resolve));
      }
      if (!signal.aborted) throw new AgentError('the watch ended', { code: 'ETCD_FAILED', retryable: true });
    } finally {
      signal.removeEventListener('abort', stop);
      this.#watchers.delete(watcher);
    }
  }

  close(): void {}

  async #call<T>(effect: () => T): Promise<T> {
    await this.#network('before');
    this.#expire();
    const result = effect();
    await this.#network('after');
    return result;
  }

  #write(key: string, value: string, leaseId: string): true {
    if (leaseId !== '0' && !this.#leases.has(leaseId)) {
      throw new AgentError('etcdserver: requested lease not found', { code: 'ETCD_FAILED', retryable: true });
    }
    const createRevision = this.#data.get(key)?.createRevision ?? this.#revision + 1;
    const entry = { key, value, createRevision, modRevision: this.#revision + 1, leaseId };
    this.#data.set(key, entry);
    this.#record({ type: 'put', entry });
    return true;
  }

  #isSame(entry: KeyValue): boolean {
    return this.#data.get(entry.key)?.modRevision === entry.modRevision;
  }

  #expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [id, endsMs] of this.#leases) if (endsMs <= nowMs) this.#endLease(id);
  }

  #endLease(id: string): void {
    this.#leases.delete(id);
    for (const { key, leaseId } of [...this.#data.values()]) if (leaseId === id) this.delete(key);
  }

  #record(event: KeyEvent): void {
    this.#history.push({ revision: ++this.#revision, event });
    for (const w of this.#watchers) {
      if (!keyOf(event).startsWith(w.prefix)) continue;
      w.queue.push([event]);
      w.wake();
    }
  }
}

function keyOf(event: KeyEvent): string {
  return event.type === 'put' ? event.entry.key : event.key;
}
