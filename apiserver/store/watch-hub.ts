// The recent past of the store and those who follow it. Events are kept for a bounded window, so that a watcher that
// comes back resumes without loss, and lists of earlier revisions can be answered by undoing them.

import { compareKeys } from './memory-index.ts';
import type { StoreEvent, StoreListener } from './store.ts';
import { CompactedError } from './store.ts';
import type { StoredItem } from './stored-item.ts';

export interface HistoryLimits {
  /** Events kept at most. */
  readonly maxEvents: number;
  /** JSON characters of kept events at most: bounds the memory that old versions of large objects hold. */
  readonly maxChars: number;
}

export const DEFAULT_HISTORY: HistoryLimits = { maxEvents: 50_000, maxChars: 128 * 1024 * 1024 };

interface Subscription {
  readonly listener: StoreListener;
  /** Revision of the last event handed over: a watch begun while a batch is published gets nothing twice. */
  seen: number;
}

export class WatchHub {
  readonly #limits: HistoryLimits;
  readonly #subscriptions = new Map<string, Set<Subscription>>();
  /** Oldest first; entries before `#head` are forgotten and trimmed away from time to time. */
  #events: StoreEvent[] = [];
  #head = 0;
  #chars = 0;
  #oldest: number;

  /** `revision`: of the state found at start; nothing before it is known. */
  constructor(revision: number, limits: HistoryLimits = DEFAULT_HISTORY) {
    this.#oldest = revision;
    this.#limits = limits;
  }

  /** A watch may start after this revision or a later one. */
  get oldestRevision(): number {
    return this.#oldest;
  }

  publish(event: StoreEvent): void {
    this.#events.push(event);
    this.#chars += event.item.body.length;
    while (this.#events.length - this.#head > this.#limits.maxEvents || this.#chars > this.#limits.maxChars) {
      this.#dropOldest();
    }
    for (const subscription of this.#subscriptions.get(event.item.root) ?? []) deliver(subscription, event);
  }

  watch(root: string, from: number, listener: StoreListener): Disposable {
    if (from < this.#oldest) throw new CompactedError(from, this.#oldest);
    const subscription: Subscription = { listener, seen: from };
    for (let i = this.#firstAfter(from); i < this.#events.length; i++) {
      const event = this.#events[i]!;
      if (event.item.root === root) deliver(subscription, event);
    }
    const subscriptions = this.#subscriptions.get(root) ?? new Set();
    this.#subscriptions.set(root, subscriptions.add(subscription));
    return { [Symbol.dispose]: () => void subscriptions.delete(subscription) };
  }

  /** `present` as it was at `revision`: every later change is undone, newest first. @throws {CompactedError} */
  undo(present: readonly StoredItem[], revision: number, root: string, keyPrefix: string): StoredItem[] {
    if (revision < this.#oldest) throw new CompactedError(revision, this.#oldest);
    const items = new Map(present.map((item) => [item.key, item]));
    const first = this.#firstAfter(revision);
    for (let i = this.#events.length - 1; i >= first; i--) {
      const { item, previous } = this.#events[i]!;
      if (item.root !== root || !item.key.startsWith(keyPrefix)) continue;
      if (previous === undefined) items.delete(item.key);
      else items.set(item.key, previous);
    }
    return [...items.values()].sort(compareKeys);
  }

  compact(revision: number): void {
    while (this.#head < this.#events.length && this.#events[this.#head]!.item.revision <= revision) this.#dropOldest();
    this.#oldest = Math.max(this.#oldest, revision);
  }

  #dropOldest(): void {
    const { item } = this.#events[this.#head]!;
    this.#oldest = item.revision;
    this.#chars -= item.body.length;
    this.#head++;
    // Trimming half at a time keeps dropping cheap on average.
    if (this.#head > 1024 && this.#head > this.#events.length / 2) {
      this.#events = this.#events.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Index of the first kept event with a revision above `revision`. */
  #firstAfter(revision: number): number {
    let low = this.#head;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#events[middle]!.item.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function deliver(subscription: Subscription, event: StoreEvent): void {
  if (event.item.revision <= subscription.seen) return;
  subscription.seen = event.item.revision;
  subscription.listener(event);
}
