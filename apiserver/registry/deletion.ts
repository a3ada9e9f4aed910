// What a DELETE does to an object: at once, after a grace, or when its finalizers are done. After apiserver
// pkg/registry/rest/delete.go.
import { formatTime, type KubeObject, type ObjectMeta } from '../../api/meta.ts';
import { conflict, type GroupResource } from '../status-error.ts';
import type { StoredItem } from '../store/stored-item.ts';
import type { AnyObject, KindDefinition } from './definition.ts';

export interface DeleteRequest {
  readonly gracePeriodSeconds?: number | undefined;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string } | undefined;
}

const ORPHAN = 'orphan';
const FOREGROUND = 'foregroundDeletion';

/** @throws {StatusError} 409 when the object is not the one that was meant. */
export function checkPreconditions(
  resource: GroupResource,
  name: string,
  { uid = '', resourceVersion = '' }: Pick<ObjectMeta, 'uid' | 'resourceVersion'>,
  request: DeleteRequest,
): void {
  const check = (what: string, wanted: string | undefined, found: string) => {
    if (wanted === undefined || wanted === found) return;
    const why = `the ${what} in the precondition (${wanted}) does not match the ${what} in record (${found}). The object might have been deleted and then recreated`;
    throw conflict(resource, name, why);
  };
  check('UID', request.preconditions?.uid, uid);
  check('ResourceVersion', request.preconditions?.resourceVersion, resourceVersion);
}

/**
 * A copy of the object as it is once deletion began; undefined when it is terminating already and this request changes
 * nothing.
 */
export function beginDeletion(
  definition: KindDefinition,
  current: StoredItem,
  request: DeleteRequest,
  nowMs: number,
): AnyObject | undefined {
  const object = JSON.parse(current.text) as AnyObject;
  const meta = object.metadata!;
  const asked = request.gracePeriodSeconds === undefined ? undefined : normaliseGrace(request.gracePeriodSeconds);
  const grace = definition.grace?.(object, asked) ?? 0;
  if (meta.deletionTimestamp !== undefined) {
    const stored = meta.deletionGracePeriodSeconds ?? 0;
    if (stored === 0) return object;
    return shorten(object, stored, asked === undefined ? stored : grace, nowMs);
  }
  meta.deletionTimestamp = formatTime(nowMs + grace * 1000);
  meta.deletionGracePeriodSeconds = grace;
  if (meta.generation !== undefined && meta.generation > 0) meta.generation++;
  definition.startDeletion?.(object);
  return object;
}

function normaliseGrace(seconds: number): number {
  return seconds < 0 ? 1 : Math.trunc(seconds);
}

/** A later DELETE can only bring the end forward. */
function shorten(object: AnyObject, stored: number, grace: number, nowMs: number): AnyObject | undefined {
  if (grace >= stored) return undefined;
  const meta = object.metadata!;
  const startedMs = Date.parse(meta.deletionTimestamp!) - stored * 1000;
  const endMs = startedMs + grace * 1000;
  meta.deletionTimestamp = formatTime(Math.max(endMs, nowMs));
  meta.deletionGracePeriodSeconds = endMs < nowMs && grace !== 0 ? 1 : grace;
  return object;
}

/** Whether deletion has begun and its stored grace is over: the next DELETE removes the object. */
export function endsAtOnce({ metadata }: KubeObject): boolean {
  return metadata?.deletionTimestamp !== undefined && (metadata.deletionGracePeriodSeconds ?? 0) === 0;
}

/** The same request about the same object, whatever its version is by now. */
export function withoutVersion(request: DeleteRequest): DeleteRequest {
  if (request.preconditions === undefined) return request;
  const { resourceVersion: _, ...preconditions } = request.preconditions;
  return { ...request, preconditions };
}

/** Orphan and foreground deletion leave their finalizer for the garbage collector; each takes the other's away. */
export function finalizersAfterPolicy(
  finalizers: readonly string[],
  request: DeleteRequest,
  definition: KindDefinition,
): string[] {
  const policy = request.propagationPolicy ?? (definition.orphansByDefault ? 'Orphan' : undefined);
  if (policy === undefined) return [...finalizers];
  const others = finalizers.filter((f) => f !== ORPHAN && f !== FOREGROUND);
  if (policy === 'Orphan') return [...others, ORPHAN];
  return policy === 'Foreground' ? [...others, FOREGROUND] : others;
}
