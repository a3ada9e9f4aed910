// Which prepared devices a container of a pod gets. Pure. After pkg/kubelet/cm/dra/manager.go GetResources and
// GetContainerClaimInfos.
import type { Pod } from '../../api/pod.ts';
import { parseQuantity } from '../../api/quantity.ts';
import { claimsOfPod } from '../../api/resource-claims.ts';
import type { AnyContainer } from '../runtime/labels.ts';
import { claimNameOf } from './claim-names.ts';

/** A claim that a container uses. */
export interface ContainerClaim {
  readonly name: string;
  /** Requests of the claim; '' stands for all of them. */
  readonly requests: readonly string[];
}

/** @throws {AgentError} CLAIM_UNUSABLE */
export function claimsOfContainer(pod: Pod, container: AnyContainer): ContainerClaim[] {
  const used = (container.resources?.claims ?? []) as readonly { readonly name: string; readonly request?: string }[];
  const { entries, extended } = claimsOfPod(pod);
  const found = new Map<string, string[]>();
  const add = (claim: string, requests: readonly string[]) => {
    if (requests.length > 0) found.set(claim, [...(found.get(claim) ?? []), ...requests]);
  };
  for (const entry of entries) {
    const requests = used.filter((u) => u.name === entry.name).map((u) => u.request ?? '');
    const claim = requests.length === 0 ? undefined : claimNameOf(pod, entry);
    if (claim !== undefined) add(claim.name, requests);
  }
  const mapped = (extended?.requestMappings ?? []).filter(
    (m) => m.containerName === container.name && asksFor(container, m.resourceName),
  );
  if (extended !== undefined) {
    add(
      extended.resourceClaimName,
      mapped.map((m) => m.requestName),
    );
  }
  return [...found].map(([name, requests]) => ({ name, requests }));
}

/** Whether a device that serves `requestNames` is meant by one of `requests`. */
export function isMeant(requests: readonly string[], requestNames: readonly string[]): boolean {
  return requests.some((r) => r === '' || requestNames.length === 0 || requestNames.includes(r));
}

function asksFor(container: AnyContainer, resource: string): boolean {
  const amount = container.resources?.requests?.[resource];
  return amount !== undefined && parseQuantity(amount).nanos > 0n;
}
