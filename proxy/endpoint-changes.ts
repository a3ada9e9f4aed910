// EndpointSlices → endpoints per Service port, and which Services they changed. After kube-proxy's
// endpointslicecache.go. Slices are kept as they came, and shared with the store they came from; what rules depend on in
// them is read again when it is asked for, which for a change is little work and for 25,000 endpoints saves 6 MB.
import { isDeepStrictEqual } from 'node:util';
import type { IpVersion } from '../api/cidr.ts';
import type { EndpointSlice } from '../api/kinds.ts';
import type { Logger } from '../core/log.ts';
import { flatText } from './flat-text.ts';
import type { OnInvalid } from './invalid-input.ts';
import type { EndpointMap, ServiceEndpoints } from './service-map.ts';
import { mergeSlices, readSlice, type SliceContent } from './slice-content.ts';

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';
/** When the change that a slice tells of began, for the latency of network programming. */
export const TRIGGER_TIME_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time';
/** Of one sync: more are a flood, whose latency the first ones tell. */
const MAX_TRIGGER_TIMES = 1_000;

/** A slice that waits for a sync, with its number of endpoints. */
interface PendingSlice {
  readonly slice: EndpointSlice;
  readonly count: number;
}

export class EndpointChanges {
  readonly #family: IpVersion;
  readonly #nodeName: string;
  readonly #onInvalid: OnInvalid;
  /** By Service; slices sorted by name. */
  readonly #applied = new Map<string, readonly EndpointSlice[]>();
  /** By Service and name; `undefined`: the slice is gone. */
  readonly #pending = new Map<string, Map<string, PendingSlice | undefined>>();
  #endpointCount = 0;
  /** Wall ms at which the changes that wait began, as far as the API server tells. */
  #triggerTimes: number[] = [];

  /** Without `onInvalid`, what is left out is logged. */
  constructor(family: IpVersion, nodeName: string, log: Logger, onInvalid?: OnInvalid) {
    this.#family = family;
    this.#nodeName = nodeName;
    this.#onInvalid = onInvalid ?? ((note) => log.warn({ cause: note }, 'invalid parts of an EndpointSlice left out'));
  }

  /**
   * A slice was added or changed; it must not be changed from now on. A slice whose Service label moved must be reported
   * gone under its old one first. True when any change waits for a sync.
   */
  handle(slice: EndpointSlice): boolean {
    const pending = this.#set(slice, this.#read(slice, this.#onInvalid));
    const atMs = Date.parse(slice.metadata?.annotations?.[TRIGGER_TIME_ANNOTATION] ?? '');
    const isWaiting = this.#pending.get(serviceKeyOf(slice) ?? '')?.has(slice.metadata?.name ?? '') ?? false;
    if (!Number.isNaN(atMs) && isWaiting && this.#triggerTimes.length < MAX_TRIGGER_TIMES)
      this.#triggerTimes.push(atMs);
    return pending;
  }

  /** When the changes that wait began, wall ms; forgotten by this call. */
  takeTriggerTimes(): readonly number[] {
    const taken = this.#triggerTimes;
    this.#triggerTimes = [];
    return taken;
  }

  handleGone(slice: EndpointSlice): boolean {
    return this.#set(slice, undefined);
  }

  #set(slice: EndpointSlice, content: SliceContent | undefined): boolean {
    const key = serviceKeyOf(slice);
    const name = slice.metadata?.name;
    if (key === undefined || name === undefined) return this.#pending.size > 0;
    const pending = this.#pending.get(key) ?? new Map<string, PendingSlice | undefined>();
    const known = this.#applied.get(key)?.find((s) => s.metadata?.name === name);
    if (isDeepStrictEqual(content, known === undefined ? undefined : this.#read(known))) {
      pending.delete(name);
      if (known !== undefined) this.#replace(key, known, slice); // the store lets go of the old one
    } else pending.set(name, content === undefined ? undefined : { slice, count: countEndpoints(content) });
    if (pending.size === 0) this.#pending.delete(key);
    else this.#pending.set(flatText(key), pending);
    return this.#pending.size > 0;
  }

  #replace(key: string, known: EndpointSlice, slice: EndpointSlice): void {
    this.#applied.set(
      key,
      this.#applied.get(key)!.map((s) => (s === known ? slice : s)),
    );
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The Service has slices, as far as events tell. */
  has(key: string): boolean {
    const pending = this.#pending.get(key);
    for (const waiting of pending?.values() ?? []) if (waiting !== undefined) return true;
    return (this.#applied.get(key) ?? []).some((slice) => !pending?.has(slice.metadata!.name!));
  }

  /** Moves pending slices into `current`. Returns the keys of Services that they belong to. */
  checkout(): ReadonlySet<string> {
    const changed = new Set(this.#pending.keys());
    for (const [key, pending] of this.#pending) {
      const slices: EndpointSlice[] = [];
      for (const slice of this.#applied.get(key) ?? []) {
        if (pending.has(slice.metadata!.name!)) this.#endpointCount -= countEndpoints(this.#read(slice) ?? []);
        else slices.push(slice);
      }
      for (const waiting of pending.values()) {
        if (waiting === undefined) continue;
        slices.push(waiting.slice);
        this.#endpointCount += waiting.count;
      }
      // By name: which of two equal addresses wins must not depend on which slice was told of first.
      if (slices.length > 1) slices.sort((a, b) => (a.metadata!.name! < b.metadata!.name! ? -1 : 1));
      if (slices.length === 0) this.#applied.delete(key);
      else this.#applied.set(key, slices);
    }
    this.#pending.clear();
    return changed;
  }

  /** Endpoints by Service key, as of the last checkout; each call reads the slices. */
  get current(): EndpointMap {
    return { get: (key) => this.#endpointsOf(key) };
  }

  #endpointsOf(key: string): ServiceEndpoints | undefined {
    const slices = this.#applied.get(key);
    return slices === undefined ? undefined : mergeSlices(slices.map((slice) => this.#read(slice) ?? []));
  }

  /** Over all Services, ports and slices, usable or not: decides about large-cluster mode. */
  get endpointCount(): number {
    return this.#endpointCount;
  }

  #read(slice: EndpointSlice, onInvalid: OnInvalid = () => {}): SliceContent | undefined {
    return readSlice(slice, this.#family, this.#nodeName, onInvalid);
  }
}

export function serviceKeyOf(slice: EndpointSlice): string | undefined {
  const service = slice.metadata?.labels?.[SERVICE_NAME_LABEL];
  return service === undefined || service === '' ? undefined : `${slice.metadata?.namespace ?? ''}/${service}`;
}

function countEndpoints(content: SliceContent): number {
  return content.reduce((sum, [, endpoints]) => sum + endpoints.length, 0);
}
