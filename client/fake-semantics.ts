// What FakeApi does to objects, apart from keeping them: selection, patches, what each endpoint may change, grace.
import { fieldText, matchesFields, parseFieldSelector } from '../api/field-selector.ts';
import { matchesLabels, parseLabelSelector } from '../api/labels.ts';
import type { KubeObject, WatchEvent } from '../api/meta.ts';
import { applyJsonPatch } from '../api/patch/json-patch.ts';
import { jsonEqual } from '../api/patch/json-value.ts';
import { applyMergePatch } from '../api/patch/merge-patch.ts';
import { applyStrategicMerge } from '../api/patch/strategic-merge.ts';
import type { ResourceType } from '../api/resources.ts';
import type { ListOptions, Patch } from './api-client.ts';
import { ApiError, reasonOfHttpStatus } from './errors.ts';
import type { WatchQueue } from './fake-watch-queue.ts';

export interface StoredEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly revision: number;
  readonly object: KubeObject;
  readonly previous: KubeObject | undefined;
}

export interface Watcher {
  readonly collection: string;
  readonly matches: (object: KubeObject) => boolean;
  readonly queue: WatchQueue<WatchEvent<KubeObject>>;
}

export function collectionOf(type: ResourceType): string {
  return `${type.group}/${type.plural}`;
}

export function keyOf(type: ResourceType, name: { readonly namespace?: string; readonly name?: string }): string {
  return type.namespaced ? `${name.namespace ?? 'default'}/${name.name ?? ''}` : (name.name ?? '');
}

export function matcherOf(type: ResourceType, opts: ListOptions): (object: KubeObject) => boolean {
  const labels = parseLabelSelector(opts.labelSelector ?? '');
  const fields = parseFieldSelector(opts.fieldSelector ?? '');
  return (object) =>
    (opts.namespace === undefined || !type.namespaced || object.metadata?.namespace === opts.namespace) &&
    matchesLabels(labels, object.metadata?.labels) &&
    matchesFields(fields, (field) => fieldText(object, field));
}

/** Entering a selection is ADDED, leaving it DELETED with the state before and the new resourceVersion. */
export function deliver(watcher: Watcher, e: StoredEvent): void {
  const was = e.previous !== undefined && watcher.matches(e.previous);
  const is = e.type !== 'DELETED' && watcher.matches(e.object);
  if (is) watcher.queue.push({ type: was ? 'MODIFIED' : 'ADDED', object: e.object });
  else if (was) {
    const resourceVersion = e.object.metadata!.resourceVersion!;
    const last =
      e.type === 'DELETED' ? e.object : { ...e.previous, metadata: { ...e.previous!.metadata, resourceVersion } };
    watcher.queue.push({ type: 'DELETED', object: last });
  }
}

export function patched<T extends KubeObject>(kind: string, current: T, patch: Patch): T {
  switch (patch.type) {
    case 'json':
      return applyJsonPatch(current, patch.body) as T;
    case 'merge':
      return applyMergePatch(current, patch.body) as T;
    case 'strategic':
      return applyStrategicMerge(kind, current, patch.body);
  }
}

/** What a write leaves: the status endpoint takes only status and metadata, the main one all but status. */
export function takeOver<T extends KubeObject>(
  current: T,
  object: T,
  subresource: string | undefined,
  counts: boolean,
): T {
  const [was, now] = [current as StatusHolder, object as StatusHolder];
  const kept = current.metadata!;
  const isOfStatus = subresource === 'status' || subresource === 'approval';
  const next: StatusHolder = isOfStatus ? { ...was } : { ...now };
  if (isOfStatus) next.status = now.status;
  else next.status = was.status;
  if (next.status === undefined) delete next.status;
  const metadata = { ...object.metadata, name: kept.name!, uid: kept.uid!, resourceVersion: kept.resourceVersion! };
  for (const field of [
    'namespace',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generation',
  ] as const) {
    if (kept[field] === undefined) delete metadata[field];
    else Object.assign(metadata, { [field]: kept[field] });
  }
  const changed = counts && !isOfStatus && !jsonEqual(specOf(was), specOf(now));
  if (changed) metadata.generation = (kept.generation ?? 0) + 1;
  return { ...next, apiVersion: current.apiVersion, kind: current.kind, metadata } as KubeObject as T;
}

type StatusHolder = KubeObject & { status?: unknown };

/** All but metadata, status and type: what generation counts. */
function specOf(object: StatusHolder): unknown {
  const { metadata: _m, status: _s, apiVersion: _a, kind: _k, ...rest } = object;
  return rest;
}

interface PodLike extends KubeObject {
  spec?: { nodeName?: string; terminationGracePeriodSeconds?: number };
  status?: { phase?: string };
}

/** Pods that run nowhere need no grace (pkg/registry/core/pod strategy CheckGracefulDelete). */
export function graceSecondsOf(pod: PodLike, requested: number | undefined): number {
  const { phase } = pod.status ?? {};
  if (!pod.spec?.nodeName || phase === 'Failed' || phase === 'Succeeded') return 0;
  const grace = requested ?? pod.spec.terminationGracePeriodSeconds ?? 0;
  return grace < 0 ? 1 : grace;
}

export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const part of Object.values(value)) deepFreeze(part);
  return Object.freeze(value);
}

export function resourceText(type: ResourceType): string {
  return type.group === '' ? type.plural : `${type.plural}.${type.group}`;
}

export function conflict(type: ResourceType, name: string, why: string): ApiError {
  return failure(409, `Operation cannot be fulfilled on ${resourceText(type)} "${name}": ${why}`, type, name);
}

/** The error a server with this answer causes; tests use it with `failNext`. */
export function failure(code: number, message: string, type?: ResourceType, name?: string, reason?: string): ApiError {
  const details =
    type === undefined ? {} : { details: { kind: type.plural, group: type.group, ...(name ? { name } : {}) } };
  return new ApiError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason: reason ?? reasonOfHttpStatus(code),
    code,
    ...details,
  });
}
