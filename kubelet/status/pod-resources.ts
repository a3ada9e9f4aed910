// `allocatedResources` and `resources` of a pod's status: of the pod as a whole, or of all its containers together. Pure.
// After pkg/kubelet/kubelet_pods.go (KEP-5419); VerifyPodLevelStatus of upstream's suite wants them of every pod.
import type { ContainerStatus, Pod, PodStatus, ResourceRequirements } from '../../api/pod.ts';
import { isPodLimited, podAmounts } from '../../api/pod-resources.ts';
import { formatQuantity, type Quantity } from '../../api/quantity.ts';
import { RESIZABLE_RESOURCES, resizableContainers, withResources } from '../resize/pod-allocation.ts';

type Amounts = Record<string, string>;

/**
 * `pod` is the pod as allocated, `statuses` are those of its containers, which tell what these really have; `actuated` is
 * what the pod as a whole was made to use. Empty for a pod that neither asks for anything nor is limited.
 */
export function podResourceStatus(
  pod: Pod,
  statuses: readonly ContainerStatus[],
  actuated: ResourceRequirements | undefined,
): Pick<PodStatus, 'allocatedResources' | 'resources'> {
  const allocated = pod.spec?.resources;
  const requests = allocated?.requests ?? texts(podAmounts(pod, 'requests'));
  const resources = allocated === undefined ? together(pod, statuses) : (actuated ?? allocated);
  return {
    ...(Object.keys(requests).length === 0 ? {} : { allocatedResources: requests }),
    ...(Object.keys(resources).length === 0 ? {} : { resources }),
  };
}

/** A limit only where every container has one: with one that may use all there is, so may the pod. */
function together(pod: Pod, statuses: readonly ContainerStatus[]): ResourceRequirements {
  const known = new Map(statuses.map((s) => [s.name, s.resources]));
  const having = new Map(
    resizableContainers(pod).map((c) => [c.name, withResources(c, known.get(c.name) ?? c.resources)]),
  );
  const { containers = [], initContainers = [] } = pod.spec ?? {};
  const actual: Pod = {
    ...pod,
    spec: {
      ...pod.spec!,
      containers: containers.map((c) => having.get(c.name)!),
      initContainers: initContainers.map((c) => having.get(c.name)!),
    },
  };
  const limits = resizable(podAmounts(actual, 'limits'), (name) => isPodLimited(actual, name));
  const requests = resizable(podAmounts(actual, 'requests'));
  return {
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(Object.keys(requests).length === 0 ? {} : { requests }),
  };
}

function resizable(amounts: ReadonlyMap<string, Quantity>, counts = (_name: string) => true): Amounts {
  const names: readonly string[] = RESIZABLE_RESOURCES;
  return texts(new Map([...amounts].filter(([name]) => names.includes(name) && counts(name))));
}

function texts(amounts: ReadonlyMap<string, Quantity>): Amounts {
  return Object.fromEntries([...amounts].map(([name, amount]) => [name, formatQuantity(amount)]));
}
