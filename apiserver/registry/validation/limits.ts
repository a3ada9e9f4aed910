// What limits what others may ask for: LimitRange, ResourceQuota, PodDisruptionBudget, RuntimeClass. Source:
// pkg/apis/core/validation, pkg/apis/policy/validation, pkg/apis/node/validation.
import type { LimitRange, LimitRangeItem, ResourceQuota } from 'kubernetes-types/core/v1.js';
import type { RuntimeClass } from 'kubernetes-types/node/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { compareQuantities, isQuantity, parseQuantity } from '../../../api/quantity.ts';
import type { AnyObject } from '../definition.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import { labelFaults } from '../metadata.ts';
import { labelSelectorFaults } from './selectors.ts';

type Amounts = Readonly<Record<string, string>>;

export function limitRangeFaults(object: AnyObject): FieldError[] {
  const types = new Set<string>();
  return ((object as LimitRange).spec?.limits ?? []).flatMap((item, i) => {
    const path = `spec.limits[${i}]`;
    const faults = types.has(item.type) ? [duplicate(`${path}.type`, item.type)] : [];
    types.add(item.type);
    return [...faults, ...itemFaults(item, path)];
  });
}

function itemFaults(item: LimitRangeItem, path: string): FieldError[] {
  const faults: FieldError[] = [];
  if (item.type === 'Pod') {
    for (const member of ['default', 'defaultRequest'] as const) {
      if (Object.keys(item[member] ?? {}).length > 0) {
        faults.push(forbiddenField(`${path}.${member}`, "may not be specified when `type` is 'Pod'"));
      }
    }
  }
  if (item.type === 'PersistentVolumeClaim' && !item.min?.storage && !item.max?.storage) {
    faults.push(
      required(`${path}.limits`, 'either minimum or maximum storage value is required, but neither was provided'),
    );
  }
  const { min, max, default: limit, defaultRequest: request } = item;
  return [
    ...faults,
    ...orderFaults(min, max, `${path}.min`, 'min', 'max'),
    ...orderFaults(min, request, `${path}.defaultRequest`, 'min', 'default request', true),
    ...orderFaults(request, max, `${path}.defaultRequest`, 'default request', 'max'),
    ...orderFaults(request, limit, `${path}.defaultRequest`, 'default request', 'default limit'),
    ...orderFaults(min, limit, `${path}.default`, 'min', 'default', true),
    ...orderFaults(limit, max, `${path}.default`, 'default', 'max'),
  ];
}

/** Names of which `low` is more than `high`. The value shown is that of `low`, or of `high` when `showHigh`. */
function orderFaults(
  low: Amounts | undefined,
  high: Amounts | undefined,
  path: string,
  lowName: string,
  highName: string,
  showHigh = false,
): FieldError[] {
  return Object.entries(low ?? {}).flatMap(([name, value]) => {
    const other = high?.[name];
    if (other === undefined || compareQuantities(parseQuantity(value), parseQuantity(other)) <= 0) return [];
    const why = `${lowName} value ${value} is greater than ${highName} value ${other}`;
    return [invalid(`${path}[${name}]`, showHigh ? other : value, why)];
  });
}

const SCOPES = [
  'BestEffort',
  'CrossNamespacePodAffinity',
  'NotBestEffort',
  'NotTerminating',
  'PriorityClass',
  'Terminating',
  'VolumeAttributesClass',
];

export function resourceQuotaFaults(object: AnyObject): FieldError[] {
  const { hard = {}, scopes = [], scopeSelector } = (object as ResourceQuota).spec ?? {};
  const faults = Object.entries(hard).flatMap(([name, amount]) => {
    const field = `spec.hard[${name}]`;
    if (!isQuantity(amount)) return [invalid(field, amount, 'must be a quantity')];
    const negative = parseQuantity(amount).nanos < 0n;
    return negative ? [invalid(field, amount, 'must be greater than or equal to 0')] : [];
  });
  scopes.forEach((scope) => {
    if (!SCOPES.includes(scope)) faults.push(invalid('spec.scopes', scope, 'unsupported scope'));
  });
  (scopeSelector?.matchExpressions ?? []).forEach(({ scopeName, operator, values = [] }, i) => {
    const field = `spec.scopeSelector.matchExpressions[${i}]`;
    if (!SCOPES.includes(scopeName)) faults.push(invalid(`${field}.scopeName`, scopeName, 'unsupported scope'));
    const listed = operator === 'In' || operator === 'NotIn';
    if (listed && values.length === 0) {
      faults.push(
        required(`${field}.values`, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"),
      );
    }
    if (!listed && values.length > 0) {
      faults.push(
        invalid(
          `${field}.values`,
          values,
          "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
        ),
      );
    }
  });
  return faults;
}

export function resourceQuotaUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const scopesOf = (o: AnyObject) => [...((o as ResourceQuota).spec?.scopes ?? [])].sort();
  const [wanted, known] = [scopesOf(next), scopesOf(old)];
  return wanted.join() === known.join() ? [] : [invalid('spec.scopes', wanted, 'field is immutable')];
}

const UNHEALTHY_POLICIES = ['AlwaysAllow', 'IfHealthyBudget'];

export function disruptionBudgetFaults(object: AnyObject): FieldError[] {
  const { spec } = object as unknown as PodDisruptionBudget;
  const faults = labelSelectorFaults(spec?.selector, 'spec.selector');
  if (spec?.minAvailable !== undefined && spec.maxUnavailable !== undefined) {
    faults.push(invalid('spec', spec, 'minAvailable and maxUnavailable cannot be both set'));
  }
  for (const member of ['minAvailable', 'maxUnavailable'] as const) {
    const value = spec?.[member];
    if (typeof value === 'number' && value < 0) {
      faults.push(invalid(`spec.${member}`, value, 'must be greater than or equal to 0'));
    } else if (typeof value === 'string' && !isPercent(value)) {
      const why = "a valid percent string must be a numeric string followed by an ending '%'";
      faults.push(
        invalid(`spec.${member}`, value, `${why} (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`),
      );
    } else if (typeof value === 'string' && Number.parseInt(value, 10) > 100) {
      faults.push(invalid(`spec.${member}`, value, 'must not be greater than 100%'));
    }
  }
  const policy = (spec as { unhealthyPodEvictionPolicy?: string } | undefined)?.unhealthyPodEvictionPolicy;
  if (policy !== undefined && !UNHEALTHY_POLICIES.includes(policy)) {
    faults.push(notSupported('spec.unhealthyPodEvictionPolicy', policy, UNHEALTHY_POLICIES));
  }
  return faults;
}

const isPercent = (text: string): boolean => /^[0-9]+%$/.test(text);

export function runtimeClassFaults(object: AnyObject): FieldError[] {
  const { handler, overhead } = object as unknown as RuntimeClass;
  const amounts = Object.entries(overhead?.podFixed ?? {});
  return [
    ...labelFaults('handler', handler ?? ''),
    ...amounts.flatMap(([name, amount]) =>
      parseQuantity(amount).nanos < 0n
        ? [invalid(`overhead.podFixed[${name}]`, amount, 'must be greater than or equal to 0')]
        : [],
    ),
  ];
}
