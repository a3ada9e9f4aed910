// The embedded engine: the present state in memory, every write in SQLite (WAL) before it is acknowledged. Writes that
// arrive in one turn of the event loop share one transaction and one fsync. The history for watches is in memory only:
// after a restart a watcher that stood at the last revision goes on, older ones are told to list again (410).
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { KubeObject } from '../../api/meta.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { MemoryIndex } from './memory-index.ts';
import type { PutOptions, Store, StoreEvent, StoreListener, WriteResult } from './store.ts';
import { deepFreeze, encodeBody, StoredItem } from './stored-item.ts';
import { DEFAULT_HISTORY, type HistoryLimits, WatchHub } from './watch-hub.ts';

export interface SqliteStoreOptions {
  /** Made when missing, mode 0700: it holds Secrets. */
  readonly dir: string;
  /** `full`: an acknowledged write survives power loss. `normal`: it survives the end of the process only. */
  readonly durability?: 'full' | 'normal';
  readonly history?: HistoryLimits;
}

/** resourceVersion "0" has a meaning of its own, and clients compare: start well above. */
const FIRST_REVISION = 1000;
/** How often items past their time to live are looked for, ms. */
const EXPIRY_SWEEP_MS = 10_000;

interface Row {
  root: string;
  key: string;
  revision: number;
  expires: number | null;
  body: string;
}

interface PendingWrite {
  readonly root: string;
  readonly key: string;
  readonly expected: number;
  /** Absent for a deletion. */
  readonly object?: KubeObject;
  readonly ttlSeconds?: number | undefined;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (err: Error) => void;
}

export class SqliteStore implements Store {
  readonly #db: DatabaseSync;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #index = new MemoryIndex();
  readonly #hub: WatchHub;
  readonly #expiring = new Map<string, StoredItem>();
  readonly #upsert: StatementSync;
  readonly #remove: StatementSync;
  readonly #saveRevision: StatementSync;
  #revision: number;
  #pending: PendingWrite[] = [];
  #flushScheduled = false;
  #closed = false;
  #sweep: Disposable | undefined;

