// What is left to do until running containers use what their pod was given. Pure. After
// pkg/kubelet/kuberuntime/kuberuntime_manager.go IsPodResizeInProgress, computePodResizeAction.
import type { Container, Pod, ResourceRequirements } from '../../api/pod.ts';
import { findContainer, type PodRuntimeStatus, type RuntimeContainer } from '../runtime/pod-runtime-status.ts';
import { actualResources, currentResources } from './actual-resources.ts';
import type { ActuatedResources } from './allocations.ts';
import {
  compareIn,
  RESIZABLE_RESOURCES,
  type ResizableResource,
  resizableContainers,
  sameResource,
} from './pod-allocation.ts';

/** What is known of the resources that containers use. */
export type KnownResources = Pick<ActuatedResources, 'container' | 'pod'>;

/** A running container that is to use other resources. */
export interface ContainerResize {
  /** With the resources that it was given. */
  readonly container: Container;
  readonly running: RuntimeContainer;
  /** What it uses now. */
  readonly current: ResourceRequirements;
  /** What changes, and which way: less goes before more. */
  readonly changes: ReadonlyMap<ResizableResource, 'less' | 'more'>;
}

/** Undefined when `container` (as allocated), of which `running` runs, uses what it was given. */
export function containerResize(
  pod: Pod,
  container: Container,
  running: RuntimeContainer,
  known: KnownResources,
): ContainerResize | undefined {
  const uid = pod.metadata?.uid ?? '';
  const allocated = container.resources ?? {};
  const current = currentResources(known.container(uid, container.name), allocated, running);
  const ofPod = pod.spec?.resources;
  const [after, before] = [withPodLimits(allocated, ofPod), withPodLimits(current, known.pod(uid) ?? ofPod)];
  // What is not its own it may have been started with, while its pod still waits for the rest.
  const hasInherited = (resource: ResizableResource) =>
    sameResource(resource, allocated, current) && isToldToHave(resource, after, running);
  const changes = new Map(
    RESIZABLE_RESOURCES.flatMap((resource) => {
      const order = compareIn(resource, 'limits', after, before) || compareIn(resource, 'requests', after, before);
      return order === 0 || hasInherited(resource) ? [] : [[resource, order < 0 ? 'less' : 'more'] as const];
    }),
  );
  return changes.size === 0 ? undefined : { container, running, current, changes };
}

function isToldToHave(
  resource: ResizableResource,
  resources: ResourceRequirements,
  running: RuntimeContainer,
): boolean {
  const linux = running.cri.resources?.linux;
  return linux !== undefined && sameResource(resource, resources, actualResources(resources, linux));
}

/** A container without a limit of its own has that of its pod. */
function withPodLimits(own: ResourceRequirements, ofPod: ResourceRequirements | undefined): ResourceRequirements {
  return ofPod?.limits === undefined ? own : { ...own, limits: { ...ofPod.limits, ...own.limits } };
}

/** Its resize policy wants the container started anew for one of the changes, be it one of its pod's limits (KEP-5419). */
export function restartsForResize({ container, changes }: ContainerResize): boolean {
  const policies = (container.resizePolicy ?? []).filter((p) => p.restartPolicy === 'RestartContainer');
  return policies.some((p) => changes.has(p.resourceName as ResizableResource));
}

/** The pod as a whole was given other resources than its cgroup has. */
export function isPodLevelResizeDue(pod: Pod, known: KnownResources): boolean {
  const allocated = pod.spec?.resources;
  const current = known.pod(pod.metadata?.uid ?? '');
  if (allocated === undefined || current === undefined) return false;
  return RESIZABLE_RESOURCES.some((resource) => !sameResource(resource, allocated, current));
}

/** Whether `pod`, as allocated, still uses something else. What does not run is right when it is started. */
export function isResizeInProgress(pod: Pod, status: PodRuntimeStatus, known: KnownResources): boolean {
  if (isPodLevelResizeDue(pod, known)) return true;
  return resizableContainers(pod).some((container) => {
    const newest = findContainer(status, container.name);
    return newest?.state === 'running' && containerResize(pod, container, newest, known) !== undefined;
  });
}
