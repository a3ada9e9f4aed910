// What a pod's status may not claim. Source: pkg/apis/core/validation ValidatePodStatusUpdate.
import type { Pod, PodCondition, PodStatus } from '../../../api/pod.ts';
import { claimsOfPod } from '../../../api/resource-claims.ts';
import type { AnyObject } from '../definition.ts';
import { duplicate, type FieldError, forbiddenField, invalid } from '../field-errors.ts';
import { nameFaults, qualifiedNameFaults } from '../metadata.ts';
import { deviceFaults, mayRunAgain, revivalFaults, type StatusList, userFaults } from './container-status.ts';
import { mirrorAnnotationFaults } from './pod.ts';
import { hostIpFaults, podIpFaults } from './pod-ips.ts';

const LISTS = ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'] as const;

export function podStatusFaults(nextObject: AnyObject, oldObject: AnyObject): FieldError[] {
  const next = (nextObject as Pod).status ?? {};
  const old = (oldObject as Pod).status ?? {};
  const isBound = Boolean((oldObject as Pod).spec?.nodeName);
  const faults = [
    ...mirrorAnnotationFaults(nextObject, oldObject),
    ...conditionFaults(next.conditions ?? []),
    ...nominationFaults(next, old, isBound),
    ...generationFaults('status.observedGeneration', next.observedGeneration ?? 0),
  ];
  if (old.qosClass !== undefined && next.qosClass !== old.qosClass) {
    faults.push(invalid('status.qosClass', next.qosClass, 'field is immutable'));
  }
  const lists = LISTS.map((member) => ({ member, next: next[member] ?? [], old: old[member] ?? [] }));
  return [
    ...faults,
    ...transitionFaults(lists, oldObject as Pod),
    ...claimFaults(nextObject as Pod),
    ...podIpFaults(next, old),
    ...hostIpFaults(next, old),
    ...lists.flatMap(userFaults),
    ...lists.flatMap((list) => deviceFaults(list, containersOf(list, oldObject as Pod))),
  ];
}

/** Types of one's own have the form of label keys. */
function conditionFaults(conditions: readonly PodCondition[]): FieldError[] {
  return conditions.flatMap(({ type, observedGeneration = 0 }, i) => [
    ...generationFaults(`status.conditions[${i}].observedGeneration`, observedGeneration),
    ...qualifiedNameFaults(`status.conditions[${i}].Type`, type),
  ]);
}

function generationFaults(field: string, generation: number): FieldError[] {
  return generation < 0 ? [invalid(field, generation, 'must be a non-negative integer')] : [];
}

/** A pod that has a node is not promised another. */
function nominationFaults(next: PodStatus, old: PodStatus, isBound: boolean): FieldError[] {
  const wanted = next.nominatedNodeName;
  if (!wanted || wanted === old.nominatedNodeName) return [];
  const field = 'status.nominatedNodeName';
  const bound = isBound ? [forbiddenField(field, 'may not be set on pods that are already bound to a node')] : [];
  return [...nameFaults(field, wanted, 'subdomain'), ...bound];
}

function transitionFaults(lists: readonly StatusList[], { spec }: Pod): FieldError[] {
  if (spec === undefined) return [];
  const all = [...spec.containers, ...(spec.initContainers ?? [])];
  return lists.flatMap((list) =>
    revivalFaults(list, (ended) => {
      if (list.member === 'ephemeralContainerStatuses') return false; // tried once, whatever the pod's policy
      const container = all.find((c) => c.name === ended.name);
      return mayRunAgain(spec, container, ended);
    }),
  );
}

function containersOf({ member }: StatusList, { spec }: Pod) {
  if (member === 'ephemeralContainerStatuses') return undefined;
  return (member === 'containerStatuses' ? spec?.containers : spec?.initContainers) ?? [];
}

/** Each is about an entry of the spec. */
function claimFaults(pod: Pod): FieldError[] {
  const { entries, statuses } = claimsOfPod(pod);
  return statuses.flatMap(({ name, resourceClaimName }, i) => {
    const field = `status.resourceClaimStatuses[${i}].name`;
    const faults: FieldError[] = [];
    if (!entries.some((e) => e.name === name)) {
      faults.push(invalid(field, name, 'must match the name of an entry in `spec.resourceClaims`'));
    }
    if (statuses.findIndex((s) => s.name === name) < i) faults.push(duplicate(field, name));
    if (resourceClaimName !== undefined) faults.push(...nameFaults(field, resourceClaimName, 'subdomain'));
    return faults;
  });
}
