// May a pod use an image that is on the node without pulling it again? Pure. After pkg/kubelet/images/pullmanager
// (image_pull_policies.go, image_pull_manager.go).
import { repositoryOf } from '../runtime/image-ref.ts';
import type { PullAccess, PulledRecord, SecretUse, ServiceAccountUse } from './pull-record-files.ts';

export type VerificationPolicy =
  | 'NeverVerify'
  | 'NeverVerifyPreloadedImages'
  | 'NeverVerifyAllowlistedImages'
  | 'AlwaysVerify';

export interface VerificationOptions {
  readonly policy: VerificationPolicy;
  /** preloadedImagesVerificationAllowlist: names without tag, or with `/*` at the end. */
  readonly allowlist: readonly string[];
}

/** What a credential is known by; without either, every pod of the node may use it. */
export interface CredentialSource {
  readonly secret?: SecretUse;
  readonly serviceAccount?: ServiceAccountUse;
}

const MAX_RECORDED_SECRETS = 100;

/** Whether `image` is such that access to it must be shown. `pulledByUs`: there is a record or an intent of it. */
export function mustVerify(image: string, pulledByUs: boolean, opts: VerificationOptions): boolean {
  switch (opts.policy) {
    case 'NeverVerify':
      return false;
    case 'AlwaysVerify':
      return true;
    case 'NeverVerifyPreloadedImages':
      return pulledByUs;
    case 'NeverVerifyAllowlistedImages': {
      const name = repositoryOf(image);
      return !opts.allowlist.some((p) => (p.endsWith('/*') ? name.startsWith(p.slice(0, -1)) : name === p));
    }
  }
}

/** The part of a pod's credentials that shows its right to the image: undefined when none does. */
export function grantedBy(
  access: PullAccess | undefined,
  sources: readonly CredentialSource[],
): CredentialSource | 'everyone' | undefined {
  if (access?.nodePodsAccessible) return 'everyone';
  return sources.find(({ secret, serviceAccount }) => {
    const bySecret = secret !== undefined && access?.kubernetesSecrets?.some((s) => sameSecret(s, secret));
    const byAccount =
      serviceAccount !== undefined && access?.kubernetesServiceAccounts?.some((a) => sameObject(a, serviceAccount));
    return bySecret || byAccount;
  });
}

/** The record with what a pull, or a look at the image, has shown; undefined when that adds nothing. */
export function withAccess(
  record: PulledRecord | undefined,
  imageRef: string,
  image: string,
  source: CredentialSource,
  nowMs: number,
): PulledRecord | undefined {
  const repository = repositoryOf(image);
  const before = record?.credentialMapping[repository];
  const after = addedAccess(before, source);
  if (after === before) return undefined;
  return {
    imageRef,
    lastUpdatedTime: new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z'),
    credentialMapping: { ...record?.credentialMapping, [repository]: after },
  };
}

/** What is open to all pods stays so, and then lists are of no use. */
function addedAccess(before: PullAccess | undefined, { secret, serviceAccount }: CredentialSource): PullAccess {
  if (before?.nodePodsAccessible) return before;
  if (secret === undefined && serviceAccount === undefined) return { nodePodsAccessible: true };
  if (serviceAccount !== undefined) {
    const accounts = before?.kubernetesServiceAccounts ?? [];
    if (before !== undefined && accounts.some((a) => sameObject(a, serviceAccount))) return before;
    return { ...before, kubernetesServiceAccounts: [...accounts, serviceAccount].slice(-MAX_RECORDED_SECRETS) };
  }
  const secrets = before?.kubernetesSecrets ?? [];
  const known = secrets.find((s) => sameObject(s, secret!));
  if (before !== undefined && known?.credentialHash === secret!.credentialHash) return before;
  const others = secrets.filter((s) => s !== known);
  return { ...before, kubernetesSecrets: [...others, secret!].slice(-MAX_RECORDED_SECRETS) };
}

function sameSecret(a: SecretUse, b: SecretUse): boolean {
  return (a.credentialHash !== '' && a.credentialHash === b.credentialHash) || sameObject(a, b);
}

function sameObject(a: ServiceAccountUse, b: ServiceAccountUse): boolean {
  return a.uid === b.uid && a.namespace === b.namespace && a.name === b.name;
}
