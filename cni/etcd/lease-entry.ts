// One subnet lease as it stands in etcd: its key says the subnets, its value who has them and how that node is reached.
import { type Cidr, cidrsOverlap, parseCidr } from '../../api/cidr.ts';
import type { SubnetLease } from '../backend.ts';
import type { Announcement, OwnSubnets } from '../subnet-source.ts';
import type { KeyValue } from './kv.ts';
import { type LeaseAttributes, parseAttributes, parseLeaseName, renderAttributes } from './lease-record.ts';

export interface LeaseEntry {
  readonly kv: KeyValue;
  readonly subnets: OwnSubnets;
  readonly attributes: LeaseAttributes | undefined;
}

/** Undefined for keys below `dir` that name no subnet, and for all others. */
export function readEntry(kv: KeyValue, dir: string): LeaseEntry | undefined {
  if (!kv.key.startsWith(dir)) return undefined;
  const subnets = parseLeaseName(kv.key.slice(dir.length));
  return subnets === undefined ? undefined : { kv, subnets, attributes: parseAttributes(kv.value) };
}

/** The value of a lease. */
export function renderEntryValue({ backendType, v4, v6 }: Announcement): string {
  return renderAttributes({
    publicIp: v4?.publicIp,
    publicIpv6: v6?.publicIp,
    backendType,
    backendData: v4?.backendData,
    backendV6Data: v6?.backendData,
  });
}

/** What the other nodes need of it; undefined when it has none of the family, or its value cannot be read. */
export function toLease({ kv, subnets, attributes: a }: LeaseEntry, version: 4 | 6): SubnetLease | undefined {
  const subnet = version === 4 ? subnets.v4 : subnets.v6;
  const publicIp = version === 4 ? a?.publicIp : a?.publicIpv6;
  if (a === undefined || subnet === undefined || publicIp === undefined) return undefined;
  const backendData = version === 4 ? a.backendData : a.backendV6Data;
  return {
    nodeName: kv.key.slice(kv.key.lastIndexOf('/') + 1),
    subnet,
    publicIp,
    since: kv.createRevision,
    backendType: a.backendType,
    backendData,
  };
}

export function cidrsOf({ v4, v6 }: OwnSubnets): Cidr[] {
  return [v4, v6].filter((s) => s !== undefined).map(parseCidr);
}

export function overlap(a: OwnSubnets, b: OwnSubnets): boolean {
  return cidrsOf(a).some((x) => cidrsOf(b).some((y) => cidrsOverlap(x, y)));
}
