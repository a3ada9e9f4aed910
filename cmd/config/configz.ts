// The configuration that is in effect, as KubeletConfiguration v1beta1 and KubeProxyConfiguration v1alpha1: what GET /configz
// answers on the ports of either (cmd/kubelet/app/server.go). Test frameworks decode it, and people copy it into files.

import { printed } from './field.ts';
import { KINDS } from './fields.ts';
import { kubeletFields } from './kubelet-fields.ts';
import { proxyFields } from './proxy-fields.ts';
import type { KubeletSettings, ProxyFileSettings } from './rules.ts';

/** `effective`: fields whose value depends on more than the files. */
export function renderConfigz(c: KubeletSettings, effective: Partial<KubeletSettings>): Record<string, unknown> {
  const { apiVersion } = KINDS.KubeletConfiguration;
  return { kind: 'KubeletConfiguration', apiVersion, ...printed(kubeletFields, { ...c, ...effective }) };
}

export function renderProxyConfigz(
  c: ProxyFileSettings,
  effective: Partial<ProxyFileSettings>,
): Record<string, unknown> {
  const { apiVersion } = KINDS.KubeProxyConfiguration;
  return { kind: 'KubeProxyConfiguration', apiVersion, ...printed(proxyFields, { ...c, ...effective }) };
}
