import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { faultsOf, kubelet, parse, STANDALONE } from './fake-command-line.ts';
import { ACTED_ON, GATES } from './feature-gates.ts';

test.each([
  [
    'GracefulNodeShutdown=false,WindowsGracefulNodeShutdown=false',
    '--config=/c: GracefulNodeShutdownBasedOnPodPriority is enabled, but depends on features that are disabled: [GracefulNodeShutdown]',
  ],
  [
    'NodeDeclaredFeatures=false,RestartAllContainersOnContainerExits=false',
    'InPlacePodLevelResourcesVerticalScaling is enabled, but depends on features that are disabled: [NodeDeclaredFeatures]',
  ],
  ['GangScheduling=true', 'GangScheduling is enabled, but depends on features that are disabled: [GenericWorkload]'],
])('%s', async (gates, fault) => {
  const faults = await faultsOf([...STANDALONE, `--feature-gates=${gates}`]);
  expect(faults).toHaveLength(1);
  expect(faults[0]).toContain(fault.replace('--config=/c: ', ''));
});

test('gates that are on for good, and those that change nothing, are told', async () => {
  const files = { '/c': kubelet('featureGates: {CustomCPUCFSQuotaPeriod: true, KMSv1: true, HPAScaleToZero: true}') };
  const { warnings } = await parse([...STANDALONE, '--config=/c'], files);
  expect(warnings).toEqual([
    'Setting GA feature gate CustomCPUCFSQuotaPeriod=true. It will be removed in a future release.',
    'Setting deprecated feature gate KMSv1=true. It will be removed in a future release.',
    'these feature gates are known and change nothing on this node: HPAScaleToZero=true',
  ]);
});

test('a beta or alpha gate with its default is not worth a word', async () => {
  const { warnings } = await parse([
    ...STANDALONE,
    '--feature-gates=HPAScaleToZero=false,EnvFiles=true,KubeletInUserNamespace=true',
  ]);
  expect(warnings).toEqual([]);
});

test('every gate that is acted on is known, and looked at somewhere', async () => {
  expect([...ACTED_ON].filter((name) => !GATES.has(name))).toEqual([]);
  const root = path.resolve(import.meta.dirname, '..', '..');
  let sources = '';
  for (const room of ['cmd', 'kubelet']) {
    for (const name of await readdir(path.join(root, room), { recursive: true })) {
      const isSource = name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.endsWith('feature-gates.ts');
      if (isSource) sources += await readFile(path.join(root, room, name), 'utf8');
    }
  }
  expect([...ACTED_ON].filter((name) => !sources.includes(`'${name}'`))).toEqual([]);
});

test('the gate for shorter back-off counts, and a period that is set counts more', async () => {
  const gate = '--feature-gates=ReduceDefaultCrashLoopBackOffDecay=true';
  const short = await parse([...STANDALONE, gate]);
  expect(short.config.kubelet).toMatchObject({
    crashLoopMaxContainerRestartPeriodMs: 60_000,
    crashLoopInitialRestartDelayMs: 1000,
  });
  const files = { '/c': kubelet('crashLoopBackOff: {maxContainerRestartPeriod: 90s}') };
  const set = await parse([...STANDALONE, gate, '--config=/c'], files);
  expect(set.config.kubelet.crashLoopMaxContainerRestartPeriodMs).toBe(90_000);
});
