// What plugins said that a container needs, as it goes into its configuration. Of two that set the same, the one whose
// resource comes first by name counts. Pure. After pkg/kubelet/cm/devicemanager/pod_devices.go deviceRunContainerOptions.
import type { ContainerGrant } from '../managers/hint-provider.ts';
import type { DeviceGrant } from './device-types.ts';

/** Undefined when the container holds no devices. */
export function containerGrant(grants: ReadonlyMap<string, DeviceGrant>): ContainerGrant | undefined {
  if (grants.size === 0) return undefined;
  const responses = [...grants].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, grant]) => grant.response);
  const envs = responses.flatMap((r) => Object.entries(r.envs).map(([name, value]) => ({ name, value })));
  const annotations = responses.toReversed().map((r) => r.annotations);
  return {
    envs: firstOf(envs, (e) => e.name),
    mounts: firstOf(
      responses.flatMap((r) => r.mounts),
      (m) => m.containerPath,
    ).map(({ containerPath, hostPath, readOnly }) => ({
      containerPath,
      hostPath,
      readonly: readOnly,
      propagation: 'PROPAGATION_PRIVATE',
    })),
    devices: firstOf(
      responses.flatMap((r) => r.devices),
      (d) => d.containerPath,
    ),
    annotations: Object.assign({}, ...annotations) as Record<string, string>,
    cdiDevices: [...new Set(responses.flatMap((r) => r.cdiDevices.map((d) => d.name)))],
  };
}

function firstOf<T>(list: readonly T[], key: (item: T) => string): T[] {
  const first = new Map<string, T>();
  for (const item of list) if (!first.has(key(item))) first.set(key(item), item);
  return [...first.values()];
}
