// Kubernetes Events: what a user sees under "Events:" in `kubectl describe`. Recording never waits; one background
// task sends, in order. After client-go tools/record.
import type { CoreEvent, ObjectReference } from '../api/kinds.ts';
import { formatTime } from '../api/meta.ts';
import { events } from '../api/resources.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Rush } from '../core/rush.ts';
import type { ApiClient } from './api-client.ts';
import { ApiError, isAlreadyExists, isNamespaceTerminating, isNotFound } from './errors.ts';
import { type CorrelatedEvent, EventCorrelator } from './event-correlator.ts';

export type EventType = 'Normal' | 'Warning';

export interface EventRecorder {
  /**
   * Records that `reason` happened to `about`. Never throws and never waits: sending, aggregation and rate limits
   * happen in the background (client-go tools/record). `annotations` are the Event's own.
   */
  event(
    about: ObjectReference,
    type: EventType,
    reason: string,
    message: string,
    annotations?: Readonly<Record<string, string>>,
  ): void;
}

export interface EventSource {
  /** E.g. `kubelet`. */
  readonly component: string;
  /** Node name. */
  readonly host?: string;
}

/** Events waiting to be sent; the oldest are dropped beyond this. */
const MAX_QUEUED = 1000;
const MAX_TRIES = 12;
const RETRY_MS = 10_000;
/** How long a stopping recorder may go on sending what was recorded before, ms. */
const FLUSH_MS = 2_000;
/** An event comes at most this late because more urgent work goes on, ms. */
const RUSH_HOLD_MS = 5_000;
/** Runtime errors can be long; etcd takes 1.5 MB. Characters. */
const MAX_MESSAGE_LENGTH = 8192;
/** Of any object's name. A pod's own may be so long already that nothing fits behind it. Characters. */
const MAX_NAME_LENGTH = 253;
/** Namespace of events about objects that have none. */
const CLUSTER_NAMESPACE = 'default';

export interface EventRecorderDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
  /**
   * How long the first event after a quiet time is kept back, ms: what it tells of is still going on, and its status
   * should not have to queue behind it in the API server. Default 0.
   */
  readonly holdMs?: number;
  /** Events that are younger than `RUSH_HOLD_MS` wait until it is over. */
  readonly rush?: Pick<Rush, 'over'>;
}

interface QueuedEvent {
  readonly event: CoreEvent;
  readonly recordedMs: number;
}

export class ApiEventRecorder implements EventRecorder {
  readonly #client: ApiClient;
  readonly #source: EventSource;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #holdMs: number;
  readonly #rush: Pick<Rush, 'over'> | undefined;
  readonly #correlator: EventCorrelator;
  readonly #queue: QueuedEvent[] = [];
  #dropped = 0;
  #named = 0;
  #wake: (() => void) | undefined;

  constructor(client: ApiClient, source: EventSource, deps: EventRecorderDeps) {
    this.#client = client;
    this.#source = source;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'events' });
    this.#random = deps.random ?? Math.random;
    this.#holdMs = deps.holdMs ?? 0;
    this.#rush = deps.rush;
    this.#correlator = new EventCorrelator({ clock: deps.clock });
  }

  event(
    about: ObjectReference,
    type: EventType,
    reason: string,
    message: string,
    annotations?: Readonly<Record<string, string>>,
  ): void {
    this.#record(this.#compose(this.#source.component, about, type, reason, message), annotations);
  }

  /** A recorder for another component of this node, whose events are sent in one order with these. */
  of(component: string): EventRecorder {
    return {
      event: (about, type, reason, message, annotations) =>
        this.#record(this.#compose(component, about, type, reason, message), annotations),
    };
  }

