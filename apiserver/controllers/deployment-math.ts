// The arithmetic of rollouts, pure: how many replicas each set of a Deployment shall have next
// (pkg/controller/deployment/rolling.go, sync.go, util).
import type { Deployment, DeploymentSpec, PodTemplateSpec, ReplicaSet } from '../../api/apps.ts';

export const REVISION = 'deployment.kubernetes.io/revision';
export const REVISION_HISTORY = 'deployment.kubernetes.io/revision-history';
export const DESIRED_REPLICAS = 'deployment.kubernetes.io/desired-replicas';
export const MAX_REPLICAS = 'deployment.kubernetes.io/max-replicas';
export const TEMPLATE_HASH = 'pod-template-hash';

/** Annotations of a Deployment that are its own and not its sets'. */
const NOT_COPIED = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  REVISION,
  REVISION_HISTORY,
  DESIRED_REPLICAS,
  MAX_REPLICAS,
  'deprecated.deployment.rollback.to',
]);

export function replicasOf(object: { readonly spec?: { readonly replicas?: number } }): number {
  return object.spec?.replicas ?? 1;
}

export interface RolloutLimits {
  /** Pods above the wanted number, at most. */
  readonly surge: number;
  /** Pods of the wanted number that may be missing. */
  readonly unavailable: number;
}

/** Percentages of the wanted number: surge rounds up, unavailable down; both zero would stand still. */
export function rolloutLimits(spec: DeploymentSpec | undefined): RolloutLimits {
  const replicas = spec?.replicas ?? 1;
  if (spec?.strategy?.type === 'Recreate') return { surge: 0, unavailable: replicas };
  const rolling = spec?.strategy?.rollingUpdate;
  const surge = scaled(rolling?.maxSurge ?? '25%', replicas, Math.ceil);
  const unavailable = Math.min(scaled(rolling?.maxUnavailable ?? '25%', replicas, Math.floor), replicas);
  return surge === 0 && unavailable === 0 ? { surge, unavailable: 1 } : { surge, unavailable };
}

function scaled(value: number | string, total: number, round: (n: number) => number): number {
  if (typeof value === 'number') return value;
  const percent = /^(\d+)%$/.exec(value)?.[1];
  return percent === undefined ? Number(value) || 0 : round((Number(percent) * total) / 100);
}

/** True when the templates ask for the same pods: everything but the hash label, whatever the order of keys. */
export function sameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  return canonicalTemplate(a) === canonicalTemplate(b);
}

function canonicalTemplate(template: PodTemplateSpec | undefined): string {
  const labels = { ...(template?.metadata?.labels ?? {}) };
  delete labels[TEMPLATE_HASH];
  return canonicalJson({ ...template, metadata: { ...template?.metadata, creationTimestamp: undefined, labels } });
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) => {
    if (v === null || typeof v !== 'object' || Array.isArray(v)) return v;
    const entries = Object.entries(v).filter(([, x]) => x !== undefined && x !== null);
    return Object.fromEntries(entries.sort(([x], [y]) => (x < y ? -1 : 1)));
  });
}

const HASH_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';

