// The resources of a pod apart from its pod: what containers, and the pod as a whole, were given. A pod's spec says what
// is wished for; whatever acts on the pod uses the spec with what it was given written over it (KEP-1287). Pure.
import type { Container, Pod, ResourceRequirements } from '../../api/pod.ts';
import { compareQuantities, isQuantity, parseQuantity, ZERO_QUANTITY } from '../../api/quantity.ts';

export interface PodAllocation {
  /** By name: regular and init containers. Ephemeral ones have no resources. */
  readonly containers: ReadonlyMap<string, ResourceRequirements>;
  /** Of the pod as a whole (KEP-2837). */
  readonly pod?: ResourceRequirements;
}

/** What a running container can be given more or less of. */
export type ResizableResource = 'cpu' | 'memory';

type Amounts = Readonly<Record<string, string>>;

/** All that can be resized, in the order in which it is. */
export const RESIZABLE_RESOURCES: readonly ResizableResource[] = ['memory', 'cpu'];

export function resizableContainers(pod: Pod): Container[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
}

/** What the spec of `pod` says. */
export function allocationOf(pod: Pod): PodAllocation {
  const containers = new Map(resizableContainers(pod).map((c) => [c.name, c.resources ?? {}]));
  return { containers, ...(pod.spec?.resources === undefined ? {} : { pod: pod.spec.resources }) };
}

/**
 * What the status of a pod says that it was given, where its spec may ask for something else by now; undefined where
 * that cannot be. For a pod that runs and of which nothing is on disk: to admit it with its wish might cost it its life.
 */
export function allocationShown(pod: Pod): PodAllocation | undefined {
  const { status, metadata } = pod;
  const isWaiting = status?.conditions?.some((c) => c.type === 'PodResizePending' && c.status === 'True') === true;
  const isBehind = (status?.observedGeneration ?? 0) < (metadata?.generation ?? 0);
  if (status === undefined || !(isWaiting || isBehind)) return undefined;
  const statuses = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])];
  if (statuses.every((s) => s.resources === undefined)) return undefined;
  const containers = resizableContainers(pod).map((container) => {
    const shown = statuses.find((s) => s.name === container.name);
    if (shown?.resources === undefined) return [container.name, container.resources ?? {}] as const;
    const { allocatedResources: requests = shown.resources.requests } = shown;
    return [container.name, { ...shown.resources, ...(requests === undefined ? {} : { requests }) }] as const;
  });
  // Of a pod that has none as a whole the status shows the sum over its containers.
  const ofPod = pod.spec?.resources && (status.resources ?? pod.spec.resources);
  return { containers: new Map(containers), ...(ofPod === undefined ? {} : { pod: ofPod }) };
}

/** The pod with the resources of `allocation`; `pod` itself when they are the same. */
export function withAllocation(pod: Pod, allocation: PodAllocation): Pod {
  const { spec } = pod;
  if (spec === undefined || !differs(pod, allocation)) return pod;
  const given = (c: Container): Container => withResources(c, allocation.containers.get(c.name) ?? c.resources);
  const { resources: _, ...rest } = spec;
  return {
    ...pod,
    spec: {
      ...rest,
      containers: spec.containers.map(given),
      ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(given) }),
      ...(allocation.pod === undefined ? {} : { resources: allocation.pod }),
    },
  };
}

/** The container with `resources` instead of its own. */
export function withResources(container: Container, resources: ResourceRequirements | undefined): Container {
  const { resources: _, ...rest } = container;
  return resources === undefined ? rest : { ...rest, resources };
}

/** The spec of `pod` asks for something else than `allocation`. */
export function differs(pod: Pod, allocation: PodAllocation): boolean {
  if (!sameResources(pod.spec?.resources, allocation.pod)) return true;
  return resizableContainers(pod).some((c) => {
    const given = allocation.containers.get(c.name);
    return given !== undefined && !sameResources(c.resources, given);
  });
}

/** Equal amounts of everything; `1000m` is `1`. */
export function sameResources(a: ResourceRequirements | undefined, b: ResourceRequirements | undefined): boolean {
  return a === b || (sameAmounts(a?.requests, b?.requests) && sameAmounts(a?.limits, b?.limits));
}

/** Equal requests and equal limits of `resource`. */
export function sameResource(
  resource: ResizableResource,
  a: ResourceRequirements | undefined,
  b: ResourceRequirements | undefined,
): boolean {
  return compareIn(resource, 'limits', a, b) === 0 && compareIn(resource, 'requests', a, b) === 0;
}

/** Negative, zero or positive; what is not set counts as nothing. */
export function compareIn(
  resource: ResizableResource,
  list: 'requests' | 'limits',
  a: ResourceRequirements | undefined,
  b: ResourceRequirements | undefined,
): number {
  const [left, right] = [a?.[list]?.[resource], b?.[list]?.[resource]];
  if (left === right) return 0;
  const amount = (text: string | undefined) => (text === undefined ? ZERO_QUANTITY : parseQuantity(text));
  return compareQuantities(amount(left), amount(right));
}

/** `from` with the requests and limits of `resource` that `to` has. */
export function replaceResource(
  resource: ResizableResource,
  from: ResourceRequirements,
  to: ResourceRequirements,
): ResourceRequirements {
  const lists = (['limits', 'requests'] as const).flatMap((list) => {
    const { [resource]: _, ...kept } = from[list] ?? {};
    const wanted = to[list]?.[resource];
    const amounts: Amounts = wanted === undefined ? kept : { ...kept, [resource]: wanted };
    return Object.keys(amounts).length === 0 ? [] : [[list, amounts] as const];
  });
  const { limits: _, requests: __, ...rest } = to;
  return { ...rest, ...Object.fromEntries(lists) };
}

function sameAmounts(a: Amounts = {}, b: Amounts = {}): boolean {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => b[name] !== undefined && sameAmount(a[name] ?? '', b[name]));
}

/** What is no amount equals nothing but itself; whoever looks closer at it will refuse it. */
function sameAmount(a: string, b: string): boolean {
  if (a === b) return true;
  return isQuantity(a) && isQuantity(b) && compareQuantities(parseQuantity(a), parseQuantity(b)) === 0;
}
