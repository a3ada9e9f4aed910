// The strategic merge patch that turns one pod status into another. Pure.
import { createStrategicMerge } from '../../api/patch/strategic-diff.ts';
import type { PodStatus } from '../../api/pod.ts';

/** Written by the scheduler and by controllers: a status of ours does not carry them, which must not delete them. */
export const FOREIGN_FIELDS: readonly string[] = [
  'resourceClaimStatuses',
  'extendedResourceClaimStatus',
  'nodeAllocatableResourceClaimStatuses',
  'nominatedNodeName',
  'resize',
];

/**
 * The body for `pods/status`, undefined when nothing differs. `metadata.uid` in it is a precondition: the server refuses
 * the patch (409) when the name has passed to another pod.
 */
export function computeStatusPatch(uid: string, from: PodStatus, to: PodStatus): Record<string, unknown> | undefined {
  const foreign: Record<string, unknown> = {};
  for (const field of FOREIGN_FIELDS) {
    const value = (from as Record<string, unknown>)[field];
    if (value !== undefined) foreign[field] = value;
  }
  const diff = createStrategicMerge('Pod', { status: from }, { status: { ...to, ...foreign } });
  return Object.keys(diff).length === 0 ? undefined : { ...diff, metadata: { uid } };
}
