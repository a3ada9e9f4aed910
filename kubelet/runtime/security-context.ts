// Security contexts of pod and container → CRI (pkg/kubelet/kuberuntime/security_context.go, pkg/securitycontext). Pure.
import path from 'node:path';
import { type Pod, podDescription, type SecurityContext } from '../../api/pod.ts';
import type {
  IDMapping,
  Image,
  LinuxContainerSecurityContext,
  LinuxSandboxSecurityContext,
  NamespaceOption,
  SecurityProfile,
} from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { ContainerConfigError } from './config-error.ts';
import type { AnyContainer } from './labels.ts';

const MASKED_PATHS = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];
const MAX_ID = 2_147_483_647;

export interface SecuritySettings {
  /** seccompDefault: RuntimeDefault instead of Unconfined where nothing is said. */
  readonly seccompDefault: boolean;
  /** `<root>/seccomp`: where Localhost profiles are. */
  readonly seccompDir: string;
  /** Further paths hidden from containers: `/sys/devices/system/cpu/cpu<N>/thermal_throttle` where they exist. */
  readonly extraMaskedPaths: readonly string[];
}

interface Profile {
  readonly type: string;
  readonly localhostProfile?: string;
}

/** Pod level overridden, field by field, by the container's. */
function effectiveSecurityContext(pod: Pod, container: AnyContainer): SecurityContext & { appArmorProfile?: Profile } {
  const { seLinuxOptions, runAsUser, runAsGroup, runAsNonRoot } = pod.spec?.securityContext ?? {};
  const fromPod = withoutUndefined({ seLinuxOptions, runAsUser, runAsGroup, runAsNonRoot });
  return { ...fromPod, ...withoutUndefined(container.securityContext ?? {}) };
}

/** @throws {ContainerConfigError} when the container must not run as root and would, or a profile has no name. */
export function containerSecurityContext(
  pod: Pod,
  container: AnyContainer,
  image: Image | undefined,
  namespaces: Init<NamespaceOption>,
  settings: SecuritySettings,
): Init<LinuxContainerSecurityContext> {
  const effective = effectiveSecurityContext(pod, container);
  if (effective.runAsNonRoot) verifyNonRoot(pod, container, effective.runAsUser, image);
  const unmasked = effective.procMount === 'Unmasked';
  const apparmor = appArmorProfile(pod, container);
  return {
    ...runAs(effective.runAsUser, image),
    ...(effective.runAsGroup === undefined ? {} : { runAsGroup: { value: effective.runAsGroup } }),
    ...(effective.capabilities === undefined
      ? {}
      : {
          capabilities: {
            addCapabilities: effective.capabilities.add ?? [],
            dropCapabilities: effective.capabilities.drop ?? [],
          },
        }),
    privileged: effective.privileged ?? false,
    readonlyRootfs: effective.readOnlyRootFilesystem ?? false,
    supplementalGroups: supplementalGroups(pod),
    supplementalGroupsPolicy: supplementalGroupsPolicy(pod),
    noNewPrivs: effective.allowPrivilegeEscalation === false,
    maskedPaths: unmasked ? [] : [...MASKED_PATHS, ...settings.extraMaskedPaths],
    readonlyPaths: unmasked ? [] : READONLY_PATHS,
    namespaceOptions: namespaces,
    seccomp: seccompProfile(effective.seccompProfile ?? pod.spec?.securityContext?.seccompProfile, settings),
    ...(apparmor === undefined ? {} : { apparmor, apparmorProfile: deprecatedProfileName(apparmor) }),
    ...(effective.seLinuxOptions === undefined ? {} : { selinuxOptions: effective.seLinuxOptions }),
  };
}

export function sandboxSecurityContext(pod: Pod, namespaces: Init<NamespaceOption>): Init<LinuxSandboxSecurityContext> {
  const context = pod.spec?.securityContext ?? {};
  const all = [
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.initContainers ?? []),
    ...(pod.spec?.ephemeralContainers ?? []),
  ];
  return {
    privileged: all.some((c) => c.securityContext?.privileged === true),
    namespaceOptions: namespaces,
    seccomp: { profileType: 'RuntimeDefault', localhostRef: '' },
    supplementalGroups: supplementalGroups(pod),
    supplementalGroupsPolicy: supplementalGroupsPolicy(pod),
    ...(context.runAsUser === undefined ? {} : { runAsUser: { value: context.runAsUser } }),
    ...(context.runAsGroup === undefined ? {} : { runAsGroup: { value: context.runAsGroup } }),
    ...(context.seLinuxOptions === undefined ? {} : { selinuxOptions: context.seLinuxOptions }),
  };
}

export interface NamespaceWishes {
  /** Container whose process namespace an ephemeral container shares, '' for none. */
  readonly targetId: string;
  /** Of a pod with a user namespace of its own: users and groups alike. */
  readonly userIds: IDMapping | undefined;
}

