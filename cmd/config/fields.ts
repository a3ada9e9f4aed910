// The kinds of documents a configuration file may hold, and NodeletConfiguration: what has no upstream name.
import { type Fields, field } from './field.ts';
import { kubeletFields } from './kubelet-fields.ts';
import { clusterCidr, proxyFields } from './proxy-fields.ts';
import { absolutePath, int, oneOf } from './values.ts';

export const nodeletFields = {
  /** Range of all pods, for the proxy and the pod network. */
  clusterCIDR: field('used', clusterCidr, ''),
  cniBinDir: field('used', absolutePath, '/opt/cni/bin'),
  cniConfDir: field('used', absolutePath, '/etc/cni/net.d'),
  containerLogsDir: field('used', absolutePath, '/var/log/containers'),
  subnetFile: field('used', absolutePath, '/run/flannel/subnet.env'),
  networkBackend: field('used', oneOf('vxlan', 'host-gw', 'none'), 'vxlan'),
  vni: field('used', int(1, 16_777_215), 1),
  vxlanPort: field('used', int(1, 65_535), 8472),
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
