// Pods and what may change in them. Source: pkg/apis/core/validation ValidatePod, ValidatePodUpdate.
import { isDeepStrictEqual } from 'node:util';
import { isMirrorPod, MIRROR_ANNOTATION, type Pod, type PodSpec, type Toleration } from '../../../api/pod.ts';
import type { AnyObject } from '../definition.ts';
import { type FieldError, forbiddenField, invalid } from '../field-errors.ts';
import { noEphemeralFaults, podSpecFaults } from './pod-spec.ts';

const MIRROR_FIELD = `metadata.annotations[${MIRROR_ANNOTATION}]`;
const UPDATE_TEXT =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,' +
  '`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),' +
  '`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

export function podFaults(object: AnyObject): FieldError[] {
  const { metadata, spec } = object as Pod;
  const mirrored = metadata?.annotations?.[MIRROR_ANNOTATION];
  const why = 'must set spec.nodeName if mirror pod annotation is set';
  const lost = mirrored === undefined || spec?.nodeName ? [] : [invalid(MIRROR_FIELD, mirrored, why)];
  return [...lost, ...podSpecFaults(spec, 'spec')];
}

/** What comes later through a subresource is no fault of a pod that has it. */
export function podCreateFaults(object: AnyObject): FieldError[] {
  return noEphemeralFaults((object as Pod).spec, 'spec', 'cannot be set on create');
}

/** What shows a static pod does so for as long as it lives, and nothing else begins to. */
export function mirrorAnnotationFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const [after, before] = [next, old].map((o) => o.metadata?.annotations?.[MIRROR_ANNOTATION]);
  if (after === before) return [];
  const what = before === undefined ? 'may not add' : 'may not remove or update';
  return [forbiddenField(MIRROR_FIELD, `${what} mirror pod annotation`)];
}

export function podUpdateFaults(nextObject: AnyObject, oldObject: AnyObject): FieldError[] {
  const next = (nextObject as Pod).spec;
  const old = (oldObject as Pod).spec;
  const mirror = mirrorAnnotationFaults(nextObject, oldObject);
  if (next === undefined || old === undefined || isDeepStrictEqual(next, old)) return mirror;
  const faults = [...mirror, ...deadlineFaults(next, old), ...gateFaults(next, old), ...tolerationFaults(next, old)];
  faults.push(...selectorFaults(next, old));
  if (next.containers.length !== old.containers.length) {
    faults.push(forbiddenField('spec.containers', 'pod updates may not add or remove containers'));
  }
  if ((next.initContainers?.length ?? 0) !== (old.initContainers?.length ?? 0)) {
    faults.push(forbiddenField('spec.initContainers', 'pod updates may not add or remove containers'));
  }
  if (faults.length === 0 && !isDeepStrictEqual(withoutMutable(next, old), withoutMutable(old, old))) {
    faults.push(forbiddenField('spec', UPDATE_TEXT));
  }
  return faults;
}

function deadlineFaults(next: PodSpec, old: PodSpec): FieldError[] {
  const [wanted, known] = [next.activeDeadlineSeconds, old.activeDeadlineSeconds];
  if (known === undefined || wanted === known) return [];
  if (wanted === undefined) {
    return [invalid('spec.activeDeadlineSeconds', wanted, 'must not update from a positive integer to nil value')];
  }
  return wanted > known
    ? [invalid('spec.activeDeadlineSeconds', wanted, 'must be less than or equal to previous value')]
    : [];
}

function gateFaults(next: PodSpec, old: PodSpec): FieldError[] {
  const known = new Set((old.schedulingGates ?? []).map((gate) => gate.name));
  return (next.schedulingGates ?? []).flatMap(({ name }, i) => {
    const why = `only deletion is allowed, but found new scheduling gate '${name}'`;
    return known.has(name) ? [] : [forbiddenField(`spec.schedulingGates[${i}].name`, why)];
  });
}

/** Who holds a pod back with a gate may narrow where it goes, not widen it. */
function selectorFaults(next: PodSpec, old: PodSpec): FieldError[] {
  if ((old.schedulingGates?.length ?? 0) === 0) return [];
  const widened = Object.entries(old.nodeSelector ?? {}).some(([key, value]) => next.nodeSelector?.[key] !== value);
  const why = 'only additions are allowed to spec.nodeSelector (no mutations or deletions)';
  return widened ? [invalid('spec.nodeSelector', next.nodeSelector, why)] : [];
}

/** Of a kept toleration only tolerationSeconds may differ. */
function tolerationFaults(next: PodSpec, old: PodSpec): FieldError[] {
  const same = (a: Toleration, b: Toleration) =>
    isDeepStrictEqual({ ...a, tolerationSeconds: 0 }, { ...b, tolerationSeconds: 0 });
  const lost = (old.tolerations ?? []).some((t) => !(next.tolerations ?? []).some((n) => same(t, n)));
  if (!lost) return [];
  return [forbiddenField('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds')];
}

/** `spec` with what may change taken from `old`, so that the rest can be compared. */
function withoutMutable(spec: PodSpec, old: PodSpec): PodSpec {
  const gated = (old.schedulingGates?.length ?? 0) > 0;
  const images = <T extends { image?: string; imagePullPolicy?: string }>(list: readonly T[] | undefined) =>
    list?.map((c) => ({ ...c, image: '' }));
  const { containers, initContainers, activeDeadlineSeconds: _d, tolerations: _t, schedulingGates: _g, ...rest } = spec;
  const fixed: Record<string, unknown> = {
    ...rest,
    containers: images(containers),
    initContainers: images(initContainers),
  };
  if (spec.terminationGracePeriodSeconds === 1 && (old.terminationGracePeriodSeconds ?? 0) < 0) {
    fixed.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds;
  }
  if (gated) {
    const { nodeAffinity: _n, ...affinity } = spec.affinity ?? {};
    delete fixed.nodeSelector;
    fixed.affinity = affinity;
  }
  return fixed as unknown as PodSpec;
}

/** What is there stays as it is; further ones may follow. */
export function ephemeralContainerFaults(nextObject: AnyObject, oldObject: AnyObject): FieldError[] {
  if (isMirrorPod(oldObject as Pod)) {
    return [forbiddenField('', 'static pods do not support ephemeral containers')];
  }
  const next = (nextObject as Pod).spec?.ephemeralContainers ?? [];
  const faults: FieldError[] = [];
  for (const known of (oldObject as Pod).spec?.ephemeralContainers ?? []) {
    const same = next.find((c) => c.name === known.name);
    if (same === undefined) {
      const text = `existing ephemeral containers "${known.name}" may not be removed`;
      faults.push(forbiddenField('spec.ephemeralContainers', text));
    } else if (!isDeepStrictEqual(same, known)) {
      const text = `existing ephemeral containers "${known.name}" may not be changed`;
      faults.push(forbiddenField('spec.ephemeralContainers', text));
    }
  }
  return [...faults, ...podSpecFaults((nextObject as Pod).spec, 'spec')];
}
