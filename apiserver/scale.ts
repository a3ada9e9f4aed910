// The scale subresource: one number of a workload as an autoscaling/v1 Scale. After pkg/registry/apps/*/storage.
import type { KubeObject } from '../api/meta.ts';
import type { AnyObject, KindDefinition } from './registry/definition.ts';
import { invalid, invalidObject } from './registry/field-errors.ts';

export interface Scale extends KubeObject {
  spec?: { replicas?: number };
  status?: { replicas: number; selector?: string };
}

export const SCALE_KIND = { group: 'autoscaling', version: 'v1', kind: 'Scale' } as const;

export function scaleOf(definition: KindDefinition, object: AnyObject): Scale {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata ?? {};
  const metadata = { name, namespace, uid, resourceVersion, creationTimestamp };
  const scale = definition.scale!;
  return {
    kind: SCALE_KIND.kind,
    apiVersion: `${SCALE_KIND.group}/${SCALE_KIND.version}`,
    metadata: Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined)),
    spec: { replicas: object.spec?.replicas ?? 0 },
    status: { replicas: scale.statusReplicas(object), selector: scale.selector(object) },
  };
}

/** `current` with the wanted number; a version or uid named by the Scale becomes a condition. @throws {StatusError} 422 */
export function applyScale(current: AnyObject, wanted: Scale): AnyObject {
  const replicas = wanted.spec?.replicas ?? 0;
  if (!Number.isInteger(replicas) || replicas < 0) {
    const fault = invalid('spec.replicas', replicas, 'must be greater than or equal to 0');
    throw invalidObject(SCALE_KIND.group, SCALE_KIND.kind, current.metadata?.name ?? '', [fault]);
  }
  const { uid, resourceVersion } = wanted.metadata ?? {};
  const { resourceVersion: _, ...metadata } = current.metadata ?? {};
  const conditions = { ...(uid ? { uid } : {}), ...(resourceVersion ? { resourceVersion } : {}) };
  return { ...current, metadata: { ...metadata, ...conditions }, spec: { ...current.spec, replicas } };
}
