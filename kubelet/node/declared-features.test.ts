import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { declaredFeatures, requiredFeatures } from './declared-features.ts';

const ON = [
  'NodeDeclaredFeatures',
  'RestartAllContainersOnContainerExits',
  'InPlacePodVerticalScalingInitContainers',
  'InPlacePodLevelResourcesVerticalScaling',
  'ExtendWebSocketsToKubelet',
];
const gates = (...off: string[]) => new Map(ON.map((name) => [name, !off.includes(name)]));

test('a node declares what its gates have on, sorted', () => {
  expect(declaredFeatures(gates())).toEqual([
    'ExtendWebSocketsToKubelet',
    'InPlacePodLevelResourcesVerticalScaling',
    'InPlacePodVerticalScalingInitContainers',
    'RestartAllContainersOnContainerExits',
  ]);
  expect(declaredFeatures(gates('ExtendWebSocketsToKubelet'))).toHaveLength(3);
  expect(declaredFeatures(gates('NodeDeclaredFeatures'))).toBeUndefined();
});

test.each(['containers', 'initContainers'] as const)('a pod whose %s may restart all needs that feature', (kind) => {
  const rule = (action: 'Restart' | 'RestartAllContainers') => ({
    action,
    exitCodes: { operator: 'In' as const, values: [1] },
  });
  const pod = (action: 'Restart' | 'RestartAllContainers'): Pod => ({
    spec: { containers: [], [kind]: [{ name: 'a', restartPolicyRules: [rule(action)] }] },
  });
  expect(requiredFeatures(pod('RestartAllContainers'))).toEqual(['RestartAllContainersOnContainerExits']);
  expect(requiredFeatures(pod('Restart'))).toEqual([]);
});
