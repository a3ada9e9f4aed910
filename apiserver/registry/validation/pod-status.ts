// What a pod's status may not claim. Source: pkg/apis/core/validation ValidatePodStatusUpdate.
import type { Container, ContainerStatus, Pod, PodSpec } from '../../../api/pod.ts';
import type { AnyObject } from '../definition.ts';
import { type FieldError, forbiddenField, invalid } from '../field-errors.ts';

export function podStatusFaults(nextObject: AnyObject, oldObject: AnyObject): FieldError[] {
  const next = (nextObject as Pod).status ?? {};
  const old = (oldObject as Pod).status ?? {};
  const { spec } = oldObject as Pod;
  const faults: FieldError[] = [];
  if (old.qosClass !== undefined && next.qosClass !== old.qosClass) {
    faults.push(invalid('status.qosClass', next.qosClass, 'field is immutable'));
  }
  if (spec === undefined) return faults;
  for (const [list, containers] of [
    ['containerStatuses', spec.containers],
    ['initContainerStatuses', spec.initContainers],
  ] as const) {
    const mayRestart = (status: ContainerStatus) =>
      mayRunAgain(
        spec,
        containers?.find((c) => c.name === status.name),
        status,
      );
    faults.push(...revivalFaults(next[list], old[list], `status.${list}`, mayRestart));
  }
  const path = 'status.ephemeralContainerStatuses';
  faults.push(...revivalFaults(next.ephemeralContainerStatuses, old.ephemeralContainerStatuses, path, () => false));
  return faults;
}

/** A container that ended for good does not come back. */
function revivalFaults(
  next: readonly ContainerStatus[] | undefined,
  old: readonly ContainerStatus[] | undefined,
  path: string,
  mayRestart: (ended: ContainerStatus) => boolean,
): FieldError[] {
  return (old ?? []).flatMap((ended, i) => {
    if (ended.state?.terminated === undefined || mayRestart(ended)) return [];
    const now = next?.find((c) => c.name === ended.name);
    if (now === undefined || now.state?.terminated !== undefined) return [];
    return [forbiddenField(`${path}[${i}].state`, 'may not be transitioned to non-terminated state')];
  });
}

function mayRunAgain(spec: PodSpec, container: Container | undefined, { state }: ContainerStatus): boolean {
  const all = [...spec.containers, ...(spec.initContainers ?? [])];
  // Rules of a container look at exit codes, and may restart all of them: left to the node.
  if (all.some((c) => (c.restartPolicyRules?.length ?? 0) > 0)) return true;
  const policy = container?.restartPolicy ?? spec.restartPolicy;
  return policy === 'Always' || (policy === 'OnFailure' && state?.terminated?.exitCode !== 0);
}
