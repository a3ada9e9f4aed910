import type { ResourceQuota } from 'kubernetes-types/core/v1.js';
import { describe, expect, test } from 'vitest';
import type { KubeObject } from '../../api/meta.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { formatQuantity, parseQuantity } from '../../api/quantity.ts';
import { charged, coversPod, difference, quotaStatus, refusal } from './quotas.ts';
import { missingRequirements, type Usage, usageOf } from './usage.ts';

const NOW = Date.parse('2026-01-01T00:00:00Z');
const core = (resource: string) => ({ group: '', resource });
const texts = (usage: Usage) => Object.fromEntries([...usage].map(([name, q]) => [name, formatQuantity(q)]));
const amounts = (of: Record<string, string>): Usage =>
  new Map(Object.entries(of).map(([name, text]) => [name, parseQuantity(text)]));
const pod = (resources: object = {}, spec: Partial<PodSpec> = {}, more: Partial<Pod> = {}): Pod => ({
  metadata: { name: 'p' },
  spec: { containers: [{ name: 'c', image: 'i', resources }], ...spec },
  ...more,
});
const limited = { requests: { cpu: '100m', memory: '1Gi', 'example.com/dev': '1' }, limits: { cpu: '1' } };

describe('what is taken', () => {
  test.each<[string, string, object, object]>([
    [
      'a pod: itself, requests by both names, limits',
      'pods',
      pod(limited),
      {
        'count/pods': '1',
        pods: '1',
        cpu: '100m',
        'requests.cpu': '100m',
        memory: '1Gi',
        'requests.memory': '1Gi',
        'requests.example.com/dev': '1',
        'limits.cpu': '1',
      },
    ],
    [
      'a pod that has ended: its place alone',
      'pods',
      pod(limited, {}, { status: { phase: 'Failed' } }),
      { 'count/pods': '1' },
    ],
    [
      'a pod whose grace is over',
      'pods',
      pod(limited, {}, { metadata: { deletionTimestamp: '2025-12-31T23:59:59Z' } }),
      { 'count/pods': '1' },
    ],
    ['a Service', 'services', { spec: { type: 'ClusterIP', ports: [{}] } }, { 'count/services': '1', services: '1' }],
    [
      'node ports of a load balancer',
      'services',
      { spec: { type: 'LoadBalancer', ports: [{}, {}] } },
      { 'count/services': '1', services: '1', 'services.loadbalancers': '1', 'services.nodeports': '2' },
    ],
    [
      'a claim, of all and of its class',
      'persistentvolumeclaims',
      { spec: { storageClassName: 'fast', resources: { requests: { storage: '1Gi' } } } },
      {
        'count/persistentvolumeclaims': '1',
        persistentvolumeclaims: '1',
        'requests.storage': '1Gi',
        'fast.storageclass.storage.k8s.io/persistentvolumeclaims': '1',
        'fast.storageclass.storage.k8s.io/requests.storage': '1Gi',
      },
    ],
    ['a ConfigMap', 'configmaps', {}, { 'count/configmaps': '1', configmaps: '1' }],
  ])('%s', (_name, resource, object, expected) => {
    expect(texts(usageOf(core(resource), object as KubeObject, NOW))).toEqual(expected);
  });

  test('kinds of other groups are counted by their full name', () => {
    expect(texts(usageOf({ group: 'apps', resource: 'deployments' }, {}, NOW))).toEqual({
      'count/deployments.apps': '1',
    });
  });

  test('what every container must say when it is tracked', () => {
    const two = pod({ requests: { cpu: '1' } }, { initContainers: [{ name: 'i', image: 'i' }] });
    expect(missingRequirements(['cpu', 'limits.memory', 'pods', 'requests.ephemeral-storage'], two)).toBe(
      'must specify cpu for: i; limits.memory for: c,i',
    );
    expect(missingRequirements(['pods'], two)).toBeUndefined();
    const whole = { ...two, spec: { ...two.spec!, resources: { requests: { cpu: '2' } } } };
    expect(missingRequirements(['cpu'], whole)).toBeUndefined();
  });
});

