// The shapes every Kubernetes object shares. Source: apimachinery pkg/apis/meta/v1.
import type { ListMeta, ObjectMeta, OwnerReference, Status } from 'kubernetes-types/meta/v1.js';

export type { LabelSelector, ListMeta, ObjectMeta, OwnerReference, Status } from 'kubernetes-types/meta/v1.js';

export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
}

export interface KubeList<T> {
  apiVersion?: string;
  kind?: string;
  metadata: ListMeta;
  items: T[];
}

/** Namespace is absent for cluster-scoped kinds. */
export interface ObjectName {
  readonly namespace?: string;
  readonly name: string;
}

/** `ns/name`, or `name` for cluster-scoped objects: the key of stores and logs. */
export function objectKey(object: KubeObject): string {
  const { namespace, name } = object.metadata ?? {};
  return namespace ? `${namespace}/${name ?? ''}` : (name ?? '');
}

/** How clients name `object` in a path. */
export function objectName(object: KubeObject): ObjectName {
  const { namespace, name = '' } = object.metadata ?? {};
  return namespace ? { namespace, name } : { name };
}

/** The owner with `controller: true`. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata?.ownerReferences?.find((o) => o.controller === true);
}

/**
 * Negative, zero or positive, as for Array.sort: which of two states of one object is the older. Resource versions of one
 * kind grow and may be compared since v1.35 (KEP-5504); before, etcd's revisions did as well. Undefined for other ones.
 */
export function compareVersions(a: KubeObject, b: KubeObject): number | undefined {
  const [left, right] = [a.metadata?.resourceVersion ?? '', b.metadata?.resourceVersion ?? ''];
  if (left === right) return 0;
  if (!/^\d+$/.test(left) || !/^\d+$/.test(right)) return undefined;
  return left.length - right.length || (left < right ? -1 : 1);
}

/** An RFC 3339 UTC time with whole seconds, as metav1.Time prints. */
export function formatTime(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 19)}Z`;
}

/** An RFC 3339 UTC time with six fraction digits, as metav1.MicroTime prints. */
export function formatMicroTime(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 23)}000Z`;
}

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** Wall ms of an RFC 3339 time; NaN for anything else, of which Date.parse takes much. */
export function parseTime(text: string): number {
  return RFC3339.test(text) ? Date.parse(text) : Number.NaN;
}

export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'; object: T }
  | { type: 'ERROR'; object: Status };