/** A short name for a template: FNV-1a 32 over its canonical form and the collision count, in letters that spell nothing. */
export function templateHash(template: PodTemplateSpec | undefined, collisionCount: number | undefined): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${canonicalTemplate(template)}${collisionCount ?? ''}`)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return [...String(hash)].map((digit) => HASH_ALPHABET[digit.charCodeAt(0) % HASH_ALPHABET.length]).join('');
}

export function copiedAnnotations(deployment: Deployment): Record<string, string> {
  const all = Object.entries(deployment.metadata?.annotations ?? {});
  return Object.fromEntries(all.filter(([key]) => !NOT_COPIED.has(key)));
}

export function revisionOf(object: { readonly metadata?: { readonly annotations?: Record<string, string> } }): number {
  return Number(object.metadata?.annotations?.[REVISION] ?? 0) || 0;
}

/** The set whose template is the Deployment's; the oldest when there are several. */
export function findNewSet(deployment: Deployment, sets: readonly ReplicaSet[]): ReplicaSet | undefined {
  return byAge(sets).find((rs) => sameTemplate(rs.spec?.template, deployment.spec?.template));
}

function byAge(sets: readonly ReplicaSet[]): ReplicaSet[] {
  const created = (rs: ReplicaSet): string => rs.metadata?.creationTimestamp ?? '';
  return [...sets].sort(
    (a, b) => created(a).localeCompare(created(b)) || (a.metadata?.name ?? '').localeCompare(b.metadata?.name ?? ''),
  );
}

const sum = (sets: readonly ReplicaSet[], of: (rs: ReplicaSet) => number): number =>
  sets.reduce((n, rs) => n + of(rs), 0);

/** What the new set may grow to in a rolling update: never beyond the wanted number, all sets within the surge. */
export function newSetReplicas(deployment: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet): number {
  const wanted = replicasOf(deployment);
  if (deployment.spec?.strategy?.type === 'Recreate') return wanted;
  const current = replicasOf(newSet);
  const room = wanted + rolloutLimits(deployment.spec).surge - sum(sets, replicasOf);
  return room <= 0 ? Math.min(current, wanted) : Math.min(wanted, current + Math.min(room, wanted - current));
}

/**
 * Replicas of the old sets after the next step down, by set name. Pods that serve nothing go first, oldest set first;
 * then as many as may go while the minimum stays available.
 */
export function oldSetReplicas(
  deployment: Deployment,
  oldSets: readonly ReplicaSet[],
  newSet: ReplicaSet,
): Map<string, number> {
  const wanted = replicasOf(deployment);
  const minAvailable = wanted - rolloutLimits(deployment.spec).unavailable;
  const all = [...oldSets, newSet];
  const next = new Map(oldSets.map((rs) => [rs.metadata?.name ?? '', replicasOf(rs)]));
  const newUnavailable = replicasOf(newSet) - (newSet.status?.availableReplicas ?? 0);
  let removable = sum(all, replicasOf) - minAvailable - newUnavailable;
  if (removable <= 0) return next;
  for (const rs of byAge(oldSets)) {
    const name = rs.metadata?.name ?? '';
    const unhealthy = Math.max(0, replicasOf(rs) - (rs.status?.availableReplicas ?? 0));
    const less = Math.min(removable, unhealthy, next.get(name)!);
    next.set(name, next.get(name)! - less);
    removable -= less;
  }
  let spare = sum(all, (rs) => rs.status?.availableReplicas ?? 0) - minAvailable;
  for (const rs of byAge(oldSets)) {
    const name = rs.metadata?.name ?? '';
    const less = Math.max(0, Math.min(spare, next.get(name)!));
    next.set(name, next.get(name)! - less);
    spare -= less;
  }
  return next;
}

/** During a rollout a change of the wanted number is shared by size; what rounding leaves goes to the largest set. */
export function proportionalReplicas(deployment: Deployment, sets: readonly ReplicaSet[]): Map<string, number> {
  const total = sum(sets, replicasOf);
  const limit = replicasOf(deployment) > 0 ? replicasOf(deployment) + rolloutLimits(deployment.spec).surge : 0;
  const toAdd = limit - total;
  // The largest first; among equals the newest grows first and the oldest shrinks first.
  const ordered = toAdd > 0 ? byAge(sets).reverse() : byAge(sets);
  const active = ordered.filter((rs) => replicasOf(rs) > 0).sort((a, b) => replicasOf(b) - replicasOf(a));
  const next = new Map(active.map((rs) => [rs.metadata?.name ?? '', replicasOf(rs)]));
  if (toAdd === 0 || active.length === 0) return next;
  let left = toAdd;
  for (const rs of active) {
    const before = Number(rs.metadata?.annotations?.[MAX_REPLICAS]) || total;
    const share = Math.round((replicasOf(rs) * limit) / before) - replicasOf(rs);
    const bounded = toAdd > 0 ? Math.min(Math.max(share, 0), left) : Math.max(Math.min(share, 0), left);
    next.set(rs.metadata?.name ?? '', replicasOf(rs) + bounded);
    left -= bounded;
  }
  const largest = active[0]!.metadata?.name ?? '';
  next.set(largest, Math.max(0, next.get(largest)! + left));
  return next;
}

/** True when the wanted number changed since the sets were last scaled. */
export function isScaling(deployment: Deployment, sets: readonly ReplicaSet[]): boolean {
  return sets
    .filter((rs) => replicasOf(rs) > 0)
    .some((rs) => {
      const desired = rs.metadata?.annotations?.[DESIRED_REPLICAS];
      return desired !== undefined && Number(desired) !== replicasOf(deployment);
    });
}
