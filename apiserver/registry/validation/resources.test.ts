import { describe, expect, test } from 'vitest';
import type { PodSpec, ResourceRequirements } from '../../../api/pod.ts';
import { defaultPod } from '../defaults/pod.ts';
import type { FieldError } from '../field-errors.ts';
import { podLevelFaults, resizePolicyFaults, resourcesFaults } from './resources.ts';

const texts = (faults: readonly FieldError[]) => faults.map((f) => `${f.field}: ${f.message}`);

describe('requests and limits of a container', () => {
  const cases: Readonly<Record<string, readonly [ResourceRequirements, readonly string[]]>> = {
    fine: [{ limits: { cpu: '1', 'example.com/dev': '2' }, requests: { cpu: '500m', 'example.com/dev': '2' } }, []],
    negative: [
      { requests: { cpu: '-1' } },
      ['r.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
    ],
    'a name of nobody': [
      { requests: { gpu: '1' } },
      [
        'r.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified',
        'r.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers',
      ],
    ],
    'half a device': [
      { limits: { 'example.com/dev': '500m' }, requests: { 'example.com/dev': '500m' } },
      [
        'r.limits[example.com/dev]: Invalid value: "500m": must be an integer',
        'r.requests[example.com/dev]: Invalid value: "500m": must be an integer',
      ],
    ],
    'a device without a limit': [
      { requests: { 'example.com/dev': '1' } },
      ['r.limits: Required value: Limit must be set for non overcommitable resources'],
    ],
    'a device promised twice': [
      { limits: { 'example.com/dev': '2' }, requests: { 'example.com/dev': '1' } },
      ['r.requests: Invalid value: "1": must be equal to example.com/dev limit of 2'],
    ],
    'huge pages alone': [
      { limits: { 'hugepages-2Mi': '2Mi' }, requests: { 'hugepages-2Mi': '2Mi' } },
      ['r: Forbidden: HugePages require cpu or memory'],
    ],
  };
  test.each(Object.entries(cases))('%s', (_name, [resources, expected]) => {
    expect(texts(resourcesFaults(resources, 'r'))).toEqual(expected);
  });
});

test('a resizePolicy names cpu and memory once each, and no restart where nothing restarts', () => {
  const policies = [
    { resourceName: 'cpu', restartPolicy: 'RestartContainer' },
    { resourceName: 'cpu', restartPolicy: 'Sometimes' },
    { resourceName: 'disk' },
  ];
  expect(texts(resizePolicyFaults(policies, 'p', 'Always'))).toEqual([
    'p[1]: Duplicate value: "cpu"',
    'p: Unsupported value: "Sometimes": supported values: "NotRequired", "RestartContainer"',
    'p: Unsupported value: "disk": supported values: "cpu", "memory"',
    'p: Required value',
  ]);
  expect(texts(resizePolicyFaults(policies.slice(0, 1), 'p', 'Never'))).toEqual([
    "p: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
  ]);
});

describe('resources of the pod as a whole', () => {
  const spec = (resources: ResourceRequirements, ...containers: ResourceRequirements[]): PodSpec => ({
    containers: containers.map((r, i) => ({ name: `c${i}`, image: 'x', resources: r })),
    resources,
  });

  test('requests are those of the containers where the pod is limited, or else its limit', () => {
    const limited = spec(
      { limits: { cpu: '1', memory: '1Gi' } },
      { requests: { cpu: '100m' } },
      { limits: { cpu: '1' } },
    );
    defaultPod(limited);
    expect(limited.resources?.requests).toEqual({ cpu: '1100m', memory: '1Gi' });
    const open = spec({ requests: { cpu: '1' } }, { requests: { memory: '1Gi' } });
    defaultPod(open);
    expect(open.resources?.requests).toEqual({ cpu: '1' });
  });

  test('they hold what the containers ask for, and limit each of them', () => {
    const all = { limits: { cpu: '1' }, requests: { cpu: '1' } };
    const faulty = spec(all, { requests: { cpu: '700m' } }, { requests: { cpu: '700m' }, limits: { cpu: '2' } });
    expect(texts(podLevelFaults(faulty, 'spec'))).toEqual([
      'spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 1400m',
      'spec.containers[1].resources.limits[cpu]: Invalid value: "2": must be less than or equal to pod limits of 1',
    ]);
    expect(texts(podLevelFaults(spec({ requests: { 'ephemeral-storage': '1' } }), 'spec'))).toEqual([
      'spec.resources.requests[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "memory", "hugepages-"',
    ]);
  });
});
