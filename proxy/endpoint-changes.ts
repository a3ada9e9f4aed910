// EndpointSlices → endpoints per Service port, and which Services they changed. After kube-proxy's
// endpointslicecache.go.
import { isDeepStrictEqual } from 'node:util';
import type { IpVersion } from '../api/cidr.ts';
import type { Endpoint as ApiEndpoint, EndpointSlice } from '../api/kinds.ts';
import type { Logger } from '../core/log.ts';
import { canonicalIp, isEndpointAddress, isPort, joinHostPort } from './address.ts';
import { type OnInvalid, shown } from './invalid-input.ts';
import { type Endpoint, type EndpointMap, isProtocol, portId, type ServiceEndpoints } from './service-map.ts';

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';
/** When the change that a slice tells of began, for the latency of network programming. */
export const TRIGGER_TIME_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time';
/** Of one sync: more are a flood, whose latency the first ones tell. */
const MAX_TRIGGER_TIMES = 1_000;

/** Endpoints times ports; a slice with more is left out. The API server lets 20 million through. */
const MAX_ADDRESSES = 100_000;

/** The part of a slice that rules depend on: its endpoints by `portId`, which `current` shares. */
type SliceContent = readonly (readonly [id: string, endpoints: readonly Endpoint[]])[];

export class EndpointChanges {
  readonly #family: IpVersion;
  readonly #nodeName: string;
  readonly #onInvalid: OnInvalid;
  readonly #applied = new Map<string, Map<string, SliceContent>>();
  /** `undefined` content: the slice is gone. */
  readonly #pending = new Map<string, Map<string, SliceContent | undefined>>();
  readonly #current = new Map<string, ServiceEndpoints>();
  #endpointCount = 0;
  /** Wall ms at which the changes that wait began, as far as the API server tells. */
  #triggerTimes: number[] = [];

  /** Without `onInvalid`, what is left out is logged. */
  constructor(family: IpVersion, nodeName: string, log: Logger, onInvalid?: OnInvalid) {
    this.#family = family;
    this.#nodeName = nodeName;
    this.#onInvalid = onInvalid ?? ((note) => log.warn({ cause: note }, 'invalid parts of an EndpointSlice left out'));
  }

