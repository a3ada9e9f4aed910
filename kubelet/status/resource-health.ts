// How well the devices are that containers were given. Pure. After UpdateAllocatedResourcesStatus of
// pkg/kubelet/cm/devicemanager (KEP-4680): regular containers alone.
import type { ContainerStatus, ResourceStatus } from '../../api/pod.ts';

/** Undefined for a container that holds no devices. */
export type ResourceHealthOf = (container: string) => ResourceStatus[] | undefined;

/** Devices are given back when all is over (`isTerminal`); what was said of them last stays. */
export function withResourceHealth(
  statuses: ContainerStatus[],
  previous: readonly ContainerStatus[] = [],
  { resourceHealth, isTerminal }: { readonly resourceHealth?: ResourceHealthOf; readonly isTerminal: boolean },
): ContainerStatus[] {
  if (resourceHealth === undefined) return statuses;
  return statuses.map((status) => {
    const before = previous.find((s) => s.name === status.name)?.allocatedResourcesStatus;
    const health = resourceHealth(status.name) ?? (isTerminal ? before : undefined);
    return health === undefined ? status : { ...status, allocatedResourcesStatus: health };
  });
}
