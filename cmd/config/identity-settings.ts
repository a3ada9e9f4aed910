// What the configuration says of the node's certificates and of the end of the node.
import type { IdentitySettings, ShutdownGroup } from './agent-config.ts';
import type { KubeletSettings } from './rules.ts';

/** Priority of what the system itself needs (class system-cluster-critical). */
const SYSTEM_CRITICAL_PRIORITY = 2_000_000_000;

type Gates = ReadonlyMap<string, boolean>;

export function identitySettings(
  c: KubeletSettings,
  bootstrapKubeconfig: string | undefined,
  gates: Gates,
): IdentitySettings {
  return {
    bootstrapKubeconfig,
    rotateCertificates: c.rotateCertificates,
    serverTlsBootstrap: c.serverTLSBootstrap,
    reloadServingFiles: gates.get('ReloadKubeletServerCertificateFile') ?? true,
    namesSuffice: gates.get('AllowDNSOnlyNodeCSR') ?? false,
  };
}

/** Groups of pods in the order in which they end with the node; none: the node goes down without waiting for pods. */
export function shutdownGroups(c: KubeletSettings, gates: Gates): readonly ShutdownGroup[] {
  if (gates.get('GracefulNodeShutdown') === false) return [];
  const byPriority = gates.get('GracefulNodeShutdownBasedOnPodPriority') === false ? [] : groupsByPriority(c);
  if (byPriority.length > 0) return byPriority;
  const [total, critical] = [seconds(c.shutdownGracePeriod), seconds(c.shutdownGracePeriodCriticalPods)];
  if (total <= 0) return [];
  return [
    { priority: 0, seconds: total - critical },
    { priority: SYSTEM_CRITICAL_PRIORITY, seconds: critical },
  ];
}

function groupsByPriority(c: KubeletSettings): ShutdownGroup[] {
  const groups = (c.shutdownGracePeriodByPodPriority ?? []) as readonly {
    readonly priority?: number;
    readonly shutdownGracePeriodSeconds?: number;
  }[];
  return groups
    .map((g) => ({ priority: g.priority ?? 0, seconds: g.shutdownGracePeriodSeconds ?? 0 }))
    .sort((a, b) => a.priority - b.priority);
}

const seconds = (ms: number): number => Math.trunc(ms / 1000);
