// What a resize may change: cpu and memory of containers, init containers and the pod as a whole. Source:
// pkg/apis/core/validation ValidatePodResize.
import { isDeepStrictEqual } from 'node:util';
import { type Container, isMirrorPod, type Pod, type PodSpec, type ResourceRequirements } from '../../../api/pod.ts';
import { qosClassOf } from '../defaults/qos.ts';
import type { AnyObject } from '../definition.ts';
import { type FieldError, forbiddenField, invalid } from '../field-errors.ts';
import { podSpecFaults } from './pod-spec.ts';

const LISTS = ['containers', 'initContainers'] as const;
type List = (typeof LISTS)[number];

/** `next` has been reset to `old` but for resources and resizePolicy, or holds other containers than `old`. */
export function podResizeFaults(nextObject: AnyObject, oldObject: AnyObject): FieldError[] {
  const next = nextObject as Pod;
  const old = oldObject as Pod;
  // The fields of these two have no path upstream either.
  if (isMirrorPod(old)) {
    return [forbiddenField('', 'static pods cannot be resized')];
  }
  if (old.spec?.os?.name === 'windows') return [forbiddenField('', 'windows pods cannot be resized')];
  const spec = next.spec ?? { containers: [] };
  const known = old.spec ?? { containers: [] };
  const faults = podSpecFaults(spec, 'spec');
  const moved = LISTS.flatMap((list) => identityFaults(spec, known, list));
  if (moved.length > 0) return [...faults, ...moved];
  if (faults.length === 0 && qosOf(old, known) !== qosClassOf(spec)) {
    const why = 'Pod QOS Class may not change as a result of resizing';
    faults.push(invalid('spec', old.status?.qosClass, why));
  }
  if (!nodeCanResize(old)) faults.push(forbiddenField('spec', 'Pod running on node without support for resize'));
  faults.push(...removalFaults(spec.resources, known.resources, 'spec.resources'));
  for (const list of [...LISTS].reverse()) {
    (known[list] ?? []).forEach((container, i) => {
      faults.push(...removalFaults(spec[list]![i]!.resources, container.resources, `spec.${list}[${i}].resources`));
    });
  }
  return [...faults, ...immutableFaults(spec, known)];
}

function qosOf(pod: Pod, spec: PodSpec): string {
  return pod.status?.qosClass || qosClassOf(spec);
}

/** Containers stay what and where they are. */
function identityFaults(next: PodSpec, old: PodSpec, list: List): FieldError[] {
  const [wanted, known] = [next[list] ?? [], old[list] ?? []];
  if (wanted.length !== known.length) {
    return [forbiddenField(`spec.${list}`, `${list} may not be added or removed on resize`)];
  }
  return known.flatMap((container, i) =>
    wanted[i]!.name === container.name
      ? []
      : [forbiddenField(`spec.${list}[${i}].name`, `${list} may not be renamed or reordered on resize`)],
  );
}

/** A node that does not report what running containers got would not act on a resize. */
function nodeCanResize(pod: Pod): boolean {
  const running = pod.status?.containerStatuses?.find((c) => c.state?.running !== undefined);
  return running === undefined || running.resources !== undefined;
}

/** What was asked for once can be changed, not withdrawn. */
function removalFaults(
  next: ResourceRequirements | undefined,
  old: ResourceRequirements | undefined,
  path: string,
): FieldError[] {
  return (['requests', 'limits'] as const).flatMap((list) =>
    Object.keys(old?.[list] ?? {}).some((name) => next?.[list]?.[name] === undefined)
      ? [forbiddenField(`${path}.${list}`, `resource ${list} cannot be removed`)]
      : [],
  );
}

function immutableFaults(next: PodSpec, old: PodSpec): FieldError[] {
  const faults: FieldError[] = [];
  for (const list of LISTS) {
    (old[list] ?? []).forEach((container, i) => {
      if (isDeepStrictEqual(fixedPart(next[list]![i]!), fixedPart(container))) return;
      const which = list === 'containers' ? '' : ` for ${isSidecar(container) ? 'sidecar' : 'init'} containers`;
      faults.push(forbiddenField('spec', `only cpu and memory resources${which} are mutable`));
    });
  }
  if (!isDeepStrictEqual(fixedResources(next.resources), fixedResources(old.resources))) {
    faults.push(forbiddenField('spec', 'only cpu and memory resources are mutable'));
  }
  return faults;
}

function isSidecar(container: Container): boolean {
  return container.restartPolicy === 'Always';
}

/** The container without what may change. Its resizePolicy stays, as in kube-apiserver. */
function fixedPart({ resources, ...rest }: Container) {
  return { ...rest, resources: fixedResources(resources) };
}

function fixedResources(resources: ResourceRequirements | undefined) {
  const others = (list: Readonly<Record<string, string>> | undefined) => {
    const { cpu: _c, memory: _m, ...rest } = list ?? {};
    return rest;
  };
  return {
    requests: others(resources?.requests),
    limits: others(resources?.limits),
    claims: resources?.claims ?? [],
  };
}
