// A pod that asks for an AppArmor profile does not run on a host that would not enforce it (pkg/security/apparmor). Pure.
import type { Pod } from '../api/pod.ts';

const ANNOTATION_PREFIX = 'container.apparmor.security.beta.kubernetes.io/';

interface Profile {
  readonly type?: string;
  readonly localhostProfile?: string;
}

interface Confined {
  readonly appArmorProfile?: Profile;
}

/** Why the pod's profiles cannot be enforced, undefined when they can, or when it has none. */
export function unenforcedAppArmor(pod: Pod, isEnabled: boolean): string | undefined {
  const profiles = profilesOf(pod).filter((p) => p.type !== 'Unconfined');
  if (profiles.length === 0) return undefined;
  if (!isEnabled) return 'Cannot enforce AppArmor: AppArmor is not enabled on the host';
  const nameless = profiles.some((p) => p.type === 'Localhost' && !p.localhostProfile?.trim());
  return nameless ? 'Cannot enforce AppArmor: invalid empty AppArmor profile name: "localhost/"' : undefined;
}

function profilesOf(pod: Pod): Profile[] {
  const { containers = [], initContainers = [], ephemeralContainers = [], securityContext } = pod.spec ?? {};
  const contexts = [
    securityContext,
    ...[...containers, ...initContainers, ...ephemeralContainers].map((c) => c.securityContext),
  ];
  const fields = contexts.flatMap((context) => {
    const profile = (context as Confined | undefined)?.appArmorProfile;
    return profile === undefined ? [] : [profile];
  });
  const annotations = Object.entries(pod.metadata?.annotations ?? {})
    .filter(([key]) => key.startsWith(ANNOTATION_PREFIX))
    .map(([, value]) => profileOfAnnotation(value));
  return [...fields, ...annotations];
}

function profileOfAnnotation(value: string): Profile {
  if (value === 'unconfined') return { type: 'Unconfined' };
  return value.startsWith('localhost/')
    ? { type: 'Localhost', localhostProfile: value.slice('localhost/'.length) }
    : { type: 'RuntimeDefault' };
}
