// Which quotas look at an object, and what they say to more of it. Pure. Source: apiserver
// pkg/admission/plugin/resourcequota, pkg/quota/v1.
import type { ResourceQuota } from 'kubernetes-types/core/v1.js';
import type { KubeObject } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import {
  addQuantities,
  compareQuantities,
  formatQuantity,
  parseQuantity,
  type Quantity,
  subtractQuantities,
  ZERO_QUANTITY,
} from '../../api/quantity.ts';
import type { ResourceType } from '../../api/resources.ts';
import { qosClassOf } from '../registry/defaults/qos.ts';
import { type Counted, type Usage, usageOf } from './usage.ts';

export const resourceQuotas: ResourceType<ResourceQuota> = Object.freeze({
  group: '',
  version: 'v1',
  plural: 'resourcequotas',
  kind: 'ResourceQuota',
  namespaced: true,
});

export type Amounts = Readonly<Record<string, string>>;

interface Scope {
  readonly scopeName: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

/** Whether the quota counts this pod. A quota with scopes counts nothing but pods. */
export function coversPod(quota: ResourceQuota, pod: Pod): boolean {
  return scopesOf(quota).every((scope) => matchesScope(scope, pod));
}

export function hasScopes(quota: ResourceQuota): boolean {
  return scopesOf(quota).length > 0;
}

function scopesOf({ spec }: ResourceQuota): Scope[] {
  const plain = (spec?.scopes ?? []).map((scopeName) => ({ scopeName, operator: 'Exists' }));
  return [...plain, ...(spec?.scopeSelector?.matchExpressions ?? [])];
}

function matchesScope({ scopeName, operator, values = [] }: Scope, { spec, status }: Pod): boolean {
  const isTerminating = (spec?.activeDeadlineSeconds ?? -1) >= 0;
  const isBestEffort = (status?.qosClass ?? (spec && qosClassOf(spec))) === 'BestEffort';
  switch (scopeName) {
    case 'Terminating':
      return isTerminating;
    case 'NotTerminating':
      return !isTerminating;
    case 'BestEffort':
      return isBestEffort;
    case 'NotBestEffort':
      return !isBestEffort;
    case 'PriorityClass': {
      const name = spec?.priorityClassName ?? '';
      if (operator === 'Exists' || operator === 'DoesNotExist') return (name !== '') === (operator === 'Exists');
      return values.includes(name) === (operator === 'In');
    }
    default:
      return false; // CrossNamespacePodAffinity: nothing here is charged for that
  }
}

/** What `next` takes more than `old`, name by name; negative where it takes less. Names without a change are left out. */
export function difference(next: Usage, old: Usage): Map<string, Quantity> {
  const result = new Map<string, Quantity>();
  for (const name of new Set([...next.keys(), ...old.keys()])) {
    const change = subtractQuantities(next.get(name) ?? ZERO_QUANTITY, old.get(name) ?? ZERO_QUANTITY);
    if (change.nanos !== 0n) result.set(name, change);
  }
  return result;
}

/** The part of `usage` that the quota limits. */
export function trackedBy({ status }: ResourceQuota, usage: Usage): Map<string, Quantity> {
  return new Map([...usage].filter(([name]) => status?.hard?.[name] !== undefined));
}

/** Why not, or undefined: `requested` has been narrowed to what the quota tracks. */
export function refusal(quota: ResourceQuota, requested: Usage): string | undefined {
  const name = quota.metadata?.name ?? '';
  const { hard = {}, used = {} } = quota.status ?? {};
  const unknown = [...requested.keys()].filter((n) => used[n] === undefined).sort();
  if (unknown.length > 0) return `status unknown for quota: ${name}, resources: ${unknown.join(',')}`;
  const exceeded = [...requested].filter(([n, amount]) => {
    if (amount.nanos <= 0n) return false;
    const total = addQuantities(parseQuantity(used[n]!), amount);
    return compareQuantities(total, parseQuantity(hard[n]!)) > 0;
  });
  if (exceeded.length === 0) return undefined;
  const list = (of: (name: string, amount: Quantity) => string) =>
    exceeded.map(([n, amount]) => `${n}=${of(n, amount)}`).sort();
  return (
    `exceeded quota: ${name}, requested: ${list((_n, amount) => formatQuantity(amount))}, ` +
    `used: ${list((n) => used[n]!)}, limited: ${list((n) => hard[n]!)}`
  );
}

/** `used` with `change` added. */
export function charged(used: Amounts, change: Usage): Record<string, string> {
  const result: Record<string, string> = { ...used };
  for (const [name, amount] of change) {
    result[name] = formatQuantity(addQuantities(parseQuantity(used[name] ?? '0'), amount));
  }
  return result;
}

/** The status as it should be: `things` are all objects of the namespace that are counted, with what they are. */
export function quotaStatus(
  quota: ResourceQuota,
  things: Iterable<readonly [Counted, KubeObject]>,
  nowMs: number,
): { readonly hard: Amounts; readonly used: Amounts } {
  const hard = quota.spec?.hard ?? {};
  const used = new Map<string, Quantity>(Object.keys(hard).map((name) => [name, ZERO_QUANTITY]));
  for (const [kind, object] of things) {
    const isPod = kind.group === '' && kind.resource === 'pods';
    if (isPod ? !coversPod(quota, object as Pod) : hasScopes(quota)) continue;
    for (const [name, amount] of usageOf(kind, object, nowMs)) {
      const sum = used.get(name);
      if (sum !== undefined) used.set(name, addQuantities(sum, amount));
    }
  }
  return { hard: { ...hard }, used: Object.fromEntries([...used].map(([name, sum]) => [name, formatQuantity(sum)])) };
}
