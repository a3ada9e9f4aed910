import { describe, expect, test } from 'vitest';
import type { Container, Pod, PodSpec, ResourceRequirements } from '../../../api/pod.ts';
import { defaultPod } from '../defaults/pod.ts';
import { qosClassOf } from '../defaults/qos.ts';
import type { AnyObject } from '../definition.ts';
import { resize } from '../kinds/pod-subresources.ts';

type Amounts = Readonly<Record<string, string>>;

const amounts = (requests?: Amounts, limits?: Amounts): ResourceRequirements => ({
  ...(requests && { requests: { ...requests } }),
  ...(limits && { limits: { ...limits } }),
});

function container(name: string, resources: ResourceRequirements = {}, more: Partial<Container> = {}): Container {
  return { name, image: 'busybox:1', resources, ...more };
}

function podOf(spec: PodSpec, more: Partial<Pod> = {}): Pod {
  const copy = structuredClone(spec);
  defaultPod(copy);
  return { metadata: { name: 'p', generation: 1 }, spec: copy, status: { qosClass: qosClassOf(copy) }, ...more };
}

/** Puts `spec` through the subresource as the server does. */
function resized(old: Pod, spec: PodSpec): { readonly next: Pod; readonly faults: string[] } {
  const next = structuredClone({ ...old, spec }) as AnyObject;
  resize.reset(next, old as AnyObject);
  defaultPod(next.spec);
  const faults = resize.validate!(next, old as AnyObject).map((f) => `${f.field}: ${f.message}`);
  return { next: next as Pod, faults };
}

const cpuMemory = (cpu: string, memory: string): Amounts => ({ cpu, memory });
const burstable = amounts(cpuMemory('20m', '35Mi'), cpuMemory('30m', '45Mi'));
const guaranteed = amounts(cpuMemory('20m', '35Mi'), cpuMemory('20m', '35Mi'));
const QOS = (old: string) => `spec: Invalid value: "${old}": Pod QOS Class may not change as a result of resizing`;
const RENAMED = (i: number) =>
  `spec.containers[${i}].name: Forbidden: containers may not be renamed or reordered on resize`;

describe('a resize is accepted', () => {
  const cases: Readonly<Record<string, readonly [ResourceRequirements, ResourceRequirements]>> = {
    'more cpu and memory': [burstable, amounts(cpuMemory('25m', '40Mi'), cpuMemory('35m', '50Mi'))],
    'requests and limits in opposite directions': [
      burstable,
      amounts(cpuMemory('15m', '40Mi'), cpuMemory('35m', '40Mi')),
    ],
    'all of a guaranteed pod': [guaranteed, amounts(cpuMemory('25m', '30Mi'), cpuMemory('25m', '30Mi'))],
    // Whether a limit may shrink is for the node to say: it knows how much is in use.
    'a smaller memory limit without a restart': [
      burstable,
      amounts(cpuMemory('20m', '10Ki'), cpuMemory('30m', '10Ki')),
    ],
    'limits where there were none': [amounts({ memory: '35Mi' }), amounts({ memory: '30Mi' }, { memory: '50Mi' })],
    'requests where there were none': [amounts({ cpu: '20m' }), amounts(cpuMemory('15m', '35Mi'))],
  };
  test.each(Object.entries(cases))('%s', (_name, [before, after]) => {
    const old = podOf({ containers: [container('c', before), container('idle')] });
    const { next, faults } = resized(old, { containers: [container('c', after), container('idle')] });
    expect(faults).toEqual([]);
    expect(next.spec!.containers[0]!.resources).toMatchObject(after);
  });

  test('of init containers, sidecars and the pod as a whole', () => {
    const spec = (r: ResourceRequirements): PodSpec => ({
      initContainers: [container('init', r), container('side', r, { restartPolicy: 'Always' })],
      containers: [container('c', r)],
      resources: amounts(cpuMemory(r.requests!.cpu! === '20m' ? '80m' : '90m', '200Mi')),
    });
    const old = podOf(spec(burstable));
    const { next, faults } = resized(old, spec(amounts(cpuMemory('25m', '40Mi'), cpuMemory('35m', '50Mi'))));
    expect(faults).toEqual([]);
    expect(next.spec!.initContainers!.map((c) => c.resources?.requests?.cpu)).toEqual(['25m', '25m']);
    expect(next.spec!.resources?.requests?.cpu).toBe('90m');
  });

  test('whatever else the writer sent is as it was', () => {
    const old = podOf({ containers: [container('c', burstable)], nodeName: 'n' });
    const more = amounts(cpuMemory('25m', '35Mi'), cpuMemory('30m', '45Mi'));
    const sent: PodSpec = { containers: [container('c', more, { image: 'other', env: [] })], hostNetwork: true };
    const { next, faults } = resized(old, sent);
    expect(faults).toEqual([]);
    const [first] = old.spec!.containers;
    expect(next).toEqual({ ...old, spec: { ...old.spec, containers: [{ ...first, resources: more }] } });
  });
});

