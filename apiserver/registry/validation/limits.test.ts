import { describe, expect, test } from 'vitest';
import { defaultLimitRange } from '../defaults/others.ts';
import type { AnyObject } from '../definition.ts';
import type { FieldError } from '../field-errors.ts';
import {
  disruptionBudgetFaults,
  limitRangeFaults,
  resourceQuotaFaults,
  resourceQuotaUpdateFaults,
  runtimeClassFaults,
} from './limits.ts';

const texts = (faults: readonly FieldError[]) => faults.map((f) => `${f.field}: ${f.message}`);

describe('LimitRange', () => {
  test.each<[string, object[], string[]]>([
    ['one that is fine', [{ type: 'Container', min: { cpu: '1' }, max: { cpu: '2' } }], []],
    [
      'least above most',
      [{ type: 'Pod', min: { cpu: '2' }, max: { cpu: '1' } }],
      ['spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
    ],
    [
      'a default beyond the most',
      [{ type: 'Container', default: { cpu: '3' }, defaultRequest: { cpu: '1' }, max: { cpu: '2' } }],
      ['spec.limits[0].default[cpu]: Invalid value: "3": default value 3 is greater than max value 2'],
    ],
    [
      'a request below the least',
      [{ type: 'Container', defaultRequest: { cpu: '1' }, min: { cpu: '2' } }],
      ['spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1'],
    ],
    [
      'defaults for pods',
      [{ type: 'Pod', default: { cpu: '1' } }],
      ["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
    ],
    [
      'claims without a bound',
      [{ type: 'PersistentVolumeClaim' }],
      [
        'spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided',
      ],
    ],
    ['a type twice', [{ type: 'Pod' }, { type: 'Pod' }], ['spec.limits[1].type: Duplicate value: "Pod"']],
  ])('%s', (_name, limits, expected) => {
    const object: AnyObject = { spec: { limits } };
    defaultLimitRange(object);
    expect(texts(limitRangeFaults(object))).toEqual(expected);
  });
});

test('ResourceQuota: amounts, scopes, and scopes that stay', () => {
  const scopeSelector = { matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In' }] };
  expect(texts(resourceQuotaFaults({ spec: { hard: { pods: '-1' }, scopes: ['Fast'], scopeSelector } }))).toEqual([
    'spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0',
    'spec.scopes: Invalid value: "Fast": unsupported scope',
    "spec.scopeSelector.matchExpressions[0].values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
  ]);
  const [two, one] = [{ spec: { scopes: ['Terminating', 'BestEffort'] } }, { spec: { scopes: ['BestEffort'] } }];
  expect(resourceQuotaUpdateFaults(two, { spec: { scopes: ['BestEffort', 'Terminating'] } })).toEqual([]);
  expect(texts(resourceQuotaUpdateFaults(one, two))).toEqual([
    'spec.scopes: Invalid value: ["BestEffort"]: field is immutable',
  ]);
});

test.each<[object, string[]]>([
  [{ minAvailable: 1 }, []],
  [{ minAvailable: '50%', unhealthyPodEvictionPolicy: 'AlwaysAllow' }, []],
  [{ minAvailable: -1 }, ['spec.minAvailable: Invalid value: -1: must be greater than or equal to 0']],
  [{ maxUnavailable: '101%' }, ['spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%']],
  [
    { unhealthyPodEvictionPolicy: 'Never' },
    ['spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"'],
  ],
])('PodDisruptionBudget %j', (spec, expected) => {
  expect(texts(disruptionBudgetFaults({ spec }))).toEqual(expected);
});

test('PodDisruptionBudget: one way of counting', () => {
  expect(texts(disruptionBudgetFaults({ spec: { minAvailable: 1, maxUnavailable: 1 } }))).toEqual([
    expect.stringContaining('minAvailable and maxUnavailable cannot be both set'),
  ]);
});

test('RuntimeClass: a handler that can be a name', () => {
  expect(runtimeClassFaults({ handler: 'runc' } as AnyObject)).toEqual([]);
  expect(texts(runtimeClassFaults({ handler: 'A b' } as AnyObject))).toEqual([
    expect.stringContaining('handler: Invalid value: "A b"'),
  ]);
});
