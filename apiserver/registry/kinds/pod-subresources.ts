// What PUT and PATCH of a pod's subresources may change: everything else is put back as it is stored. After
// pkg/registry/core/pod/strategy.go.
import type { Container, Pod, PodCondition, PodStatus } from '../../../api/pod.ts';
import type { AnyObject, UpdateSubresource } from '../definition.ts';
import { restore } from '../restore.ts';
import { ephemeralContainerFaults } from '../validation/pod.ts';
import { reconcilePodIps } from '../validation/pod-ips.ts';
import { podResizeFaults } from '../validation/pod-resize.ts';
import { podStatusFaults } from '../validation/pod-status.ts';

/** Takes the new list of ephemeral containers and nothing else. */
export const ephemeralContainers: UpdateSubresource = {
  reset(next, old) {
    const wanted = (next as Pod).spec?.ephemeralContainers;
    resetToStored(next, old);
    if (wanted === undefined) delete next.spec.ephemeralContainers;
    else next.spec.ephemeralContainers = wanted;
  },
  validate: ephemeralContainerFaults,
};

/** Takes resources of the pod and of the containers it has. */
export const resize: UpdateSubresource = {
  reset(next, old) {
    const wanted = (next as Pod).spec;
    resetToStored(next, old);
    const spec = (next as Pod).spec!;
    spec.containers = withResources(wanted?.containers ?? [], spec.containers);
    const initContainers = withResources(wanted?.initContainers ?? [], spec.initContainers ?? []);
    if (spec.initContainers !== undefined || initContainers.length > 0) spec.initContainers = initContainers;
    if (wanted?.resources === undefined) delete spec.resources;
    else spec.resources = wanted.resources;
  },
  validate: podResizeFaults,
};

/** The stored containers with the wanted resources. Another set of containers is left for validation to refuse. */
function withResources(wanted: Container[], stored: readonly Container[]): Container[] {
  if (wanted.length !== stored.length || stored.some((c, i) => c.name !== wanted[i]!.name)) return wanted;
  return stored.map(({ resources: _r, resizePolicy: _p, ...rest }, i) => {
    const { resources, resizePolicy } = wanted[i]!;
    return {
      ...rest,
      ...(resources === undefined ? {} : { resources }),
      ...(resizePolicy === undefined ? {} : { resizePolicy }),
    };
  });
}

/** Everything as stored, but for who manages which fields. */
function resetToStored(next: AnyObject, old: AnyObject): void {
  const managed = next.metadata?.managedFields;
  for (const member of Object.keys(next)) delete next[member as keyof AnyObject];
  Object.assign(next, structuredClone(old));
  if (managed === undefined) delete next.metadata!.managedFields;
  else next.metadata!.managedFields = managed;
}

/** A writer that knows nothing of generations or of the QoS class does not take them away. */
export const status: UpdateSubresource = {
  reset(next, old) {
    const known = (old as Pod).status;
    const status = (next as Pod).status;
    if (status === undefined || known === undefined) return;
    reconcilePodIps(status);
    if (!status.qosClass) restore(status, known, 'qosClass');
    if (!status.observedGeneration) restore(status, known, 'observedGeneration');
    if (status.conditions !== undefined) status.conditions = withGenerations(status.conditions, known);
  },
  validate: podStatusFaults,
};

function withGenerations(conditions: PodCondition[], { conditions: known = [] }: PodStatus): PodCondition[] {
  return conditions.map((condition) => {
    const observedGeneration = known.find((c) => c.type === condition.type)?.observedGeneration;
    if (condition.observedGeneration || observedGeneration === undefined) return condition;
    return { ...condition, observedGeneration };
  });
}
