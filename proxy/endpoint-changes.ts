// EndpointSlices → endpoints per Service port, and which Services they changed. After kube-proxy's
// endpointslicecache.go.
import { isDeepStrictEqual } from 'node:util';
import type { IpVersion } from '../api/cidr.ts';
import type { Endpoint as ApiEndpoint, EndpointSlice } from '../api/kinds.ts';
import type { Logger } from '../core/log.ts';
import { canonicalIp, isEndpointAddress, isPort, joinHostPort } from './address.ts';
import { type Endpoint, type EndpointMap, isProtocol, portId, type ServiceEndpoints } from './service-map.ts';

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/** The part of a slice that rules depend on: its endpoints by `portId`, which `current` shares. */
type SliceContent = readonly (readonly [id: string, endpoints: readonly Endpoint[]])[];

export class EndpointChanges {
  readonly #family: IpVersion;
  readonly #nodeName: string;
  readonly #log: Logger;
  readonly #applied = new Map<string, Map<string, SliceContent>>();
  /** `undefined` content: the slice is gone. */
  readonly #pending = new Map<string, Map<string, SliceContent | undefined>>();
  readonly #current = new Map<string, ServiceEndpoints>();
  #endpointCount = 0;

  constructor(family: IpVersion, nodeName: string, log: Logger) {
    this.#family = family;
    this.#nodeName = nodeName;
    this.#log = log;
  }

  /** A slice was added or changed. A slice whose Service label moved must be reported gone under its old one first. */
  handle(slice: EndpointSlice): boolean {
    return this.#set(slice, readSlice(slice, this.#family, this.#nodeName, this.#log));
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
      this.#replace(key, mergeSlices([...applied.values()]));
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

/** Content of a slice of this family, `undefined` for other slices. Invalid parts are left out with a log line. */
function readSlice(slice: EndpointSlice, family: IpVersion, nodeName: string, log: Logger): SliceContent | undefined {
  if (slice.addressType !== (family === 4 ? 'IPv4' : 'IPv6')) return undefined;
  const where = { slice: `${slice.metadata?.namespace}/${slice.metadata?.name}` };
  const usable: { readonly e: ApiEndpoint; readonly ip: string }[] = [];
  for (const e of slice.endpoints ?? []) {
    const first = e.addresses?.[0];
    if (first === undefined) continue;
    const ip = canonicalIp(first, family);
    if (ip !== undefined && isEndpointAddress(ip)) usable.push({ e, ip });
    else log.warn({ ...where, address: String(first).slice(0, 64) }, 'invalid endpoint address left out');
  }
  const content: [string, Endpoint[]][] = [];
  for (const p of slice.ports ?? []) {
    const { name, port, protocol = 'TCP' } = p;
    // No name or no number is legal and means "not for proxies"; a number out of range is not.
    if (name === undefined || name === null || !port) continue;
    if (isPort(port) && isProtocol(protocol)) {
      content.push([portId(name, protocol), usable.map(({ e, ip }) => readEndpoint(e, ip, port, nodeName))]);
    } else log.warn({ ...where, port, protocol }, 'invalid EndpointSlice port left out');
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
