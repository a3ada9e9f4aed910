// `allocatedResourcesStatus` of a container that uses claims: how well each device is that it was given. Pure. After
// pkg/kubelet/cm/dra/manager.go UpdateAllocatedResourcesStatus (KEP-4680).
import type { Container, Pod, ResourceHealth, ResourceStatus } from '../../api/pod.ts';
import { claimsOfPod, type PodResourceClaim } from '../../api/resource-claims.ts';
import type { ClaimCache } from './claim-cache.ts';
import { claimNameOf } from './claim-names.ts';
import { isMeant } from './container-devices.ts';
import type { DeviceHealth } from './device-health.ts';

/** Undefined for a container that uses no claims, or whose claims nothing is known of yet. */
export function claimHealth(
  pod: Pod,
  container: Container,
  cache: Pick<ClaimCache, 'get'>,
  health: Pick<DeviceHealth, 'of'>,
): ResourceStatus[] | undefined {
  const used = (container.resources?.claims ?? []) as readonly { readonly name: string; readonly request?: string }[];
  if (used.length === 0) return undefined;
  const namespace = pod.metadata?.namespace ?? '';
  const { entries } = claimsOfPod(pod);
  const statuses = used.flatMap(({ name: entryName, request = '' }): ResourceStatus[] => {
    const name = claimOf(pod, entries, entryName);
    const claim = name === undefined ? undefined : cache.get({ namespace, name });
    const resources = new Map<string, ResourceHealth>();
    for (const [driver, devices] of claim?.drivers ?? []) {
      for (const { poolName, deviceName, requestNames, cdiDeviceIds } of devices) {
        // A request for one of several alternatives is served by its first part.
        if (!isMeant([request.split('/')[0]!], requestNames)) continue;
        const resourceID = cdiDeviceIds[0] ?? `${driver}/${poolName}/${deviceName}`;
        if (!resources.has(resourceID))
          resources.set(resourceID, { resourceID, ...health.of(driver, poolName, deviceName) });
      }
    }
    const label = request === '' ? `claim:${entryName}` : `claim:${entryName}/${request}`;
    return resources.size === 0 ? [] : [{ name: label, resources: [...resources.values()] }];
  });
  return statuses.length === 0 ? undefined : statuses;
}

/** Undefined also while it has not been made: a status says nothing of it then. */
function claimOf(pod: Pod, entries: readonly PodResourceClaim[], entryName: string): string | undefined {
  const entry = entries.find((e) => e.name === entryName);
  try {
    return entry === undefined ? undefined : claimNameOf(pod, entry)?.name;
  } catch {
    return undefined;
  }
}