export function namespaceOptions(pod: Pod, { targetId, userIds }: NamespaceWishes): Init<NamespaceOption> {
  const { hostNetwork, hostIPC, hostPID, shareProcessNamespace } = pod.spec ?? {};
  const pid = hostPID ? 'NODE' : shareProcessNamespace ? 'POD' : 'CONTAINER';
  const usesTarget = targetId !== '' && pid === 'CONTAINER';
  return {
    network: hostNetwork ? 'NODE' : 'POD',
    ipc: hostIPC ? 'NODE' : 'POD',
    pid: usesTarget ? 'TARGET' : pid,
    targetId: usesTarget ? targetId : '',
    usernsOptions: userIds === undefined ? { mode: 'NODE' } : { mode: 'POD', uids: [userIds], gids: [userIds] },
  };
}

function runAs(uid: number | undefined, image: Image | undefined): Init<LinuxContainerSecurityContext> {
  if (uid !== undefined) return { runAsUser: { value: uid } };
  if (image?.uid !== undefined) return { runAsUser: { value: image.uid.value } };
  return image?.username ? { runAsUsername: image.username } : { runAsUser: { value: 0 } };
}

function verifyNonRoot(pod: Pod, container: AnyContainer, uid: number | undefined, image: Image | undefined): void {
  const where = `(pod: "${podDescription(pod)}", container: ${container.name})`;
  if (uid === 0) throw new ContainerConfigError(`container's runAsUser breaks non-root policy ${where}`);
  if (uid !== undefined) return;
  if (image?.uid === undefined && image?.username) {
    throw new ContainerConfigError(
      `container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root ${where}`,
    );
  }
  const imageUid = image?.uid?.value ?? 0;
  if (imageUid === 0) throw new ContainerConfigError(`container has runAsNonRoot and image will run as root ${where}`);
  if (imageUid < 0 || imageUid > MAX_ID) {
    throw new ContainerConfigError(
      `container has runAsNonRoot and image has an invalid user id (${imageUid}). (Must be 1-(${MAX_ID})): ${where}`,
    );
  }
}

function supplementalGroups(pod: Pod): number[] {
  const { fsGroup, supplementalGroups: groups = [] } = pod.spec?.securityContext ?? {};
  return fsGroup === undefined ? [...groups] : [fsGroup, ...groups];
}

function supplementalGroupsPolicy(pod: Pod): 'Merge' | 'Strict' {
  const context = pod.spec?.securityContext as { supplementalGroupsPolicy?: string } | undefined;
  return context?.supplementalGroupsPolicy === 'Strict' ? 'Strict' : 'Merge';
}

function seccompProfile(profile: Profile | undefined, settings: SecuritySettings): SecurityProfile {
  switch (profile?.type ?? (settings.seccompDefault ? 'RuntimeDefault' : 'Unconfined')) {
    case 'RuntimeDefault':
      return { profileType: 'RuntimeDefault', localhostRef: '' };
    case 'Localhost':
      if (!profile?.localhostProfile) {
        throw new ContainerConfigError('localhostProfile must be set if seccompProfile type is Localhost.');
      }
      return { profileType: 'Localhost', localhostRef: path.join(settings.seccompDir, profile.localhostProfile) };
    default:
      return { profileType: 'Unconfined', localhostRef: '' };
  }
}

function appArmorProfile(pod: Pod, container: AnyContainer): SecurityProfile | undefined {
  const own = (container.securityContext as { appArmorProfile?: Profile } | undefined)?.appArmorProfile;
  const annotation = pod.metadata?.annotations?.[`container.apparmor.security.beta.kubernetes.io/${container.name}`];
  const podLevel = (pod.spec?.securityContext as { appArmorProfile?: Profile } | undefined)?.appArmorProfile;
  const profile = own ?? profileOfAnnotation(annotation) ?? podLevel;
  if (profile === undefined) return undefined;
  const profileType = profile.type as SecurityProfile['profileType'];
  return { profileType, localhostRef: profile.type === 'Localhost' ? (profile.localhostProfile ?? '') : '' };
}

function profileOfAnnotation(value: string | undefined): Profile | undefined {
  if (value === undefined || value === '') return undefined;
  if (value === 'runtime/default') return { type: 'RuntimeDefault' };
  if (value === 'unconfined') return { type: 'Unconfined' };
  return value.startsWith('localhost/') ? { type: 'Localhost', localhostProfile: value.slice(10) } : undefined;
}

/** containerd before 1.7 reads the profile from this string. */
function deprecatedProfileName(profile: SecurityProfile): string {
  if (profile.profileType === 'RuntimeDefault') return 'runtime/default';
  return profile.profileType === 'Unconfined' ? 'unconfined' : `localhost/${profile.localhostRef}`;
}

function withoutUndefined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, v]) => v !== undefined && v !== null)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
