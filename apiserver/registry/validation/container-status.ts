// What the statuses of containers may say: whether one that ended runs again, as whom it runs, and how its devices are.
// Source: pkg/apis/core/validation (ValidateContainerStateTransition, validateContainerStatusUsers,
// validateContainerStatusAllocatedResourcesStatus).
import type { Container, ContainerStatus, PodSpec, ResourceStatus } from '../../../api/pod.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported } from '../field-errors.ts';

/** One of the three lists, before and after. */
export interface StatusList {
  /** Member of the status, e.g. `containerStatuses`. */
  readonly member: string;
  readonly next: readonly ContainerStatus[];
  readonly old: readonly ContainerStatus[];
}

/** A container that ended for good does not come back. */
export function revivalFaults(
  { member, next, old }: StatusList,
  mayRestart: (ended: ContainerStatus) => boolean,
): FieldError[] {
  return old.flatMap((ended, i) => {
    if (ended.state?.terminated === undefined || mayRestart(ended)) return [];
    const now = next.find((c) => c.name === ended.name);
    if (now === undefined || now.state?.terminated !== undefined) return [];
    return [forbiddenField(`status.${member}[${i}].state`, 'may not be transitioned to non-terminated state')];
  });
}

/** By the rules of the container, then its own policy, then that of the pod. */
export function mayRunAgain(spec: PodSpec, container: Container | undefined, { state }: ContainerStatus): boolean {
  const exitCode = state?.terminated?.exitCode ?? 0;
  const rulesOf = (c: Container) => c.restartPolicyRules ?? [];
  const all = [...spec.containers, ...(spec.initContainers ?? [])];
  if (all.some((c) => rulesOf(c).some((rule) => rule.action === 'RestartAllContainers'))) return true;
  if (container === undefined) return false;
  const rule = rulesOf(container).find(
    ({ exitCodes: codes }) =>
      codes !== undefined && (codes.values?.includes(exitCode) ?? false) === (codes.operator === 'In'),
  );
  if (container.restartPolicy !== undefined && rule !== undefined) return true;
  const policy = container.restartPolicy ?? spec.restartPolicy ?? 'Always';
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

const MAX_ID = 2 ** 31 - 1;

export function userFaults({ member, next }: StatusList): FieldError[] {
  return next.flatMap(({ user }, i) => {
    const linux = user?.linux;
    if (linux === undefined) return [];
    const at = `status.${member}[${i}].user.linux`;
    return [
      ...idFaults(`${at}.uid`, linux.uid),
      ...idFaults(`${at}.gid`, linux.gid),
      ...(linux.supplementalGroups ?? []).flatMap((gid, g) => idFaults(`${at}.supplementalGroups[${g}]`, gid)),
    ];
  });
}

function idFaults(field: string, id: number): FieldError[] {
  if (id >= 0 && id <= MAX_ID) return [];
  return [invalid(field, id, `must be between 0 and ${MAX_ID}, inclusive`)];
}

const HEALTHS = ['Healthy', 'Unhealthy', 'Unknown'];
const CLAIM_PREFIX = 'claim:';

/** `containers`: those of the spec that the list is about; undefined where none may have devices. */
export function deviceFaults({ member, next }: StatusList, containers: readonly Container[] | undefined): FieldError[] {
  return next.flatMap((status, i) => {
    const devices = status.allocatedResourcesStatus ?? [];
    if (devices.length === 0) return [];
    const field = `status.${member}[${i}].allocatedResourcesStatus`;
    if (containers === undefined) return [forbiddenField(field, 'must not be specified in container status')];
    const container = containers.find((c) => c.name === status.name);
    return devices.flatMap((device, j) => [
      ...(container === undefined ? [] : deviceNameFaults(`${field}[${j}].name`, device.name, container)),
      ...healthFaults(`${field}[${j}].resources`, device),
    ]);
  });
}

function deviceNameFaults(field: string, name: string, { resources }: Container): FieldError[] {
  if (!name.startsWith(CLAIM_PREFIX)) {
    const known = Object.hasOwn(resources?.requests ?? {}, name);
    return known ? [] : [invalid(field, name, "must match one of the container's resource requests")];
  }
  const claims = (resources?.claims ?? []) as readonly { readonly name: string; readonly request?: string }[];
  const known = claims.some((c) => name === `${CLAIM_PREFIX}${c.name}${c.request ? `/${c.request}` : ''}`);
  const why =
    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or " +
    "'claim:<claimName>' if request is empty";
  return known ? [] : [invalid(field, name, why)];
}

function healthFaults(field: string, { resources = [] }: ResourceStatus): FieldError[] {
  return resources.flatMap(({ resourceID, health = '' }, k) => [
    ...(HEALTHS.includes(health) ? [] : [notSupported(`${field}[${k}].health`, health, HEALTHS)]),
    ...(resources.findIndex((r) => r.resourceID === resourceID) < k
      ? [duplicate(`${field}[${k}].resourceID`, resourceID)]
      : []),
  ]);
}