  /** @throws {AgentError} STORE_LOCKED when another process has it open; STORE_UNREADABLE otherwise. */
  constructor(options: SqliteStoreOptions, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'store' });
    this.#db = openDatabase(options);
    this.#upsert = this.#db.prepare(
      'INSERT INTO objects (root, key, revision, expires, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (root, key) DO ' +
        'UPDATE SET revision = excluded.revision, expires = excluded.expires, body = excluded.body',
    );
    this.#remove = this.#db.prepare('DELETE FROM objects WHERE root = ? AND key = ?');
    this.#saveRevision = this.#db.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES ('revision', ?)");
    this.#revision = this.#load();
    this.#hub = new WatchHub(this.#revision, options.history ?? DEFAULT_HISTORY);
    this.#scheduleSweep();
  }

  get revision(): number {
    return this.#revision;
  }

  get oldestRevision(): number {
    return this.#hub.oldestRevision;
  }

  get(root: string, key: string): StoredItem | undefined {
    return this.#index.get(root, key);
  }

  list(root: string, keyPrefix = ''): readonly StoredItem[] {
    return this.#index.list(root, keyPrefix);
  }

  listAt(revision: number, root: string, keyPrefix = ''): readonly StoredItem[] {
    const present = this.#index.list(root, keyPrefix);
    return revision >= this.#revision ? present : this.#hub.undo(present, revision, root, keyPrefix);
  }

  /** One process, one writer: memory is never behind. */
  barrier(): Promise<void> {
    return Promise.resolve();
  }

  put(root: string, key: string, object: KubeObject, options: PutOptions): Promise<WriteResult> {
    return this.#enqueue({ root, key, object, ...options });
  }

  delete(root: string, key: string, options: { readonly expected: number }): Promise<WriteResult> {
    return this.#enqueue({ root, key, expected: options.expected });
  }

  watch(root: string, from: number, listener: StoreListener): Disposable {
    return this.#hub.watch(root, from, listener);
  }

  compact(revision: number): void {
    this.#hub.compact(Math.min(revision, this.#revision));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#flush();
    this.#sweep?.[Symbol.dispose]();
    this.#db.close();
  }

  #load(): number {
    const rows = this.#db.prepare('SELECT root, key, revision, expires, body FROM objects').iterate();
    for (const row of rows) {
      const { root, key, revision, expires, body } = row as unknown as Row;
      this.#remember(new StoredItem(root, key, revision, body, { expiresAtMs: expires ?? undefined }));
    }
    const saved = this.#db.prepare("SELECT value FROM meta WHERE name = 'revision'").get();
    return saved === undefined ? FIRST_REVISION : Number(saved.value);
  }

  #remember(item: StoredItem): void {
    this.#index.set(item);
    if (item.expiresAtMs === undefined) this.#expiring.delete(`${item.root}${item.key}`);
    else this.#expiring.set(`${item.root}${item.key}`, item);
  }

  #forget(root: string, key: string): void {
    this.#index.delete(root, key);
    this.#expiring.delete(`${root}${key}`);
  }

  #enqueue(write: Omit<PendingWrite, 'resolve' | 'reject'>): Promise<WriteResult> {
    if (this.#closed) return Promise.reject(new AgentError('the store is closed', { code: 'STORE_CLOSED' }));
    return new Promise((resolve, reject) => {
      this.#pending.push({ ...write, resolve, reject });
      if (this.#flushScheduled) return;
      this.#flushScheduled = true;
      // After the I/O callbacks of this turn: what they write goes into the same transaction.
      setImmediate(() => this.#flush());
    });
  }

  /**
   * Commits what is pending. Synchronous from check to publication, so nobody sees a state between, and a write that
   * is not on disk is seen by nobody.
   */
  #flush(): void {
    this.#flushScheduled = false;
    const writes = this.#pending;
    if (writes.length === 0) return;
    this.#pending = [];
    const results: WriteResult[] = [];
    const events: StoreEvent[] = [];
    const before = this.#revision;
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      for (const write of writes) results.push(this.#apply(write, events));
      if (this.#revision !== before) this.#saveRevision.run(this.#revision);
      this.#db.exec('COMMIT');
    } catch (cause) {
      this.#rollback(events, before);
      const err = new AgentError(`cannot write to the store: ${errorMessage(cause)}`, {
        code: 'STORE_WRITE_FAILED',
        cause,
        retryable: true,
        hint: 'check that the disk of the store directory is not full or read-only',
      });
      this.#log.error({ err }, 'store transaction failed');
      for (const write of writes) write.reject(err);
      return;
    }
    writes.forEach((write, i) => {
      write.resolve(results[i]!);
    });
    for (const event of events) this.#hub.publish(event);
  }

  #apply(write: PendingWrite, events: StoreEvent[]): WriteResult {
    const previous = this.#index.get(write.root, write.key);
    if ((previous?.revision ?? 0) !== write.expected) return { ok: false, current: previous };
    const revision = this.#revision + 1;
    if (write.object === undefined) {
      if (previous === undefined) return { ok: false, current: undefined };
      this.#remove.run(write.root, write.key);
      this.#forget(write.root, write.key);
      const item = new StoredItem(write.root, write.key, revision, previous.body);
      events.push({ type: 'delete', item, previous });
      this.#revision = revision;
      return { ok: true, item };
    }
    const item = this.#makeItem(write, write.object, revision);
    this.#upsert.run(item.root, item.key, revision, item.expiresAtMs ?? null, item.body);
    this.#remember(item);
    events.push({ type: 'put', item, previous });
    this.#revision = revision;
    return { ok: true, item };
  }

  #makeItem(write: PendingWrite, object: KubeObject, revision: number): StoredItem {
    const body = encodeBody(object);
    object.metadata = { ...object.metadata, resourceVersion: String(revision) };
    const expiresAtMs = write.ttlSeconds === undefined ? undefined : this.#clock.now() + write.ttlSeconds * 1000;
    return new StoredItem(write.root, write.key, revision, body, { expiresAtMs, object: deepFreeze(object) });
  }

  #rollback(events: readonly StoreEvent[], revision: number): void {
    for (const { item, previous } of events.toReversed()) {
      if (previous === undefined) this.#forget(item.root, item.key);
      else this.#remember(previous);
    }
    this.#revision = revision;
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
  }

  #scheduleSweep(): void {
    this.#sweep = this.#clock.setTimer(EXPIRY_SWEEP_MS, () => {
      this.#deleteExpired();
      if (!this.#closed) this.#scheduleSweep();
    });
  }

  #deleteExpired(): void {
    const now = this.#clock.now();
    for (const item of this.#expiring.values()) {
      if (item.expiresAtMs! > now) continue;
      // A put that came meanwhile renewed it: then the expectation fails and it stays.
      this.delete(item.root, item.key, { expected: item.revision }).catch((err: unknown) =>
        this.#log.warn({ err }, 'could not delete an expired item, will retry'),
      );
    }
  }
}

function openDatabase(options: SqliteStoreOptions): DatabaseSync {
  const file = path.join(options.dir, 'store.sqlite');
  let db: DatabaseSync | undefined;
  try {
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
    db = new DatabaseSync(file, { timeout: 0 });
    // Exclusive: the file lock is kept while open, so that two servers cannot share one store.
    db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 4000');
    db.exec(`PRAGMA synchronous = ${options.durability === 'normal' ? 'NORMAL' : 'FULL'}`);
    db.exec(
      'CREATE TABLE IF NOT EXISTS objects (root TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, ' +
        'expires INTEGER, body TEXT NOT NULL, PRIMARY KEY (root, key)); ' +
        'CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)',
    );
    return db;
  } catch (cause) {
    db?.close();
    throw openError(file, cause);
  }
}

function openError(file: string, cause: unknown): AgentError {
  const SQLITE_BUSY = 5;
  if ((cause as { errcode?: number }).errcode === SQLITE_BUSY) {
    return new AgentError(`the store ${file} is in use by another process`, {
      code: 'STORE_LOCKED',
      cause,
      hint: 'stop the other API server or choose another directory',
    });
  }
  return new AgentError(`cannot open the store ${file}: ${errorMessage(cause)}`, {
    code: 'STORE_UNREADABLE',
    cause,
    hint: 'check the directory, its permissions and free space',
  });
}