describe('a resize is refused', () => {
  const one = (resources: ResourceRequirements, more: Partial<Container> = {}) => ({
    containers: [container('c', resources, more)],
  });
  const two = (...names: string[]) => ({ containers: names.map((n) => container(n, amounts({ cpu: '20m' }))) });
  const cases: Readonly<Record<string, readonly [PodSpec, PodSpec, readonly string[]]>> = {
    'a pod that asked for nothing': [one({}), one(amounts({ memory: '35Mi' })), [QOS('BestEffort')]],
    'requests raised to the limits': [
      one(burstable),
      one(amounts(burstable.limits, burstable.limits)),
      [QOS('Burstable')],
    ],
    'a guaranteed pod without limits': [
      one(guaranteed),
      one(amounts(guaranteed.requests)),
      [QOS('Guaranteed'), 'spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed'],
    ],
    'a request withdrawn': [
      one(amounts(cpuMemory('20m', '35Mi'))),
      one(amounts({ cpu: '20m' })),
      ['spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed'],
    ],
    'another resource': [
      one(amounts({ cpu: '20m', 'ephemeral-storage': '1' })),
      one(amounts({ cpu: '20m', 'ephemeral-storage': '3' })),
      ['spec: Forbidden: only cpu and memory resources are mutable'],
    ],
    'another resizePolicy': [
      one(burstable),
      one(burstable, { resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] }),
      ['spec: Forbidden: only cpu and memory resources are mutable'],
    ],
    'containers in another order': [two('c1', 'c2'), two('c2', 'c1'), [RENAMED(0), RENAMED(1)]],
    'other containers': [two('old1', 'old2'), two('new1', 'new2'), [RENAMED(0), RENAMED(1)]],
    'a container more': [
      two('c1'),
      two('c1', 'c2'),
      ['spec.containers: Forbidden: containers may not be added or removed on resize'],
    ],
    'a limit below the request': [
      one(burstable),
      one(amounts(cpuMemory('20m', '35Mi'), cpuMemory('10m', '45Mi'))),
      ['spec.containers[0].resources.requests: Invalid value: "20m": must be less than or equal to cpu limit of 10m'],
    ],
    'a pod-level request below what its containers ask for': [
      { ...one(burstable), resources: amounts({ cpu: '40m' }) },
      { ...one(burstable), resources: amounts({ cpu: '15m' }) },
      [
        'spec.resources.requests[cpu]: Invalid value: "15m": must be greater than or equal to aggregate container requests of 20m',
      ],
    ],
  };
  test.each(Object.entries(cases))('%s', (_name, [before, after, expected]) => {
    expect(resized(podOf(before), after).faults).toEqual(expected);
  });

  test('static pods, pods of Windows, and pods on nodes that cannot', () => {
    const spec = one(burstable);
    const mirror = podOf(spec, { metadata: { annotations: { 'kubernetes.io/config.mirror': 'x' } } });
    expect(resized(mirror, spec).faults).toEqual([': Forbidden: static pods cannot be resized']);
    const windows = podOf({ ...spec, os: { name: 'windows' } });
    expect(resized(windows, spec).faults).toEqual([': Forbidden: windows pods cannot be resized']);
    const running = { name: 'c', image: '', imageID: '', ready: true, restartCount: 0, state: { running: {} } };
    const unreported = podOf(spec, { status: { qosClass: 'Burstable', containerStatuses: [running] } });
    const why = 'spec: Forbidden: Pod running on node without support for resize';
    expect(resized(unreported, spec).faults).toEqual([why]);
    const reported = { ...running, resources: {} };
    const known = podOf(spec, { status: { qosClass: 'Burstable', containerStatuses: [reported] } });
    expect(resized(known, spec).faults).toEqual([]);
  });
});