  /** A slice was added or changed. A slice whose Service label moved must be reported gone under its old one first. */
  handle(slice: EndpointSlice): boolean {
    const pending = this.#set(slice, readSlice(slice, this.#family, this.#nodeName, this.#onInvalid));
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
    const pending = this.#pending.get(key) ?? new Map<string, SliceContent | undefined>();
    if (isDeepStrictEqual(content, this.#applied.get(key)?.get(name))) pending.delete(name);
    else pending.set(name, content);
    if (pending.size === 0) this.#pending.delete(key);
    else this.#pending.set(key, pending);
    return this.#pending.size > 0;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The Service has slices, as far as events tell. */
  has(key: string): boolean {
    const pending = this.#pending.get(key);
    for (const content of pending?.values() ?? []) if (content !== undefined) return true;
    for (const name of this.#applied.get(key)?.keys() ?? []) if (!pending?.has(name)) return true;
    return false;
  }

  /** Moves pending slices into `current`. Returns the keys of Services that they belong to. */
  checkout(): ReadonlySet<string> {
    const changed = new Set(this.#pending.keys());
    for (const [key, slices] of this.#pending) {
      const applied = this.#applied.get(key) ?? new Map<string, SliceContent>();
      for (const [name, content] of slices) {
        if (content === undefined) applied.delete(name);
        else applied.set(name, content);
      }
      if (applied.size === 0) this.#applied.delete(key);
      else this.#applied.set(key, applied);
      // By name: which of two equal addresses wins must not depend on which slice was told of first.
      const byName = [...applied].sort(([a], [b]) => (a < b ? -1 : 1));
      this.#replace(key, mergeSlices(byName.map(([, content]) => content)));
    }
    this.#pending.clear();
    return changed;
  }

  #replace(key: string, endpoints: ServiceEndpoints): void {
    this.#endpointCount += countEndpoints(endpoints) - countEndpoints(this.#current.get(key));
    if (endpoints.size === 0) this.#current.delete(key);
    else this.#current.set(key, endpoints);
  }

  get current(): EndpointMap {
    return this.#current;
  }

  /** Over all Services and ports, usable or not: decides about large-cluster mode. */
  get endpointCount(): number {
    return this.#endpointCount;
  }
}

export function serviceKeyOf(slice: EndpointSlice): string | undefined {
  const service = slice.metadata?.labels?.[SERVICE_NAME_LABEL];
  return service === undefined || service === '' ? undefined : `${slice.metadata?.namespace ?? ''}/${service}`;
}

/** Content of a slice of this family, `undefined` for other slices. Invalid parts are left out and told. */
function readSlice(
  slice: EndpointSlice,
  family: IpVersion,
  nodeName: string,
  onInvalid: OnInvalid,
): SliceContent | undefined {
  if (slice.addressType !== (family === 4 ? 'IPv4' : 'IPv6')) return undefined;
  const usable: { readonly e: ApiEndpoint; readonly ip: string }[] = [];
  for (const e of slice.endpoints ?? []) {
    const first = e.addresses?.[0];
    if (first === undefined) continue;
    const ip = canonicalIp(first, family);
    if (ip !== undefined && isEndpointAddress(ip)) usable.push({ e, ip });
    else onInvalid(`endpoint address ${shown(first)}`);
  }
  const ports = slice.ports ?? [];
  if (usable.length * ports.length > MAX_ADDRESSES) {
    onInvalid(`${usable.length} endpoints with ${ports.length} ports, where at most ${MAX_ADDRESSES} pairs are served`);
    return [];
  }
  const content: [string, Endpoint[]][] = [];
  for (const p of ports) {
    const { name, port, protocol = 'TCP' } = p;
    // No name or no number is legal and means "not for proxies"; a number out of range is not.
    if (name === undefined || name === null || !port) continue;
    if (isPort(port) && isProtocol(protocol)) {
      content.push([portId(name, protocol), usable.map(({ e, ip }) => readEndpoint(e, ip, port, nodeName))]);
    } else onInvalid(`port ${shown(port)} of protocol ${shown(protocol)}`);
  }
  return content;
}

/** Most endpoints have none, and there are many endpoints. */
const NO_HINTS: readonly string[] = [];

function readEndpoint(e: ApiEndpoint, ip: string, port: number, nodeName: string): Endpoint {
  const hints = e.hints as { forZones?: readonly Hint[]; forNodes?: readonly Hint[] } | undefined;
  return {
    ip,
    port,
    address: joinHostPort(ip, port),
    isLocal: e.nodeName !== undefined && e.nodeName === nodeName,
    ready: e.conditions?.ready ?? true,
    serving: e.conditions?.serving ?? true,
    terminating: e.conditions?.terminating ?? false,
    zoneHints: hints?.forZones?.map((z) => z.name) ?? NO_HINTS,
    nodeHints: hints?.forNodes?.map((n) => n.name) ?? NO_HINTS,
  };
}

type Hint = { readonly name: string };

function mergeSlices(slices: readonly SliceContent[]): ServiceEndpoints {
  const byPort = new Map<string, Map<string, Endpoint>>();
  for (const [id, endpoints] of slices.flat()) {
    const byAddress = byPort.get(id) ?? new Map<string, Endpoint>();
    byPort.set(id, byAddress);
    for (const e of endpoints) {
      // The same address twice: a pod that took over the address of a terminating one wins.
      if (!byAddress.has(e.address) || !e.terminating) byAddress.set(e.address, e);
    }
  }
  const sorted = new Map<string, readonly Endpoint[]>();
  for (const [id, byAddress] of byPort) {
    if (byAddress.size > 0)
      sorted.set(
        id,
        [...byAddress.values()].sort((a, b) => (a.address < b.address ? -1 : 1)),
      );
  }
  return sorted;
}

function countEndpoints(endpoints: ServiceEndpoints | undefined): number {
  let count = 0;
  for (const list of endpoints?.values() ?? []) count += list.length;
  return count;
}