  #record(event: CoreEvent, annotations: Readonly<Record<string, string>> | undefined): void {
    if (this.#queue.length >= MAX_QUEUED) {
      this.#queue.shift();
      this.#dropped++;
    }
    if (annotations !== undefined) event.metadata = { ...event.metadata, annotations };
    this.#queue.push({ event, recordedMs: this.#clock.monotonicMs() });
    this.#wake?.();
  }

  /** Sends until `signal` aborts, then for at most two seconds what is still queued. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const hard = new AbortController();
    let timer: Disposable | undefined;
    const onStop = () => {
      timer = this.#clock.setTimer(FLUSH_MS, () => hard.abort());
      this.#wake?.();
    };
    if (signal.aborted) onStop();
    else signal.addEventListener('abort', onStop, { once: true });
    try {
      while (!hard.signal.aborted) {
        const next = this.#queue.shift();
        if (next !== undefined) {
          await this.#rush?.over(next.recordedMs + RUSH_HOLD_MS - this.#clock.monotonicMs(), signal);
          await this.#send(next.event, signal, hard.signal);
        } else if (signal.aborted) return;
        else await this.#waitForEvent(signal);
      }
      this.#log.warn({ lost: this.#queue.length }, 'events were not sent in time');
    } finally {
      signal.removeEventListener('abort', onStop);
      timer?.[Symbol.dispose]();
    }
  }

  async #waitForEvent(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
    if (this.#holdMs > 0) await this.#clock.sleep(this.#holdMs, signal);
  }

  #compose(component: string, about: ObjectReference, type: EventType, reason: string, message: string): CoreEvent {
    const nowMs = this.#clock.now();
    const time = formatTime(nowMs);
    // client-go uses nanoseconds; a counter in their place keeps two events of one millisecond apart.
    const stamp = BigInt(nowMs) * 1_000_000n + BigInt(this.#named++ % 1_000_000);
    const speaking = `${about.name ?? ''}.${stamp.toString(16)}`;
    const name = speaking.length > MAX_NAME_LENGTH ? crypto.randomUUID() : speaking;
    const namespace = about.namespace || CLUSTER_NAMESPACE;
    const { host } = this.#source;
    return {
      metadata: { name, namespace },
      involvedObject: about,
      reason,
      message: message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH)}…` : message,
      type,
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
      source: { component, ...(host === undefined ? {} : { host }) },
      reportingComponent: component,
      reportingInstance: host ?? '',
    };
  }

  async #send(event: CoreEvent, signal: AbortSignal, hard: AbortSignal): Promise<void> {
    if (this.#dropped > 0) {
      this.#log.warn({ dropped: this.#dropped }, 'too many events at once, the oldest were dropped');
      this.#dropped = 0;
    }
    const correlated = this.#correlator.correlate(event);
    if (correlated === undefined) return;
    for (let attempt = 1; ; attempt++) {
      try {
        this.#correlator.recordSent(correlated.key, await this.#deliver(correlated, hard));
        return;
      } catch (err) {
        if (isFinal(err) || signal.aborted || attempt >= MAX_TRIES) {
          // It exists: an earlier try was stored, and its answer lost.
          const isAsWished = isAlreadyExists(err) || isNamespaceTerminating(err);
          if (!isAsWished) this.#log.warn({ err, reason: event.reason, attempt }, 'event not sent');
          return;
        }
        // Spread the first wait: all nodes lose the server at the same time.
        await this.#clock.sleep(attempt === 1 ? RETRY_MS * this.#random() : RETRY_MS, signal);
      }
    }
  }

  async #deliver(correlated: CorrelatedEvent, signal: AbortSignal): Promise<CoreEvent> {
    const { event, patch } = correlated;
    const { name = '', namespace = CLUSTER_NAMESPACE } = event.metadata;
    if (patch !== undefined) {
      try {
        return await this.#client.patch(events, { namespace, name }, { type: 'strategic', body: patch }, { signal });
      } catch (err) {
        if (!isNotFound(err)) throw err; // expired after an hour: make it anew, with its count
      }
    }
    return this.#client.create(events, { namespace }, event, { signal });
  }
}

/** The server understood and refused, or failed on this one, as it does where a webhook for Events does: it would again. */
function isFinal(err: unknown): boolean {
  return err instanceof ApiError && (!err.retryable || err.httpStatus === 500);
}
