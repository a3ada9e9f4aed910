// The content of a pod's /etc/hosts (pkg/kubelet/kubelet_pods.go). Pure; byte for byte as the kubelet writes it.
import type { Pod } from '../../api/pod.ts';
import type { PodHostname } from './hostname.ts';

const STATIC_LINES = [
  '# Kubernetes-managed hosts file.',
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];

/** For a pod with a network of its own. */
export function renderEtcHosts(pod: Pod, ips: readonly string[], host: PodHostname): string {
  const names = host.domain === '' ? host.hostname : `${host.hostname}.${host.domain}\t${host.hostname}`;
  const lines = [...STATIC_LINES, ...ips.map((ip) => `${ip}\t${names}`)];
  return `${lines.join('\n')}\n${renderHostAliases(pod)}`;
}

/** For a pod on the host's network: the node's own file with a heading. */
export function renderHostNetworkEtcHosts(pod: Pod, nodeHosts: string): string {
  return `# Kubernetes-managed hosts file (host network).\n${nodeHosts}${renderHostAliases(pod)}`;
}

function renderHostAliases(pod: Pod): string {
  const aliases = pod.spec?.hostAliases ?? [];
  if (aliases.length === 0) return '';
  const lines = aliases.map((a) => [a.ip ?? '', ...(a.hostnames ?? [])].join('\t'));
  return `\n# Entries added by HostAliases.\n${lines.join('\n')}\n`;
}
