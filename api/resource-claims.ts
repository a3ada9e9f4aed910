// Kinds of resource.k8s.io/v1 (since 1.34) and what pods say of them, as far as a node reads them; kubernetes-types has
// only alpha versions. Source: k8s.io/api/resource/v1.
import type { KubeObject, ObjectMeta } from './meta.ts';
import type { Pod, PodStatus } from './pod.ts';
import type { ResourceType } from './resources.ts';

/** A device that was given to a request of the claim. */
export interface DeviceAllocation {
  readonly request: string;
  readonly driver: string;
  readonly pool: string;
  readonly device: string;
}

export interface ResourceClaim extends KubeObject {
  readonly metadata?: ObjectMeta;
  readonly spec?: object;
  readonly status?: {
    /** Absent until the scheduler has chosen devices. */
    readonly allocation?: { readonly devices?: { readonly results?: readonly DeviceAllocation[] } };
    /** Who may use it now. */
    readonly reservedFor?: readonly { readonly resource: string; readonly name: string; readonly uid: string }[];
  };
}

export interface ResourceSlice extends KubeObject {
  readonly metadata?: ObjectMeta;
  readonly spec?: { readonly driver: string; readonly nodeName?: string };
}

export const resourceClaims: ResourceType<ResourceClaim> = Object.freeze({
  group: 'resource.k8s.io',
  version: 'v1',
  plural: 'resourceclaims',
  kind: 'ResourceClaim',
  namespaced: true,
});

export const resourceSlices: ResourceType<ResourceSlice> = Object.freeze({
  group: 'resource.k8s.io',
  version: 'v1',
  plural: 'resourceslices',
  kind: 'ResourceSlice',
  namespaced: false,
});

/** An entry of spec.resourceClaims: a claim that is there, or a template that one is made from for this pod. */
export interface PodResourceClaim {
  readonly name: string;
  readonly resourceClaimName?: string;
  readonly resourceClaimTemplateName?: string;
}

/** The claim that the scheduler made for the pod's extended resources which drivers provide (KEP-5004). */
export interface ExtendedResourceClaim {
  readonly resourceClaimName: string;
  readonly requestMappings?: readonly {
    readonly containerName: string;
    readonly resourceName: string;
    readonly requestName: string;
  }[];
}

export interface ClaimsOfPod {
  /** In the order of the spec. */
  readonly entries: readonly PodResourceClaim[];
  /** By entry: the claim that was made for it; without a name when none was needed. */
  readonly statuses: readonly { readonly name: string; readonly resourceClaimName?: string }[];
  readonly extended: ExtendedResourceClaim | undefined;
}

/** What the pod says of claims, with the types of v1.36. */
export function claimsOfPod(pod: Pod): ClaimsOfPod {
  const spec = pod.spec as { readonly resourceClaims?: readonly PodResourceClaim[] } | undefined;
  const status = pod.status as
    | {
        readonly resourceClaimStatuses?: ClaimsOfPod['statuses'];
        readonly extendedResourceClaimStatus?: ExtendedResourceClaim;
      }
    | undefined;
  return {
    entries: spec?.resourceClaims ?? [],
    statuses: status?.resourceClaimStatuses ?? [],
    extended: status?.extendedResourceClaimStatus,
  };
}

/** True for a pod that needs claims to be prepared. */
export function usesClaims(pod: Pod): boolean {
  const { entries, extended } = claimsOfPod(pod);
  return entries.length > 0 || extended !== undefined;
}

/** `status` with what others have written of the pod's claims in `from`; itself when that is nothing. */
export function withClaimStatuses(from: PodStatus | undefined, status: PodStatus): PodStatus {
  const kept = Object.entries(from ?? {}).filter(([member]) => CLAIM_MEMBERS.has(member));
  return kept.length === 0 ? status : { ...status, ...Object.fromEntries(kept) };
}

const CLAIM_MEMBERS: ReadonlySet<string> = new Set(['resourceClaimStatuses', 'extendedResourceClaimStatus']);

/** Whether somebody has written of the pod's claims since. */
export function claimStatusesDiffer(a: Pod | undefined, b: Pod): boolean {
  const told = (pod: Pod | undefined) => JSON.stringify(withClaimStatuses(pod?.status, {}));
  return told(a) !== told(b);
}
