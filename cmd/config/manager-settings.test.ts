import { expect, test } from 'vitest';
import { NO_MANAGERS } from '../../kubelet/fake-config.ts';
import { faultsOf, kubelet, parse, STANDALONE } from './fake-command-line.ts';

const run = (text: string) => faultsOf([...STANDALONE, '--config=/c'], { '/c': kubelet(text) });

async function settingsOf(text: string) {
  const { config } = await parse([...STANDALONE, '--config=/c'], { '/c': kubelet(text) });
  return config.kubelet.managers;
}

test('without a word of it nothing is managed', async () => {
  expect(await settingsOf('maxPods: 10')).toEqual(NO_MANAGERS);
});

test('options are read by their names', async () => {
  const text = `
cpuManagerPolicy: static
cpuManagerPolicyOptions: {full-pcpus-only: "true", distribute-cpus-across-numa: "1", strict-cpu-reservation: "false"}
cpuManagerReconcilePeriod: 5s
reservedSystemCPUs: 0,4
memoryManagerPolicy: Static
reservedMemory: [{numaNode: 1, limits: {memory: 1Gi}}]
topologyManagerPolicy: restricted
topologyManagerScope: pod
topologyManagerPolicyOptions: {prefer-closest-numa-nodes: "true", max-allowable-numa-nodes: "16"}
featureGates: {DisableCPUQuotaWithExclusiveCPUs: false}`;
  expect(await settingsOf(text)).toEqual({
    cpuPolicy: 'static',
    cpuPolicyOptions: { ...NO_MANAGERS.cpuPolicyOptions, fullPcpusOnly: true, distributeAcrossNuma: true },
    cpuReconcilePeriodMs: 5000,
    reservedSystemCpus: '0,4',
    keepCpuQuota: true,
    memoryPolicy: 'Static',
    reservedMemory: [{ numaNode: 1, limits: { memory: '1Gi' } }],
    topologyPolicy: 'restricted',
    topologyScope: 'pod',
    topologyOptions: { preferClosest: true, maxNodes: 16 },
  });
});

const STATIC = 'cpuManagerPolicy: static\ncpuManagerPolicyOptions:';

test.each([
  [`${STATIC} {full-pcpus: "true"}`, 'unknown CPU Manager Policy option: "full-pcpus"'],
  [`${STATIC} {full-pcpus-only: "yes"}`, 'bad value for option "full-pcpus-only": expected true or false, got "yes"'],
  [`${STATIC} {align-by-socket: "true"}`, 'align-by-socket needs the feature gate CPUManagerPolicyAlphaOptions'],
  [
    `${STATIC} {distribute-cpus-across-numa: "true"}\nfeatureGates: {CPUManagerPolicyBetaOptions: false}`,
    'distribute-cpus-across-numa needs the feature gate CPUManagerPolicyBetaOptions',
  ],
  [
    `${STATIC} {distribute-cpus-across-numa: "true", prefer-align-cpus-by-uncorecache: "true"}`,
    'prefer-align-cpus-by-uncorecache and distribute-cpus-across-numa can not be used at the same time',
  ],
  [
    `${STATIC} {align-by-socket: "true"}\ntopologyManagerPolicy: single-numa-node\nfeatureGates: {CPUManagerPolicyAlphaOptions: true}`,
    'align-by-socket does not go with topologyManagerPolicy: single-numa-node',
  ],
  ['cpuManagerPolicyOptions: {full-pcpus-only: "true"}', 'expected to be left out with cpuManagerPolicy: none'],
  ['topologyManagerPolicyOptions: {closest: "true"}', 'unknown Topology Manager Policy option: "closest"'],
  [
    'topologyManagerPolicyOptions: {max-allowable-numa-nodes: "4"}',
    'bad value for option "max-allowable-numa-nodes": expected a number of at least 8, got "4"',
  ],
  [
    'topologyManagerPolicyOptions: {prefer-closest-numa-nodes: "maybe"}',
    'bad value for option "prefer-closest-numa-nodes": expected true or false, got "maybe"',
  ],
])('%s is refused', async (text, why) => {
  expect((await run(text)).map((fault) => fault.replace(/^.*PolicyOptions: /, ''))).toContain(why);
});
