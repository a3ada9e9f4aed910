import { describe, expect, test } from 'vitest';
import type { Pod } from '../api/pod.ts';
import { parseQuantity } from '../api/quantity.ts';
import type { Shortage } from './node-fit.ts';
import { chooseVictims, preemptedStatus } from './preemption.ts';

type Amounts = Readonly<Record<string, string>>;

function pod(name: string, requests: Amounts, more: { limits?: Amounts; priority?: number } = {}): Pod {
  const { limits = {}, priority } = more;
  return {
    metadata: { name, namespace: 'ns', uid: name },
    spec: {
      containers: [{ name: 'c', resources: { requests, limits } }],
      ...(priority === undefined ? {} : { priority }),
    },
  };
}

const guaranteed = (name: string, amounts: Amounts) => pod(name, amounts, { limits: amounts });
const burstable = (name: string, requests: Amounts) => pod(name, requests);
const bestEffort = (name: string) => pod(name, {});
const critical = (name: string, priority: number, requests: Amounts = {}) => pod(name, requests, { priority });
const lacking = (amounts: Amounts): Shortage[] =>
  Object.entries(amounts).map(([resource, text]) => ({ resource, missing: parseQuantity(text) }));

const CRITICAL = critical('critical', 2_000_000_000);
const SMALL = { cpu: '100m', memory: '100Mi' };
const BIG = { cpu: '300m', memory: '300Mi' };

function chosen(active: readonly Pod[], missing: Amounts, preemptor = CRITICAL): string[] | string {
  const choice = chooseVictims(preemptor, active, lacking(missing));
  return 'unmet' in choice ? choice.unmet : choice.victims.map((p) => p.metadata!.name!);
}

describe('who makes room for a critical pod', () => {
  test.each<[string, Pod[], Amounts, string[] | string]>([
    ['a place: one pod that asks for nothing', [guaranteed('g', SMALL), bestEffort('be')], { pods: '1' }, ['be']],
    ['cpu: burstable before guaranteed', [guaranteed('g', SMALL), burstable('bu', SMALL)], { cpu: '100m' }, ['bu']],
    [
      'the one that suffices, not two smaller',
      [burstable('a', SMALL), burstable('b', SMALL), burstable('big', BIG)],
      { cpu: '150m' },
      ['big'],
    ],
    [
      'of those that suffice the smallest',
      [burstable('big', BIG), burstable('small', SMALL)],
      { cpu: '50m' },
      ['small'],
    ],
    ['as many as it takes', [burstable('a', SMALL), burstable('b', BIG)], { cpu: '400m' }, ['b', 'a']],
    [
      'the guaranteed one alone where it is needed and enough',
      [guaranteed('g', BIG), burstable('bu', SMALL), bestEffort('be')],
      { cpu: '350m' },
      ['bu', 'g'],
    ],
    [
      'two resources at once',
      [burstable('cpu', { cpu: '1' }), burstable('memory', { memory: '1Gi' })],
      { cpu: '1', memory: '1Gi' },
      ['memory', 'cpu'],
    ],
    ['nobody has enough', [burstable('a', SMALL)], { cpu: '150m' }, '(res: cpu, q: 50), '],
    ['nobody is less critical', [critical('other', 2_000_000_000, BIG)], { memory: '1Ki' }, '(res: memory, q: 1024), '],
  ])('%s', (_, active, missing, wanted) => {
    const found = chosen(active, missing);
    expect(Array.isArray(found) ? [...found].sort() : found).toEqual(
      Array.isArray(wanted) ? [...wanted].sort() : wanted,
    );
  });

  test('a critical pod gives way to a more critical one only', () => {
    const lower = critical('lower', 2_000_000_000, BIG);
    expect(chosen([lower], { cpu: '100m' }, critical('higher', 2_000_001_000))).toEqual(['lower']);
    const isStatic = { ...BIG_STATIC };
    expect(chosen([lower], { cpu: '100m' }, isStatic)).toBe('(res: cpu, q: 100), '); // it has no priority to compare
    expect(chosen([burstable('bu', BIG)], { cpu: '100m' }, isStatic)).toEqual(['bu']);
  });

  test('a pod that is not critical takes nobody’s place', () => {
    expect(chosen([bestEffort('be')], { pods: '1' }, pod('plain', {}))).toBe('(res: pods, q: 1), ');
  });
});

const BIG_STATIC: Pod = {
  ...pod('static', BIG),
  metadata: { name: 'static', namespace: 'ns', uid: 'static', annotations: { 'kubernetes.io/config.source': 'file' } },
};

test('the status of a pod that lost its place; once said, the time of the condition stays', () => {
  const victim: Pod = { ...pod('victim', SMALL), metadata: { name: 'victim', generation: 3 } };
  const first = preemptedStatus(victim, 1000)({ phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] });
  expect(first).toEqual({
    phase: 'Failed',
    reason: 'Preempting',
    message: 'Preempted in order to admit critical pod',
    conditions: [
      { type: 'Ready', status: 'True' },
      {
        type: 'DisruptionTarget',
        observedGeneration: 3,
        status: 'True',
        reason: 'TerminationByKubelet',
        message: 'Pod was preempted by Kubelet to accommodate a critical pod.',
        lastTransitionTime: '1970-01-01T00:00:01Z',
      },
    ],
  });
  expect(preemptedStatus(victim, 99_000)(first)).toEqual(first);
});
