// Which kernel parameters pods may set: those that only their own namespaces feel, and what the node's owner allows
// besides (pkg/kubelet/sysctl/allowlist.go, safe_sysctls.go). Pure.
import type { Pod } from '../api/pod.ts';
import { normaliseSysctl } from './runtime/sandbox-config.ts';

/** The kernels that lack one of these are older than any that containerd 1.6 runs on. */
const SAFE_SYSCTLS: readonly string[] = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
];

/** Why the pod's sysctls are refused, undefined when they are not. `allowedUnsafe`: names, or prefixes that end in `*`. */
export function forbiddenSysctl(pod: Pod, allowedUnsafe: readonly string[]): string | undefined {
  const patterns = [...SAFE_SYSCTLS, ...allowedUnsafe.map(normaliseSysctl)];
  for (const { name: written } of pod.spec?.securityContext?.sysctls ?? []) {
    const name = normaliseSysctl(written);
    if (!patterns.some((pattern) => matches(pattern, name))) return `forbidden sysctl: "${name}" not allowlisted`;
    const shared = sharedNamespace(pod, name);
    if (shared !== undefined) return `forbidden sysctl: "${name}" not allowed with host ${shared} enabled`;
  }
  return undefined;
}

function matches(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

/** The host's namespace that the parameter would be set in. */
function sharedNamespace(pod: Pod, name: string): 'IPC' | 'Net' | undefined {
  if (pod.spec?.hostNetwork === true && name.startsWith('net.')) return 'Net';
  const isIpc = name === 'kernel.sem' || /^(kernel\.(shm|msg)|fs\.mqueue\.)/.test(name);
  return pod.spec?.hostIPC === true && isIpc ? 'IPC' : undefined;
}
