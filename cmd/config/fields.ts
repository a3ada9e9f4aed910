// The kinds of documents a configuration file may hold, and NodeletConfiguration: what has no upstream name.
import { type Fields, field, none } from './field.ts';
import { kubeletFields } from './kubelet-fields.ts';
import { clusterCidr, proxyFields } from './proxy-fields.ts';
import { absolutePath, bool, filePath, int, list, oneOf, text } from './values.ts';

export const nodeletFields = {
  /** Range of all pods, for the proxy and the pod network. */
  clusterCIDR: field('used', clusterCidr, ''),
  cniBinDir: field(
    none('the runtime calls the plugins; nodelet doctor looks for them there'),
    absolutePath,
    '/opt/cni/bin',
  ),
  cniConfDir: field('used', absolutePath, '/etc/cni/net.d'),
  containerLogsDir: field('used', absolutePath, '/var/log/containers'),
  /** set: as the kubelet does, unless protectKernelDefaults says to check only; leave: neither. */
  kernelParameters: field('used', oneOf('set', 'leave'), 'set'),
  subnetFile: field('used', absolutePath, '/run/flannel/subnet.env'),
  networkBackend: field('used', oneOf('vxlan', 'host-gw', 'none'), 'vxlan'),
  vni: field('used', int(1, 16_777_215), 1),
  vxlanPort: field('used', int(1, 65_535), 8472),
  /** Peers on the same link are reached by plain routes. */
  vxlanDirectRouting: field('used', bool, false),
  /** What the external interface is taken to carry, bytes; 0: its own MTU. */
  networkMTU: field('used', int(0, 65_535), 0),
  /** Form of the pod network's rules; '' follows the proxy mode. */
  networkRules: field('used', oneOf('iptables', 'nftables'), ''),
  /** For control planes that assign no podCIDR: subnets are leased here. */
  etcdEndpoints: field('used', list(text), []),
  etcdPrefix: field('used', absolutePath, '/coreos.com/network'),
  etcdCAFile: field('used', filePath, ''),
  etcdCertFile: field('used', filePath, ''),
  etcdKeyFile: field('used', filePath, ''),
  etcdUsername: field('used', text, ''),
  etcdPassword: field('used', text, ''),
  /** Subnet leases are renewed so long before they end, minutes. */
  subnetLeaseRenewMargin: field('used', int(1, 1439), 60),
} satisfies Fields;

export type ConfigKind = 'KubeletConfiguration' | 'KubeProxyConfiguration' | 'NodeletConfiguration';

export interface KindTable {
  readonly apiVersion: string;
  readonly fields: Fields;
}

export const KINDS: Readonly<Record<ConfigKind, KindTable>> = {
  KubeletConfiguration: { apiVersion: 'kubelet.config.k8s.io/v1beta1', fields: kubeletFields },
  KubeProxyConfiguration: { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', fields: proxyFields },
  NodeletConfiguration: { apiVersion: 'nodelet.dev/v1alpha1', fields: nodeletFields },
};
