// Who processes run as, and what they may. Source: pkg/apis/core/validation ValidateSecurityContext,
// ValidatePodSecurityContext.
import type { PodSecurityContext, SecurityContext } from '../../../api/pod.ts';
import { duplicate, type FieldError, invalid, notSupported, required } from '../field-errors.ts';

const MAX_INT32 = 2_147_483_647;
const PROFILE_TYPES = ['Localhost', 'RuntimeDefault', 'Unconfined'];
const PROC_MOUNTS = ['Default', 'Unmasked'];
const CHANGE_POLICIES = ['Always', 'OnRootMismatch'];
const GROUP_POLICIES = ['Merge', 'Strict'];
const SYSCTL = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/;
const MAX_SYSCTL = 253;

interface Profile {
  readonly type?: string;
  readonly localhostProfile?: string;
}

export function securityContextFaults(context: SecurityContext | undefined, path: string): FieldError[] {
  if (context === undefined) return [];
  const { privileged, allowPrivilegeEscalation, procMount } = context;
  const faults = [...idFaults(context, path), ...profilesFaults(context, path)];
  if (procMount !== undefined && !PROC_MOUNTS.includes(procMount)) {
    faults.push(notSupported(`${path}.procMount`, procMount, PROC_MOUNTS));
  }
  if (allowPrivilegeEscalation === false) {
    const added = context.capabilities?.add ?? [];
    const why = (what: string) => `cannot set \`allowPrivilegeEscalation\` to false and ${what}`;
    if (privileged) faults.push(invalid(path, context, why('`privileged` to true')));
    if (added.includes('CAP_SYS_ADMIN')) {
      faults.push(invalid(path, context, why('`capabilities.Add` CAP_SYS_ADMIN')));
    }
  }
  return faults;
}

export function podSecurityContextFaults(context: PodSecurityContext | undefined, path: string): FieldError[] {
  if (context === undefined) return [];
  const { fsGroup, fsGroupChangePolicy, supplementalGroups = [], sysctls = [] } = context;
  const groupPolicy = (context as { supplementalGroupsPolicy?: string }).supplementalGroupsPolicy;
  const faults = [...idFaults(context, path), ...profilesFaults(context, path)];
  if (fsGroup !== undefined && !isId(fsGroup)) faults.push(idFault(`${path}.fsGroup`, fsGroup));
  supplementalGroups.forEach((id, i) => {
    if (!isId(id)) faults.push(idFault(`${path}.supplementalGroups[${i}]`, id));
  });
  if (fsGroupChangePolicy !== undefined && !CHANGE_POLICIES.includes(fsGroupChangePolicy)) {
    faults.push(notSupported(`${path}.fsGroupChangePolicy`, fsGroupChangePolicy, CHANGE_POLICIES));
  }
  if (groupPolicy !== undefined && !GROUP_POLICIES.includes(groupPolicy)) {
    faults.push(notSupported(`${path}.supplementalGroupsPolicy`, groupPolicy, GROUP_POLICIES));
  }
  const seen = new Set<string>();
  sysctls.forEach(({ name }, i) => {
    faults.push(...sysctlFaults(name, `${path}.sysctls[${i}].name`, seen));
  });
  return faults;
}

function sysctlFaults(name: string, field: string, seen: Set<string>): FieldError[] {
  if (!name) return [required(field)];
  if (name.length > MAX_SYSCTL || !SYSCTL.test(name)) {
    return [invalid(field, name, `must have at most ${MAX_SYSCTL} characters and match regex ${SYSCTL.source}`)];
  }
  // Both spellings name one parameter.
  const known = name.includes('/') ? name.replaceAll('/', '.') : name;
  if (seen.has(known)) return [duplicate(field, name)];
  seen.add(known);
  return [];
}

const isId = (id: number): boolean => Number.isInteger(id) && id >= 0 && id <= MAX_INT32;
const idFault = (field: string, id: number): FieldError =>
  invalid(field, id, `must be between 0 and ${MAX_INT32}, inclusive`);

function idFaults(context: { runAsUser?: number; runAsGroup?: number }, path: string): FieldError[] {
  return (['runAsUser', 'runAsGroup'] as const).flatMap((member) => {
    const id = context[member];
    return id === undefined || isId(id) ? [] : [idFault(`${path}.${member}`, id)];
  });
}

function profilesFaults(context: object, path: string): FieldError[] {
  const { seccompProfile, appArmorProfile } = context as { seccompProfile?: Profile; appArmorProfile?: Profile };
  return [
    ...profileFaults(seccompProfile, `${path}.seccompProfile`, 'seccomp'),
    ...profileFaults(appArmorProfile, `${path}.appArmorProfile`, 'AppArmor'),
  ];
}

function profileFaults(profile: Profile | undefined, path: string, kind: 'seccomp' | 'AppArmor'): FieldError[] {
  if (profile === undefined) return [];
  const { type, localhostProfile } = profile;
  const member = kind === 'seccomp' ? 'seccompProfile' : 'appArmorProfile';
  if (!type) return [required(`${path}.type`, `type is required when ${member} is set`)];
  if (!PROFILE_TYPES.includes(type)) return [notSupported(`${path}.type`, type, PROFILE_TYPES)];
  const field = `${path}.localhostProfile`;
  if (type !== 'Localhost') {
    const why = `can only be set when ${kind} type is Localhost`;
    return localhostProfile === undefined ? [] : [invalid(field, localhostProfile, why)];
  }
  if (!localhostProfile) return [required(field, `must be set when ${kind} type is Localhost`)];
  return kind === 'seccomp' ? pathBelowFaults(field, localhostProfile) : [];
}

/** A path that stays below the directory it is about. */
export function pathBelowFaults(field: string, value: string): FieldError[] {
  if (value.startsWith('/')) return [invalid(field, value, 'must be a relative path')];
  return value.split('/').includes('..') ? [invalid(field, value, "must not contain '..'")] : [];
}
