// The kernel's switches without which it passes nothing on between pods and nodes.
import type { Sysctl } from '../host/sysctl.ts';
import type { OwnSubnets } from './subnet-source.ts';

/** Sets them for the families of `networks`. Returns those that the kernel does not have: br_netfilter is not loaded. */
export async function setForwarding(sysctl: Sysctl, networks: OwnSubnets, device: string): Promise<readonly string[]> {
  const bridgeCalls: string[] = [];
  if (networks.v4 !== undefined) {
    await sysctl.set('net/ipv4/ip_forward', '1');
    bridgeCalls.push('net/bridge/bridge-nf-call-iptables');
  }
  if (networks.v6 !== undefined) {
    // A host that forwards no longer takes its default route from router advertisements, unless told so with 2.
    const acceptRa = `net/ipv6/conf/${device}/accept_ra`;
    if ((await sysctl.read(acceptRa)) === '1') await sysctl.set(acceptRa, '2');
    await sysctl.set('net/ipv6/conf/all/forwarding', '1');
    bridgeCalls.push('net/bridge/bridge-nf-call-ip6tables');
  }
  const missing: string[] = [];
  for (const name of bridgeCalls) if (!(await sysctl.set(name, '1'))) missing.push(name);
  return missing;
}
