import { describe, expect, test } from 'vitest';
import type { Node, Taint } from './kinds.ts';
import type { Toleration } from './pod.ts';
import { firstUntolerated, hostPortsConflict, hostPortsOf, matchesNodeSelection, tolerates } from './scheduling.ts';

const taint: Taint = { key: 'k', value: 'v', effect: 'NoSchedule' };

describe('tolerations', () => {
  test.each<[Toleration, boolean]>([
    [{ key: 'k', value: 'v', effect: 'NoSchedule' }, true],
    [{ key: 'k', operator: 'Equal', value: 'v' }, true],
    [{ key: 'k', operator: 'Equal', value: 'w' }, false],
    [{ key: 'k', operator: 'Exists' }, true],
    [{ key: 'k', operator: 'Exists', effect: 'NoExecute' }, false],
    [{ operator: 'Exists' }, true],
    [{ value: 'v' }, false],
    [{ key: 'other', operator: 'Exists' }, false],
  ])('%j → %s', (toleration, expected) => {
    expect(tolerates(toleration, taint)).toBe(expected);
  });

  test('only taints with the asked effects count', () => {
    expect(firstUntolerated([taint], [], ['NoExecute'])).toBeUndefined();
    expect(firstUntolerated([taint], [], ['NoSchedule'])).toBe(taint);
    expect(firstUntolerated(undefined, undefined, ['NoSchedule'])).toBeUndefined();
  });
});

describe('node selection', () => {
  const node: Node = { metadata: { name: 'n1', labels: { disk: 'ssd', cores: '8' } } };
  const affinity = (...nodeSelectorTerms: object[]) => ({
    containers: [],
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
  });

  test('nodeSelector must match entirely', () => {
    expect(matchesNodeSelection({ containers: [], nodeSelector: { disk: 'ssd' } }, node)).toBe(true);
    expect(matchesNodeSelection({ containers: [], nodeSelector: { disk: 'ssd', zone: 'a' } }, node)).toBe(false);
  });

  test('one affinity term is enough, but all of its expressions and fields must hold', () => {
    const big = { key: 'cores', operator: 'Gt', values: ['4'] };
    const here = { key: 'metadata.name', operator: 'In', values: ['n1'] };
    const there = { key: 'metadata.name', operator: 'In', values: ['n2'] };
    expect(matchesNodeSelection(affinity({ matchExpressions: [big], matchFields: [here] }), node)).toBe(true);
    expect(matchesNodeSelection(affinity({ matchExpressions: [big], matchFields: [there] }), node)).toBe(false);
    expect(matchesNodeSelection(affinity({ matchFields: [there] }, { matchFields: [here] }), node)).toBe(true);
    expect(matchesNodeSelection(affinity({}), node)).toBe(false);
  });
});

test('host ports conflict on the same port and protocol, unless bound to different addresses', () => {
  const [a, b] = hostPortsOf({
    spec: {
      containers: [
        {
          name: 'c',
          ports: [
            { containerPort: 80, hostPort: 8080 },
            { containerPort: 81, hostPort: 8080, protocol: 'UDP' },
            { containerPort: 82 },
          ],
        },
      ],
    },
  });
  expect([a, b]).toEqual([
    { ip: '0.0.0.0', protocol: 'TCP', port: 8080 },
    { ip: '0.0.0.0', protocol: 'UDP', port: 8080 },
  ]);
  expect(hostPortsConflict(a!, b!)).toBe(false);
  expect(hostPortsConflict(a!, { ...a!, ip: '10.0.0.1' })).toBe(true);
  expect(hostPortsConflict({ ...a!, ip: '10.0.0.2' }, { ...a!, ip: '10.0.0.1' })).toBe(false);
});
