// "Do X not before T" for many keys with one timer: a binary heap of due times. One key is due at most once; setting
// it again moves it. After the kubelet's work queue (pkg/kubelet/util/queue) and kwok's delaying queue.
import type { Clock } from './clock.ts';

interface Entry<K> {
  readonly key: K;
  readonly dueMs: number;
  readonly seq: number;
}

export class DueQueue<K> implements Disposable {
  readonly #clock: Clock;
  readonly #onDue: (key: K) => void;
  #heap: Entry<K>[] = [];
  readonly #current = new Map<K, Entry<K>>();
  #seq = 0;
  #timer: Disposable | undefined;
  #timerDueMs = Number.POSITIVE_INFINITY;
  #draining = false;

  /** `onDue` is called once for each key that became due; it must not throw and should hand long work on. */
  constructor(clock: Clock, onDue: (key: K) => void) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  get size(): number {
    return this.#current.size;
  }

  /** Monotonic ms at which `key` is due, undefined when it is not queued. */
  dueMs(key: K): number | undefined {
    return this.#current.get(key)?.dueMs;
  }

  /** Makes `key` due in `delayMs`, replacing an earlier or later due time. */
  set(key: K, delayMs: number): void {
    this.setAt(key, this.#clock.monotonicMs() + Math.max(0, delayMs));
  }

  /** Makes `key` due at monotonic time `dueMs`. */
  setAt(key: K, dueMs: number): void {
    const entry: Entry<K> = { key, dueMs, seq: this.#seq++ };
    this.#current.set(key, entry);
    push(this.#heap, entry);
    this.#compactIfStale();
    this.#arm();
  }

  /** Like `set`, but keeps an earlier due time. */
  setEarlier(key: K, delayMs: number): void {
    const dueMs = this.#clock.monotonicMs() + Math.max(0, delayMs);
    const current = this.#current.get(key);
    if (current === undefined || dueMs < current.dueMs) this.setAt(key, dueMs);
  }

  delete(key: K): void {
    this.#current.delete(key); // the heap entry is stale now and is skipped when it surfaces
    if (this.#current.size === 0) {
      this.#heap = [];
      this.#disarm();
    }
  }

  [Symbol.dispose](): void {
    this.#current.clear();
    this.#heap = [];
    this.#disarm();
  }

  #drain(): void {
    this.#disarm();
    this.#draining = true;
    const nowMs = this.#clock.monotonicMs();
    for (let top = this.#heap[0]; top !== undefined && top.dueMs <= nowMs; top = this.#heap[0]) {
      pop(this.#heap);
      if (this.#current.get(top.key) !== top) continue;
      this.#current.delete(top.key);
      this.#onDue(top.key);
    }
    this.#draining = false;
    this.#arm();
  }

  #arm(): void {
    if (this.#draining) return;
    while (this.#heap[0] !== undefined && this.#current.get(this.#heap[0].key) !== this.#heap[0]) pop(this.#heap);
    const top = this.#heap[0];
    if (top === undefined) {
      this.#disarm();
      return;
    }
    if (this.#timer !== undefined && this.#timerDueMs <= top.dueMs) return;
    this.#disarm();
    this.#timerDueMs = top.dueMs;
    this.#timer = this.#clock.setTimer(top.dueMs - this.#clock.monotonicMs(), () => this.#drain());
  }

  #disarm(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#timerDueMs = Number.POSITIVE_INFINITY;
  }

  /** Keys that are set again and again would fill the heap with stale entries; rebuild when most are stale. */
  #compactIfStale(): void {
    if (this.#heap.length < 64 || this.#heap.length < 4 * this.#current.size) return;
    this.#heap = [];
    for (const entry of this.#current.values()) push(this.#heap, entry);
  }
}

function before<K>(a: Entry<K>, b: Entry<K>): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.seq < b.seq);
}

function push<K>(heap: Entry<K>[], entry: Entry<K>): void {
  let i = heap.length;
  heap.push(entry);
  while (i > 0) {
    const parent = (i - 1) >> 1;
    if (before(heap[parent]!, entry)) break;
    heap[i] = heap[parent]!;
    i = parent;
  }
  heap[i] = entry;
}

function pop<K>(heap: Entry<K>[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let i = 0;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (before(last, heap[child]!)) break;
    heap[i] = heap[child]!;
    i = child;
  }
  heap[i] = last;
}
