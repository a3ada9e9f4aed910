// One client's watch: events as they are committed, each serialised once for all who watch in the same form, written in
// the same turn. A client that does not read is cut off and resumes from its last resourceVersion.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { apiVersionOf } from '../api/resources.ts';
import type { Clock } from '../core/clock.ts';
import { type Rendering, renderItem, tableOf } from './object-form.ts';
import type { Endpoint } from './registry/registry.ts';
import type { Change } from './registry/resource-reads.ts';
import type { ItemFilter } from './registry/selectors.ts';
import { expired, type StatusError } from './status-error.ts';
import { CompactedError } from './store/store.ts';
import type { StoredItem } from './store/stored-item.ts';

export interface WatchRequest {
  readonly endpoint: Endpoint;
  readonly namespace: string;
  readonly filter: ItemFilter;
  /** Changes after this revision; undefined: from now on. */
  readonly from: number | undefined;
  /** ADDED events for what is there already come first. */
  readonly initialEvents: boolean;
  /** … and a bookmark says when they end. */
  readonly initialEventsEnd: boolean;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
  /** Why there is nothing to watch; told as an event, as kube-apiserver does. */
  readonly refusal?: StatusError | undefined;
  readonly rendering: Omit<Rendering, 'nowMs'>;
}

const BOOKMARK_INTERVAL_MS = 60_000;
/** A last bookmark this long before the end lets the client resume cheaply. */
const FINAL_BOOKMARK_MS = 2_000;
/** Bytes that may wait for a client … */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;
/** … and for how long, before it is cut off. */
const SLOW_CLIENT_MS = 5_000;

export class WatchStream {
  readonly #request: WatchRequest;
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  readonly #timers: Disposable[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #watching: Disposable | undefined;
  #slow: Disposable | undefined;
  #closed = false;

  constructor(request: WatchRequest, response: ServerResponse, clock: Clock) {
    this.#request = request;
    this.#response = response;
    this.#clock = clock;
  }

  /** Resolves when the watch has ended, whoever ended it. */
  run(message: IncomingMessage): Promise<void> {
    const response = this.#response;
    if (response.destroyed) return Promise.resolve(); // the client left while it was asked who it is: no 'close' follows
    response.setHeader('Content-Type', 'application/json');
    response.setHeader('Cache-Control', 'no-cache, private');
    response.writeHead(200);
    response.flushHeaders();
    message.socket.setNoDelay(true);
    response.once('close', () => this.#finish());
    const { refusal } = this.#request;
    if (refusal !== undefined) this.#refuse(refusal);
    else {
      response.cork();
      this.#start();
      response.uncork();
    }
    return this.#ended.promise;
  }

  #refuse(why: StatusError): void {
    this.#write(`{"type":"ERROR","object":${JSON.stringify(why.toStatus())}}\n`);
    this.#end();
  }

  #start(): void {
    const { endpoint, namespace, filter, initialEvents, initialEventsEnd, from } = this.#request;
    const { resource } = endpoint;
    const revision = initialEvents || from === undefined ? resource.revision : from;
    try {
      if (initialEvents) {
        for (const item of resource.list({ namespace, filter }).items) this.#send({ type: 'ADDED', item }, false);
        if (initialEventsEnd) this.#sendBookmark(true);
      }
      this.#watching = resource.watch(namespace, filter, revision, (change) => this.#send(change));
    } catch (err) {
      if (!(err instanceof CompactedError)) throw err;
      this.#refuse(expired(err.message));
      return;
    }
    this.#schedule();
  }

  #schedule(): void {
    const { timeoutMs, bookmarks } = this.#request;
    this.#timers.push(this.#clock.setTimer(timeoutMs, () => this.#end()));
    if (!bookmarks) return;
    if (timeoutMs > FINAL_BOOKMARK_MS) {
      this.#timers.push(this.#clock.setTimer(timeoutMs - FINAL_BOOKMARK_MS, () => this.#sendBookmark(false)));
    }
    this.#repeatBookmarks();
  }

  #repeatBookmarks(): void {
    const timer = this.#clock.setTimer(BOOKMARK_INTERVAL_MS, () => {
      this.#timers.splice(this.#timers.indexOf(timer), 1);
      if (this.#closed) return;
      this.#sendBookmark(false);
      this.#repeatBookmarks();
    });
    this.#timers.push(timer);
  }

  /** `shared`: others are likely to get the same event, so its bytes are worth keeping. */
  #send(change: Change, shared = true): void {
    const { endpoint, rendering } = this.#request;
    if (!shared || rendering.form.transform !== 'none') {
      const json = renderItem(endpoint, change.item, { ...rendering, nowMs: this.#clock.now() });
      this.#write(`{"type":"${change.type}","object":${json}}\n`);
      return;
    }
    this.#write(frameOf(endpoint, change));
  }

  /** Everything up to now has been handed over: the store publishes in the turn in which it commits. */
  #sendBookmark(initialEnd: boolean): void {
    const { endpoint, rendering } = this.#request;
    const resourceVersion = String(endpoint.resource.revision);
    const annotations = initialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    const metadata = { resourceVersion, ...annotations };
    const plain = { kind: endpoint.type.kind, apiVersion: apiVersionOf(endpoint.type), metadata };
    const { transform, metaVersion } = rendering.form;
    const object =
      transform === 'table'
        ? tableOf(endpoint, [], metadata, { ...rendering, nowMs: this.#clock.now() })
        : transform === 'partial'
          ? { kind: 'PartialObjectMetadata', apiVersion: metaVersion, metadata }
          : plain;
    this.#write(`{"type":"BOOKMARK","object":${JSON.stringify(object)}}\n`);
  }

  #write(frame: string | Buffer): void {
    if (this.#closed) return;
    this.#response.write(frame);
    if (this.#response.writableLength <= MAX_BUFFERED_BYTES || this.#slow !== undefined) return;
    this.#slow = this.#clock.setTimer(SLOW_CLIENT_MS, () => {
      this.#slow = undefined;
      if (this.#response.writableLength > MAX_BUFFERED_BYTES) this.#response.destroy();
    });
  }

  #end(): void {
    if (this.#closed) return;
    this.#response.end();
    this.#finish();
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watching?.[Symbol.dispose]();
    this.#slow?.[Symbol.dispose]();
    for (const timer of this.#timers) timer[Symbol.dispose]();
    this.#ended.resolve();
  }
}

/** Frames of an item by endpoint and event type: shared by every watcher that gets the event. */
const frames = new WeakMap<StoredItem, Map<string, Buffer>>();

function frameOf(endpoint: Endpoint, { type, item }: Change): Buffer {
  const own = frames.get(item) ?? new Map<string, Buffer>();
  if (own.size === 0) frames.set(item, own);
  const key = `${type} ${endpoint.type.group}`;
  const known = own.get(key);
  if (known !== undefined) return known;
  const text = renderItem(endpoint, item, {
    form: { transform: 'none', format: 'json', metaVersion: '' },
    includeObject: 'Metadata',
    nowMs: 0,
  });
  const frame = Buffer.from(`{"type":"${type}","object":${text}}\n`);
  own.set(key, frame);
  return frame;
}
