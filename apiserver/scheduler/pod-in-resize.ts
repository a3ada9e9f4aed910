// What a pod takes of its node while it is being resized: the most of what it wants, what the node promised and what it
// has, until the node is done. After k8s.io/component-helpers/resource with UseStatusResources.
import type { Container, ContainerStatus, Pod, PodSpec, PodStatus, ResourceRequirements } from '../../api/pod.ts';
import { compareQuantities, parseQuantity } from '../../api/quantity.ts';

type Amounts = Readonly<Record<string, string>>;

/** Status members on which the amounts depend; of the pod as a whole since KEP-5419. */
interface Reported {
  readonly resources?: ResourceRequirements;
  readonly allocatedResources?: Amounts;
}

/** `pod` with the requests that count now. The same object when its status says nothing else than its spec. */
export function withCountedRequests(pod: Pod): Pod {
  const { spec, status } = pod;
  if (spec === undefined || !isReported(status)) return pod;
  const infeasible =
    status.conditions?.some((c) => c.type === 'PodResizePending' && c.reason === 'Infeasible') ?? false;
  const counted = countedSpec(spec, status, infeasible);
  return { ...pod, spec: counted };
}

function isReported(status: PodStatus | undefined): status is PodStatus {
  const isSet = (s: Reported) => s.resources !== undefined;
  return status !== undefined && (isSet(status as Reported) || allStatuses(status).some(isSet));
}

function allStatuses(status: PodStatus): ContainerStatus[] {
  return [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])];
}

function countedSpec(spec: PodSpec, status: PodStatus, infeasible: boolean): PodSpec {
  const counted = (container: Container) => {
    const reported = allStatuses(status).find((c) => c.name === container.name);
    const requests = countedRequests(container.resources, reported, infeasible);
    return requests === undefined ? container : { ...container, resources: { ...container.resources, requests } };
  };
  // Init containers that end run before the others: they count as they are asked for.
  const initContainers = spec.initContainers?.map((c) => (c.restartPolicy === 'Always' ? counted(c) : c));
  const requests = spec.resources && countedRequests(spec.resources, status as Reported, infeasible);
  return {
    ...spec,
    containers: spec.containers.map(counted),
    ...(initContainers && { initContainers }),
    ...(requests && { resources: { ...spec.resources, requests } }),
  };
}

/** Undefined: as the spec says. */
function countedRequests(
  wanted: ResourceRequirements | undefined,
  reported: Reported | undefined,
  infeasible: boolean,
): Record<string, string> | undefined {
  if (reported?.resources === undefined) return undefined;
  // What the node says it can never do takes nothing.
  return largest([infeasible ? undefined : wanted?.requests, reported.resources.requests, reported.allocatedResources]);
}

function largest(lists: readonly (Amounts | undefined)[]): Record<string, string> {
  const result: Record<string, string> = {};
  for (const list of lists) {
    for (const [name, amount] of Object.entries(list ?? {})) {
      const known = result[name];
      if (known === undefined || compareQuantities(parseQuantity(amount), parseQuantity(known)) > 0) {
        result[name] = amount;
      }
    }
  }
  return result;
}

/** Changes whenever the amounts may have: most changes of a status do not change it. */
export function amountsVersion({ metadata, status }: Pod): string {
  if (!isReported(status)) return String(metadata?.generation);
  const pending = status.conditions?.find((c) => c.type === 'PodResizePending')?.reason;
  const { resources, allocatedResources } = status as Reported;
  const containers = allStatuses(status).map((c) => [c.name, c.resources?.requests, c.allocatedResources]);
  return JSON.stringify([metadata?.generation, pending, resources?.requests, allocatedResources, containers]);
}
