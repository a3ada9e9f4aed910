// What a write may say about the object it means, and what an update leaves as it is. After apiserver
// pkg/registry/rest/update.go.
import { isDeepStrictEqual } from 'node:util';
import type { KubeObject, ObjectMeta } from '../../api/meta.ts';
import { badRequest, conflict } from '../status-error.ts';
import type { StoredItem } from '../store/stored-item.ts';
import type { AnyObject, KindDefinition, Mutable } from './definition.ts';
import { invalid, invalidObject } from './field-errors.ts';
import { restore } from './restore.ts';

/** The object's metadata, made if need be, in the namespace of the request. @throws {StatusError} 400 for another. */
export function takeMetadata({ type }: KindDefinition, namespace: string, object: AnyObject): Mutable<ObjectMeta> {
  object.metadata ??= {};
  const meta = object.metadata;
  if (!type.namespaced) {
    delete meta.namespace;
    return meta;
  }
  if (meta.namespace && meta.namespace !== namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  meta.namespace = namespace;
  return meta;
}

/**
 * True when the writer named the version it knows. @throws {StatusError} when it means another object: 409, but 422 for a
 * patch with another uid, which asks to change it.
 */
export function checkVersion(
  definition: KindDefinition,
  next: AnyObject,
  current: StoredItem,
  { isPut, subresource }: { readonly isPut: boolean; readonly subresource: string },
): boolean {
  const { group, plural, kind } = definition.type;
  const resource = { group, resource: plural };
  const name = current.object.metadata?.name ?? '';
  const wanted = next.metadata?.resourceVersion ?? '';
  const uid = next.metadata?.uid;
  const currentUid = current.object.metadata?.uid;
  const isOther = uid !== undefined && uid !== '' && uid !== currentUid;
  if (isOther && (isPut || subresource === 'binding')) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${currentUid ?? ''}`;
    throw conflict(resource, name, why);
  }
  const isVersioned = wanted !== '' && wanted !== '0';
  if (isVersioned && wanted !== String(current.revision)) throw conflict(resource, name);
  if (isOther) throw invalidObject(group, kind, name, [invalid('metadata.uid', uid, 'field is immutable')]);
  if (!isVersioned && isPut && subresource === '' && definition.versionedUpdate) {
    const fault = invalid('metadata.resourceVersion', 0, 'must be specified for an update');
    throw invalidObject(group, kind, name, [fault]);
  }
  return isVersioned;
}

/** What only the server sets stays as it was. */
export function keepSystemMetadata(meta: Mutable<ObjectMeta>, old: Mutable<ObjectMeta>): void {
  for (const member of [
    'uid',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generateName',
    'generation',
    'selfLink',
  ] as const) {
    restore(meta, old, member);
  }
}

export function resetToStatus(next: AnyObject, old: AnyObject, definition: KindDefinition): void {
  const { status, metadata } = next;
  for (const member of Object.keys(next)) if (member !== 'metadata') delete next[member as keyof AnyObject];
  Object.assign(next, structuredClone(old), { metadata });
  if (status === undefined) delete next.status;
  else next.status = status;
  const meta = next.metadata!;
  restore(meta, old.metadata!, 'ownerReferences');
  restore(meta, old.metadata!, 'finalizers');
  if (!definition.statusKeepsMetadata) return;
  restore(meta, old.metadata!, 'labels');
  restore(meta, old.metadata!, 'annotations');
}

/** One more whenever anything besides metadata and status changed. */
export function nextGeneration(next: AnyObject, old: AnyObject): number {
  const generation = old.metadata?.generation ?? 1;
  return isDeepStrictEqual(wishOf(next), wishOf(old)) ? generation : generation + 1;
}

/** Typed clients leave kind and apiVersion out: the path says them. */
function wishOf(object: AnyObject): object {
  const { kind: _k, apiVersion: _a, metadata: _m, status: _s, ...wish } = object;
  return wish;
}

export function sameObject(next: AnyObject, old: KubeObject): boolean {
  const { resourceVersion: _n, ...nextMeta } = next.metadata!;
  const { resourceVersion: _o, ...oldMeta } = old.metadata!;
  const { kind: _nk, apiVersion: _na, ...nextRest } = next;
  const { kind: _ok, apiVersion: _oa, ...oldRest } = old;
  return isDeepStrictEqual({ ...nextRest, metadata: nextMeta }, { ...oldRest, metadata: oldMeta });
}
