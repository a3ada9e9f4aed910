// Which Events are worth sending: repeats become a higher count, floods of similar ones become one, and a source that
// will not stop is cut off. After client-go tools/record/events_cache.go; decides only, sends nothing.
import { hash } from 'node:crypto';
import type { CoreEvent } from '../api/kinds.ts';
import { createStrategicMerge } from '../api/patch/strategic-diff.ts';
import type { Clock } from '../core/clock.ts';
import { TokenBucket } from './token-bucket.ts';

/** From this many different messages on, events of one reason about one object become one. */
const MAX_SIMILAR = 10;
/** … when each came within this time of the one before, ms. */
const SIMILAR_WITHIN_MS = 600_000;
/** Per source and object: 25 events at once, then one in five minutes. */
const SPAM_LIMIT = { qps: 1 / 300, burst: 25 } as const;
/** Entries kept per table; the longest unused goes first. */
const MAX_ENTRIES = 4096;
const COMBINED_PREFIX = '(combined from similar events): ';

export interface CorrelatedEvent {
  /** The whole event, for a create. */
  readonly event: CoreEvent;
  /** What to patch onto the event sent before; undefined when there is none. */
  readonly patch: unknown;
  /** Hand it back to `recordSent`. */
  readonly key: string;
}

interface Similar {
  lastMs: number;
  /** Digests of the different ones, the oldest first. */
  readonly messages: string[];
}

interface Observed {
  readonly name: string;
  readonly firstTimestamp: string | undefined;
  readonly count: number;
}

export class EventCorrelator {
  readonly #clock: Clock;
  readonly #similar = new RecentMap<Similar>(MAX_ENTRIES);
  readonly #observed = new RecentMap<Observed>(MAX_ENTRIES);
  readonly #limits = new RecentMap<TokenBucket>(MAX_ENTRIES);

  constructor(deps: { clock: Clock }) {
    this.#clock = deps.clock;
  }

  /** What to send for `event`, or undefined when its source has sent too much about this object. */
  correlate(event: CoreEvent): CorrelatedEvent | undefined {
    const { message, key } = this.#aggregate(event);
    const before = this.#observed.get(key);
    const next: CoreEvent = { ...event, message };
    if (before !== undefined) {
      next.metadata = { ...event.metadata, name: before.name };
      next.count = before.count + 1;
      if (before.firstTimestamp !== undefined) next.firstTimestamp = before.firstTimestamp;
    }
    this.#observed.set(key, observedOf(next));
    if (!this.#limitOf(event).tryTake()) return undefined;
    return { event: next, patch: before === undefined ? undefined : patchOf(next), key };
  }

  /** The server's copy of a sent event: later repeats patch that one. */
  recordSent(key: string, stored: CoreEvent): void {
    const count = Math.max(stored.count ?? 1, this.#observed.get(key)?.count ?? 1);
    this.#observed.set(key, { ...observedOf(stored), count });
  }

  /** The message and identity under which `event` counts: its own, or those of the many like it. */
  #aggregate(event: CoreEvent): { readonly message: string; readonly key: string } {
    const message = event.message ?? '';
    const group = digest(sourceKey(event), event.type, event.reason);
    const nowMs = this.#clock.monotonicMs();
    const known = this.#similar.get(group);
    const similar =
      known !== undefined && nowMs - known.lastMs <= SIMILAR_WITHIN_MS ? known : { lastMs: nowMs, messages: [] };
    similar.lastMs = nowMs;
    const said = digest(message);
    if (!similar.messages.includes(said)) similar.messages.push(said);
    this.#similar.set(group, similar);
    // The containers of a pod say the same things: to repeat itself, an event must be about the same part of the object.
    const key = digest(group, event.involvedObject.fieldPath, message);
    if (similar.messages.length < MAX_SIMILAR) return { message, key };
    similar.messages.shift(); // they stay at their bound, and the group stays combined
    return { message: COMBINED_PREFIX + message, key: group };
  }

  #limitOf(event: CoreEvent): TokenBucket {
    const key = sourceKey(event);
    const limit = this.#limits.get(key) ?? new TokenBucket(SPAM_LIMIT, { clock: this.#clock });
    this.#limits.set(key, limit);
    return limit;
  }
}

function observedOf(event: CoreEvent): Observed {
  return { name: event.metadata.name ?? '', firstTimestamp: event.firstTimestamp, count: event.count ?? 1 };
}

/** Who says something about whom. */
function sourceKey(event: CoreEvent): string {
  const { source, involvedObject: about } = event;
  const object = [about.kind, about.namespace, about.name, about.uid, about.apiVersion];
  return digest(source?.component, source?.host, ...object);
}

/** Of a fixed size: thousands of keys as long as what was said would be megabytes. */
function digest(...parts: readonly (string | undefined)[]): string {
  return hash('sha1', parts.join('\0'), 'base64');
}

/** Count, time and message are all that a repeat changes. */
function patchOf(event: CoreEvent): unknown {
  const { count: _count, lastTimestamp: _last, message: _message, ...same } = event;
  return createStrategicMerge('Event', same, event);
}

/** A map that forgets the entry unused for longest. */
class RecentMap<V> {
  readonly #max: number;
  readonly #entries = new Map<string, V>();

  constructor(max: number) {
    this.#max = max;
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#max) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }
}
