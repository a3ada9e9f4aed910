// Which ResourceClaim an entry of a pod stands for, whether the pod may use it, and which drivers it concerns. Pure. Texts
// as upstream's: they reach users in Events. After k8s.io/dynamic-resource-allocation/resourceclaim.
import type { Pod } from '../../api/pod.ts';
import { claimsOfPod, type PodResourceClaim, type ResourceClaim } from '../../api/resource-claims.ts';
import { AgentError } from '../../core/errors.ts';

export interface ClaimName {
  readonly name: string;
  /** The claim was made for the pod alone: one of that name which somebody else made must not be used. */
  readonly mustBeOwned: boolean;
}

/** Undefined: no claim was needed, the entry is to be ignored. @throws {AgentError} CLAIM_UNUSABLE, retryable */
export function claimNameOf(pod: Pod, entry: PodResourceClaim): ClaimName | undefined {
  if (entry.resourceClaimName !== undefined) return { name: entry.resourceClaimName, mustBeOwned: false };
  const { namespace, name } = pod.metadata ?? {};
  if (entry.resourceClaimTemplateName === undefined) {
    const which = `pod "${namespace}/${name}", spec.resourceClaim ${JSON.stringify(entry.name)}`;
    throw unusable(`${which}: none of the supported fields are set`);
  }
  const status = claimsOfPod(pod).statuses.find((s) => s.name === entry.name);
  if (status === undefined) throw unusable(`pod "${namespace}/${name}": ResourceClaim not created yet`);
  return status.resourceClaimName === undefined ? undefined : { name: status.resourceClaimName, mustBeOwned: true };
}

/** The claims of the pod, each once, the one for its extended resources last. @throws {AgentError} CLAIM_UNUSABLE */
export function claimNamesOf(pod: Pod): ClaimName[] {
  const { entries, extended } = claimsOfPod(pod);
  const names = entries.flatMap((entry) => claimNameOf(pod, entry) ?? []);
  if (extended !== undefined) names.push({ name: extended.resourceClaimName, mustBeOwned: false });
  const seen = new Map<string, ClaimName>();
  for (const one of names) {
    // Asked for as the pod's own and by its name: the stricter holds.
    const mustBeOwned = one.mustBeOwned || seen.get(one.name)?.mustBeOwned === true;
    seen.set(one.name, { name: one.name, mustBeOwned });
  }
  return [...seen.values()];
}

/** @throws {AgentError} CLAIM_UNUSABLE when the pod may not use the claim, or not yet. */
export function checkUsable(pod: Pod, claim: ResourceClaim, { name, mustBeOwned }: ClaimName): void {
  const { namespace, name: podName, uid } = pod.metadata ?? {};
  const owner = claim.metadata?.ownerReferences?.find((o) => o.controller === true);
  if (mustBeOwned && (claim.metadata?.namespace !== namespace || owner?.uid !== uid)) {
    const which = `ResourceClaim ${claim.metadata?.namespace}/${name}`;
    throw unusable(`${which} was not created for Pod ${namespace}/${podName} (Pod is not owner)`);
  }
  if (claim.status?.reservedFor?.some((r) => r.uid === uid) !== true) {
    throw unusable(`pod ${podName} (${uid}) is not allowed to use ResourceClaim ${name} (${claim.metadata?.uid})`);
  }
  if (claim.status.allocation === undefined) throw unusable(`ResourceClaim ${name}: not allocated`);
}

/** Drivers that have given devices to the claim, each once. */
export function driversOf(claim: ResourceClaim): string[] {
  return [...new Set((claim.status?.allocation?.devices?.results ?? []).map((r) => r.driver))];
}

/** A claim that cannot be used now may be usable later: whoever allocates it may not have been there yet. */
function unusable(message: string): AgentError {
  return new AgentError(message, { code: 'CLAIM_UNUSABLE', retryable: true });
}
