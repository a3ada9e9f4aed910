// What the pod network is told: fields of NodeletConfiguration, and flanneld's flags that stand alone.
import { isIPv4, isIPv6 } from 'node:net';
import type { EtcdSettings, NetworkSettings } from './agent-config.ts';
import type { Settled } from './field.ts';
import type { nodeletFields } from './fields.ts';

export type NodeletFields = Settled<typeof nodeletFields>;

export interface NetworkInput {
  readonly nodelet: NodeletFields;
  /** One range, or one of each family. */
  readonly clusterCidr: string;
  readonly proxyMode: string;
  /** --node-ip, or --public-ip: addresses of an interface of this host. */
  readonly nodeIps: readonly string[];
  /** The value of a flag that was given. */
  readonly flag: (name: string) => unknown;
  readonly fault: (problem: string) => void;
}

export function networkSettings(input: NetworkInput): NetworkSettings {
  const { nodelet: c, clusterCidr, flag } = input;
  const form = c.networkRules || (input.proxyMode === 'nftables' ? 'nftables' : 'iptables');
  return {
    backend: c.networkBackend || 'vxlan',
    clusterCidr: rangeOf(4, clusterCidr),
    clusterCidrV6: rangeOf(6, clusterCidr),
    vni: c.vni,
    port: c.vxlanPort,
    directRouting: c.vxlanDirectRouting,
    mtu: c.networkMTU === 0 ? undefined : c.networkMTU,
    rules: {
      form,
      masquerade: flag('ip-masq') !== false,
      forward: flag('iptables-forward-rules') !== false,
      randomFully: flag('ip-masq-fully-random-disable') !== true,
    },
    wishes: wishes(input),
    annotationPrefix: (flag('kube-annotation-prefix') as string | undefined) || 'flannel.alpha.coreos.com',
    setCondition: flag('set-node-network-unavailable') !== false,
    etcd: c.etcdEndpoints.length === 0 || flag('kube-subnet-mgr') === true ? undefined : etcdSettings(c),
  };
}

function wishes({ nodeIps, flag, fault }: NetworkInput): NetworkSettings['wishes'] {
  const text = (name: string) => (flag(name) as string | undefined) || undefined;
  const regexes = (flag('iface-regex') as readonly string[] | undefined) ?? [];
  for (const regex of regexes) {
    try {
      new RegExp(regex);
    } catch {
      fault(`--iface-regex=${regex}: expected a regular expression`);
    }
  }
  const v6 = text('public-ipv6');
  if (v6 !== undefined && !isIPv6(v6)) fault(`--public-ipv6=${v6}: expected an IPv6 address`);
  const reach = text('iface-can-reach');
  if (reach !== undefined && !isIPv4(reach) && !isIPv6(reach))
    fault(`--iface-can-reach=${reach}: expected an IP address`);
  const publicV4 = nodeIps.find(isIPv4);
  const publicV6 = v6 ?? nodeIps.find(isIPv6);
  return {
    ifaces: (flag('iface') as readonly string[] | undefined) ?? [],
    regexes,
    ...(reach === undefined ? {} : { canReach: reach }),
    publicIps: {
      ...(publicV4 === undefined ? {} : { v4: publicV4 }),
      ...(publicV6 === undefined ? {} : { v6: publicV6 }),
    },
  };
}

function etcdSettings(c: NodeletFields): EtcdSettings {
  return {
    endpoints: c.etcdEndpoints,
    prefix: c.etcdPrefix,
    caFile: c.etcdCAFile,
    certFile: c.etcdCertFile,
    keyFile: c.etcdKeyFile,
    username: c.etcdUsername,
    password: c.etcdPassword,
    renewMarginMs: c.subnetLeaseRenewMargin * 60_000,
  };
}

/** The range of one family in a list; '' when it has none. */
export function rangeOf(version: 4 | 6, cidrs: string): string {
  const isOf = version === 4 ? isIPv4 : isIPv6;
  const ranges = cidrs.split(',').map((range) => range.trim());
  return ranges.find((range) => isOf(range.split('/')[0]!)) ?? '';
}
