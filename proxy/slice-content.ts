// What rules depend on in EndpointSlices: endpoints by port, of one IP family. Pure.
import type { IpVersion } from '../api/cidr.ts';
import type { Endpoint as ApiEndpoint, EndpointSlice } from '../api/kinds.ts';
import { canonicalIp, isEndpointAddress, isPort, joinHostPort } from './address.ts';
import { type OnInvalid, shown } from './invalid-input.ts';
import { type Endpoint, isProtocol, portId, type ServiceEndpoints } from './service-map.ts';

/** Endpoints times ports; a slice with more is left out. The API server lets 20 million through. */
const MAX_ADDRESSES = 100_000;

/** The part of a slice that rules depend on: its endpoints by `portId`. */
export type SliceContent = readonly (readonly [id: string, endpoints: readonly Endpoint[]])[];

/** Content of a slice of this family, `undefined` for other slices. Invalid parts are left out and told. */
export function readSlice(
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

/** The endpoints of a Service. Of two slices with one address the later one wins, unless it terminates. */
export function mergeSlices(slices: readonly SliceContent[]): ServiceEndpoints {
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
