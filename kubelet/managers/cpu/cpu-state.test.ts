import { expect, test } from 'vitest';
import { formatCpuSet, parseCpuSet } from '../cpu-set.ts';
import { type CpuAssignments, cpuStateFault, parseCpuState, renderCpuState } from './cpu-state.ts';

function assignments(pool: string, entries: Readonly<Record<string, Readonly<Record<string, string>>>> = {}) {
  return {
    pool: parseCpuSet(pool),
    entries: new Map(
      Object.entries(entries).map(([uid, containers]) => [
        uid,
        new Map(Object.entries(containers).map(([name, cpus]) => [name, parseCpuSet(cpus)])),
      ]),
    ),
  };
}

/** Written by kubelets. */
const WRITTEN: readonly (readonly [string, string])[] = [
  ['none', '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}'],
  ['static', '{"policyName":"static","defaultCpuSet":"1,3-15,17,19-31","checksum":1902567528}'],
  [
    'static',
    '{"policyName":"static","defaultCpuSet":"0,4-27","entries":{"39b37746-7f5e-4064-b8e1-eebd2bfaa003":{"app":"1-3"}},"checksum":3300516549}',
  ],
  [
    'static',
    '{"policyName":"static","defaultCpuSet":"0,4-8,12-15","entries":{"088fe178-cec9-4eb9-ba3c-cf45cba46371":{"qos-demo-ctr":"1,9"},"681eca58-a216-4ec4-a57b-941cad3c4e0f":{"qos-demo-ctr":"2-3,10-11"}},"checksum":2993692383}',
  ],
];

test.each(WRITTEN)('a file of a kubelet (%s) is read, and written as it was: %s', (policy, text) => {
  expect(renderCpuState(policy, parseCpuState(text, policy))).toBe(text);
});

test('a file of a kubelet that could give CPUs to whole pods', () => {
  const entries = { pod: { container1: '4-6', container2: '1-3' } };
  const text = JSON.stringify({ policyName: 'static', defaultCpuSet: '7-9', entries, checksum: 1942532442 });
  expect(formatCpuSet(parseCpuState(text, 'static').pool)).toBe('7-9');
  const withPods = JSON.stringify({ ...JSON.parse(text), podEntries: { other: { cpuSet: '2' } } });
  expect(() => parseCpuState(withPods, 'static')).toThrow('it holds CPUs of whole pods');
});

test('pods and containers in the order of their names, whatever order they came in', () => {
  const one = renderCpuState('static', assignments('0', { b: { y: '1', x: '2' }, a: { z: '3' } }));
  expect(one).toBe(renderCpuState('static', assignments('0', { a: { z: '3' }, b: { x: '2', y: '1' } })));
  expect(one).toContain('"entries":{"a":{"z":"3"},"b":{"x":"2","y":"1"}}');
});

test.each([
  ['{', 'JSON'],
  ['[]', 'checkpoint is corrupted'],
  ['null', 'checkpoint is corrupted'],
  ['{"policyName":"static","defaultCpuSet":"0-1","checksum":1}', 'checkpoint is corrupted'],
  ['{"policyName":"static","defaultCpuSet":"0-1","entries":{"u":7},"checksum":0}', 'checkpoint is corrupted'],
  ['{"policyName":"static","defaultCpuSet":"0-x","checksum":0}', 'no list of CPUs'],
  ['{"policyName":"static","defaultCpuSet":"0-1","entries":{"u":{"c":"9999999"}},"checksum":0}', 'no list of CPUs'],
  [
    '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}',
    'configured policy "static" differs from state checkpoint policy "none"',
  ],
])('%s is refused', (text, why) => {
  expect(() => parseCpuState(text, 'static')).toThrow(why);
});

const RULES = { all: parseCpuSet('0-3'), reserved: parseCpuSet('0'), strict: false };

test.each<[string, CpuAssignments, string, boolean]>([
  ['is right', assignments('0,3', { u: { c: '1-2' } }), '', false],
  ['is empty', assignments('', { u: { c: '0-3' } }), 'default cpuset cannot be empty', false],
  [
    'gave reserved CPUs away',
    assignments('1-3', { u: { c: '0' } }),
    'not all reserved cpus: "0" are present in defaultCpuSet: "1-3"',
    false,
  ],
  [
    'overlaps',
    assignments('0-2', { u: { c: '2-3' } }),
    'pod: u, container: c cpuset: "2-3" overlaps with default cpuset "0-2"',
    false,
  ],
  [
    'is of a machine with more CPUs',
    assignments('0-7'),
    'current set of available CPUs "0-3" doesn\'t match with CPUs in state "0-7"',
    false,
  ],
  [
    'is of a machine with fewer',
    assignments('0-1', { u: { c: '2' } }),
    'current set of available CPUs "0-3" doesn\'t match with CPUs in state "0-2"',
    false,
  ],
  [
    'shares CPUs that are kept strictly',
    assignments('0-3'),
    'some of strictly reserved cpus: "0" are present in defaultCpuSet: "0-3"',
    true,
  ],
  ['keeps them', assignments('1-3'), '', true],
])('a state that %s', (_, state, fault, strict) => {
  expect(cpuStateFault(state, { ...RULES, strict }) ?? '').toBe(fault);
});
