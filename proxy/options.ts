// What the rules of one IP family depend on besides Services, endpoints and the node's topology.
import { isDeepStrictEqual } from 'node:util';
import type { IpVersion } from '../api/cidr.ts';

/** How packets of pods on this node are told from others (KubeProxyConfiguration detectLocalMode). */
export type LocalTraffic =
  | { readonly by: 'cidr'; readonly cidr: string }
  | { readonly by: 'interface'; readonly name: string }
  | { readonly by: 'interface-prefix'; readonly prefix: string };

export interface RuleOptions {
  readonly family: IpVersion;
  /** The bit of the packet mark that asks for masquerading; upstream's default is 14. */
  readonly masqueradeBit: number;
  readonly masqueradeAll: boolean;
  /** Undefined: nothing is known about pod addresses, rules that need it are left out. */
  readonly localTraffic: LocalTraffic | undefined;
  /** IPv4 and iptables only: node ports answer on 127.0.0.1. */
  readonly localhostNodePorts: boolean;
  /** Addresses on which node ports answer; undefined means all of the node. */
  readonly nodePortIps: readonly string[] | undefined;
  /** Addresses of this node in this family. */
  readonly nodeIps: readonly string[];
  /** `MASQUERADE --random-fully`: iptables 1.6.2 and later. */
  readonly randomFully: boolean;
  /** False when nf_conntrack_tcp_be_liberal is set: then INVALID packets are let through (iptables only). */
  readonly dropInvalid: boolean;
  /** Counters of the kernel (nfacct) that rules may feed, by name (iptables only). Default none. */
  readonly packetCounters?: ReadonlySet<string>;
}

/** Addresses of the node, which come and go while the proxy runs. */
export type NodeAddresses = Pick<RuleOptions, 'nodePortIps' | 'nodeIps'>;

export function areSameAddresses(a: NodeAddresses, b: NodeAddresses): boolean {
  return isDeepStrictEqual([a.nodePortIps, a.nodeIps], [b.nodePortIps, b.nodeIps]);
}

/** `0x004000` for bit 14. */
export function markText(bit: number): string {
  return `0x${(2 ** bit).toString(16).padStart(6, '0')}`;
}
