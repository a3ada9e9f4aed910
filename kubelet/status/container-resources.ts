// `allocatedResources` and `resources` of a container status. Pure.
import type { Container, ContainerStatus, EphemeralContainer, ResourceRequirements } from '../../api/pod.ts';
import { actualResources } from '../resize/actual-resources.ts';
import type { RuntimeContainer } from '../runtime/pod-runtime-status.ts';

type ResourceFields = Pick<ContainerStatus, 'allocatedResources' | 'resources'>;

/**
 * What is allocated (the resources of `spec`), and, of a running container, what it really has: by the runtime where
 * that tells, else `actuated`, which is what it was made to use last.
 */
export function resourceStatus(
  spec: Container | EphemeralContainer,
  newest: RuntimeContainer | undefined,
  actuated: ResourceRequirements | undefined,
): ResourceFields {
  const allocated = (spec as Container).resources;
  if (allocated === undefined || (allocated.requests === undefined && allocated.limits === undefined)) {
    return newest === undefined ? {} : { resources: {} };
  }
  const requests = allocated.requests === undefined ? {} : { allocatedResources: allocated.requests };
  if (newest?.state !== 'running') return { ...requests, resources: allocated };
  const known = actuated ?? allocated;
  const linux = newest.cri.resources?.linux;
  return { ...requests, resources: linux === undefined ? known : actualResources(known, linux) };
}