describe('what a quota says', () => {
  const quota = (hard: Record<string, string>, used?: Record<string, string>): ResourceQuota => ({
    metadata: { name: 'q' },
    spec: { hard },
    status: { hard, ...(used && { used }) },
  });

  test('names what is exceeded, sorted, and nothing else', () => {
    const q = quota({ cpu: '800m', memory: '800Mi', pods: '9' }, { cpu: '600m', memory: '600Mi', pods: '2' });
    expect(refusal(q, amounts({ memory: '450Mi', cpu: '300m', pods: '1' }))).toBe(
      'exceeded quota: q, requested: cpu=300m,memory=450Mi, used: cpu=600m,memory=600Mi, limited: cpu=800m,memory=800Mi',
    );
    expect(refusal(q, amounts({ cpu: '200m', pods: '1' }))).toBeUndefined();
  });

  test('giving back is always allowed, and what is not counted yet never', () => {
    expect(refusal(quota({ cpu: '1' }, { cpu: '5' }), amounts({ cpu: '-1' }))).toBeUndefined();
    expect(refusal(quota({ cpu: '1', pods: '1' }), amounts({ pods: '1', cpu: '1' }))).toBe(
      'status unknown for quota: q, resources: cpu,pods',
    );
  });

  test('changes are charged as they are', () => {
    const change = difference(amounts({ cpu: '300m', a: '1' }), amounts({ cpu: '500m', a: '1', b: '1' }));
    expect(texts(change)).toEqual({ cpu: '-200m', b: '-1' });
    expect(charged({ cpu: '1', b: '1' }, change)).toEqual({ cpu: '800m', b: '0' });
  });

  test('its status counts what is there', () => {
    const things = [
      [core('pods'), pod(limited)],
      [core('pods'), pod(limited, {}, { status: { phase: 'Succeeded' } })],
      [core('secrets'), {}],
    ] as const;
    const q = quota({ cpu: '1', pods: '5', secrets: '3', 'requests.nvidia.com/gpu': '1' });
    expect(quotaStatus(q, things, NOW).used).toEqual({
      cpu: '100m',
      pods: '1',
      secrets: '1',
      'requests.nvidia.com/gpu': '0',
    });
  });
});

describe('scopes', () => {
  const scoped = (spec: NonNullable<ResourceQuota['spec']>): ResourceQuota => ({ spec });
  const select = (operator: string, ...values: string[]) =>
    scoped({ scopeSelector: { matchExpressions: [{ scopeName: 'PriorityClass', operator, values }] } });
  test.each<[string, ResourceQuota, Pod, boolean]>([
    ['Terminating', scoped({ scopes: ['Terminating'] }), pod({}, { activeDeadlineSeconds: 5 }), true],
    ['NotTerminating', scoped({ scopes: ['NotTerminating'] }), pod({}, { activeDeadlineSeconds: 5 }), false],
    ['BestEffort', scoped({ scopes: ['BestEffort'] }), pod(), true],
    ['BestEffort of another class', scoped({ scopes: ['BestEffort'] }), pod(limited), false],
    ['NotBestEffort', scoped({ scopes: ['NotBestEffort'] }), pod(limited), true],
    ['all of several', scoped({ scopes: ['NotBestEffort', 'Terminating'] }), pod(limited), false],
    ['PriorityClass In', select('In', 'high'), pod({}, { priorityClassName: 'high' }), true],
    ['PriorityClass In, another', select('In', 'high'), pod(), false],
    ['PriorityClass NotIn', select('NotIn', 'high'), pod(), true],
    ['PriorityClass Exists', select('Exists'), pod({}, { priorityClassName: 'low' }), true],
  ])('%s', (_name, quota, p, covered) => {
    expect(coversPod(quota, p)).toBe(covered);
  });
});
