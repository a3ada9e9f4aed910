// Pod → PodSandboxConfig (pkg/kubelet/kuberuntime/kuberuntime_sandbox.go). Pure.
import type { Container, ContainerPort, Pod } from '../../api/pod.ts';
import type { DNSConfig, IDMapping, PodSandboxConfig, PortMapping } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { sandboxLabels } from './labels.ts';
import { overheadResources, type ResourceSettings, sandboxResources } from './resources.ts';
import { namespaceOptions, sandboxSecurityContext } from './security-context.ts';

export interface SandboxConfigInput {
  readonly pod: Pod;
  readonly attempt: number;
  readonly logDirectory: string;
  /** Of the kernel; not used on the host's network. */
  readonly hostname: string;
  readonly dns: DNSConfig;
  readonly cgroupParent: string;
  readonly resources: ResourceSettings;
  /** Host ids of a pod with a user namespace of its own. */
  readonly userIds?: IDMapping | undefined;
}

export function sandboxConfig(input: SandboxConfigInput): Init<PodSandboxConfig> {
  const { pod } = input;
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  return {
    metadata: { name, namespace, uid, attempt: input.attempt },
    hostname: pod.spec?.hostNetwork ? '' : input.hostname,
    logDirectory: input.logDirectory,
    dnsConfig: input.dns,
    portMappings: (pod.spec?.containers ?? []).flatMap(portMappings),
    labels: sandboxLabels(pod),
    annotations: pod.metadata?.annotations ?? {},
    linux: {
      cgroupParent: input.cgroupParent,
      sysctls: sysctls(pod),
      overhead: overheadResources(pod, input.resources),
      resources: sandboxResources(pod, input.resources),
      securityContext: sandboxSecurityContext(pod, namespaceOptions(pod, { targetId: '', userIds: input.userIds })),
    },
  };
}

/** Slashes and dots both separate in a sysctl name, whichever comes first; the runtime wants dots. */
export function normaliseSysctl(name: string): string {
  const separator = /[./]/.exec(name)?.[0];
  if (separator !== '/') return name;
  return name.replace(/[./]/g, (c) => (c === '/' ? '.' : '/'));
}

function sysctls(pod: Pod): Record<string, string> {
  const list = pod.spec?.securityContext?.sysctls ?? [];
  return Object.fromEntries(list.map((s) => [normaliseSysctl(s.name), s.value]));
}

function portMappings(container: Container): Init<PortMapping>[] {
  const seen = new Set<string>();
  const mappings: Init<PortMapping>[] = [];
  for (const port of container.ports ?? []) {
    const key = port.name || unnamedPortKey(port);
    if (seen.has(key)) continue;
    seen.add(key);
    mappings.push({
      protocol: protocolOf(port),
      containerPort: port.containerPort,
      hostPort: port.hostPort ?? 0,
      hostIp: port.hostIP ?? '',
    });
  }
  return mappings;
}

function unnamedPortKey(port: ContainerPort): string {
  const family = port.hostIP === undefined || port.hostIP === '' ? 'any' : port.hostIP.includes(':') ? 'v6' : 'v4';
  return `${family}-${protocolOf(port)}-${port.hostIP ?? ''}:${port.containerPort}:${port.hostPort ?? 0}`;
}

function protocolOf(port: ContainerPort): PortMapping['protocol'] {
  return port.protocol === 'UDP' || port.protocol === 'SCTP' ? port.protocol : 'TCP';
}
