// Upstream's rules of validation (pkg/kubelet/apis/config/validation), each broken by one file.
import { describe, expect, test } from 'vitest';
import { faultsOf, kubelet, parse, STANDALONE } from './fake-command-line.ts';

const run = (text: string) => faultsOf([...STANDALONE, '--config=/c'], { '/c': kubelet(text) });

describe('one value', () => {
  test.each([
    ['nodeLeaseDurationSeconds: -1', 'nodeLeaseDurationSeconds: expected a whole number of at least 0, got -1'],
    ['eventBurst: -1', 'eventBurst: expected a whole number of at least 0, got -1'],
    ['eventRecordQPS: -1', 'eventRecordQPS: expected a whole number of at least 0, got -1'],
    ['kubeAPIBurst: -1', 'kubeAPIBurst: expected a whole number of at least 0, got -1'],
    ['kubeAPIQPS: -1', 'kubeAPIQPS: expected a whole number of at least 0, got -1'],
    ['registryBurst: -1', 'registryBurst: expected a whole number of at least 0, got -1'],
    ['registryPullQPS: -1', 'registryPullQPS: expected a whole number of at least 0, got -1'],
    ['maxOpenFiles: -1', 'maxOpenFiles: expected a whole number of at least 0, got -1'],
    ['maxPods: -1', 'maxPods: expected a whole number of at least 0, got -1'],
    ['podsPerCore: -1', 'podsPerCore: expected a whole number of at least 0, got -1'],
    ['healthzPort: 65536', 'healthzPort: expected a whole number from 0 to 65535, got 65536'],
    ['readOnlyPort: 65536', 'readOnlyPort: expected a whole number from 0 to 65535, got 65536'],
    ['port: 65536', 'port: expected a whole number from 0 to 65535, got 65536'],
    ['cpuCFSQuotaPeriod: 2s', 'cpuCFSQuotaPeriod: expected a duration from 1ms to 1s such as 10s or 1m30s, got "2s"'],
    ['imageGCHighThresholdPercent: 101', 'imageGCHighThresholdPercent: expected a whole number from 0 to 100, got 101'],
    ['imageMinimumGCAge: -1s', 'imageMinimumGCAge: expected a duration such as 10s or 1m30s, got "-1s"'],
    ['imageMaximumGCAge: -1s', 'imageMaximumGCAge: expected a duration such as 10s or 1m30s, got "-1s"'],
    ['iptablesDropBit: 32', 'iptablesDropBit: expected a whole number from 0 to 31, got 32'],
    ['iptablesMasqueradeBit: 32', 'iptablesMasqueradeBit: expected a whole number from 0 to 31, got 32'],
    ['nodeStatusMaxImages: -2', 'nodeStatusMaxImages: expected a whole number of at least -1, got -2'],
    ['oomScoreAdj: -1001', 'oomScoreAdj: expected a whole number from -1000 to 1000, got -1001'],
    ['maxParallelImagePulls: 0', 'maxParallelImagePulls: expected a whole number of at least 1, got 0'],
    [
      'topologyManagerPolicy: any',
      'topologyManagerPolicy: expected none, best-effort, restricted or single-numa-node, got "any"',
    ],
    ['qosReserved: {cpu: 10%}', 'qosReserved[cpu]: unknown resource; expected memory'],
    ['qosReserved: {memory: 10}', 'qosReserved.memory: expected a percentage such as 50%, got 10'],
    ['qosReserved: {memory: 101%}', 'qosReserved.memory: expected a percentage such as 50%, got "101%"'],
    ['qosReserved: {memory: 1.5%}', 'qosReserved.memory: expected a percentage such as 50%, got "1.5%"'],
    ['topologyManagerScope: node', 'topologyManagerScope: expected container or pod, got "node"'],
    ['hairpinMode: on', 'hairpinMode: expected promiscuous-bridge, hairpin-veth or none, got "on"'],
    [
      'memorySwap: {swapBehavior: Unlimited}',
      'memorySwap.swapBehavior: expected NoSwap or LimitedSwap, got "Unlimited"',
    ],
    [
      'crashLoopBackOff: {maxContainerRestartPeriod: 301s}',
      'crashLoopBackOff.maxContainerRestartPeriod: expected a duration from 1s to 5m such as 10s or 1m30s, got "301s"',
    ],
    [
      'enforceNodeAllocatable: [everything]',
      'enforceNodeAllocatable[0]: expected none, pods, system-reserved, system-reserved-compressible, kube-reserved or kube-reserved-compressible, got "everything"',
    ],
    ['reservedSystemCPUs: 0-99999999', 'reservedSystemCPUs: expected CPUs such as 0-1,4, got "0-99999999"'],
    ['reservedSystemCPUs: all', 'reservedSystemCPUs: expected CPUs such as 0-1,4, got "all"'],
    [
      'userNamespaces: {idsPerPod: 65537}',
      'userNamespaces.idsPerPod: expected a multiple of 65536 up to 4294967295, got 65537',
    ],
    ['memoryThrottlingFactor: 1.5', 'memoryThrottlingFactor: expected a number above 0 and at most 1, got 1.5'],
    ['containerLogMaxWorkers: 0', 'containerLogMaxWorkers: expected a whole number of at least 1, got 0'],
    [
      'containerLogMonitorInterval: 2s',
      'containerLogMonitorInterval: expected a duration of at least 3s such as 10s or 1m30s, got "2s"',
    ],
    ['containerLogMaxFiles: 1', 'containerLogMaxFiles: expected a whole number of at least 2, got 1'],
    ['kubeReserved: {gpu: 1}', 'kubeReserved[gpu]: unknown resource; expected cpu, memory, ephemeral-storage, pid'],
    ['systemReserved: {cpu: -1}', 'systemReserved.cpu: expected a quantity such as 500m or 1Gi, got -1'],
    ['logging: {format: xml}', 'logging.format: expected text or json, got "xml"'],
    [
      'shutdownGracePeriod: 100ms',
      'shutdownGracePeriod: expected a duration of at least 1s such as 10s or 1m30s, got "100ms"',
    ],
    [
      'reservedMemory: [{numaNode: 0, limits: {cpu: 1}}]',
      'reservedMemory[0].limits[cpu]: unknown resource; expected memory or hugepages-<size>',
    ],
    [
      'reservedMemory: [{numaNode: 0, limits: {memory: 0}}]',
      'reservedMemory[0].limits[memory]: expected more than zero',
    ],
    [
      'registerWithTaints: [{key: a, effect: NoSchedule, timeAdded: "2026-01-01T00:00:00Z"}]',
      'registerWithTaints[0].timeAdded: unknown field',
    ],
  ])('%s', async (text, fault) => {
    expect(await run(text)).toEqual([`--config=/c: ${fault}`]);
  });
});

describe('one value against another, or a feature gate', () => {
  test.each([
    [
      'imageGCHighThresholdPercent: 80',
      'imageGCLowThresholdPercent',
      'expected less than imageGCHighThresholdPercent (80), got 80',
    ],
    ['imageMaximumGCAge: 1m', 'imageMaximumGCAge', 'expected more than imageMinimumGCAge'],
    ['systemCgroups: /system', 'systemCgroups', 'expected cgroupRoot to be set as well'],
    ['systemCgroups: /\ncgroupRoot: /', 'systemCgroups', 'system container cannot be root ("/")'],
    ['tlsCertFile: /crt', 'tlsPrivateKeyFile', 'expected a path, as tlsCertFile is set'],
    [
      'cpuCFSQuotaPeriod: 50ms\nfeatureGates: {CustomCPUCFSQuotaPeriod: false}',
      'cpuCFSQuotaPeriod',
      'expected 100ms, as the feature gate CustomCPUCFSQuotaPeriod is off',
    ],
    [
      'serverTLSBootstrap: true\nfeatureGates: {RotateKubeletServerCertificate: false}',
      'serverTLSBootstrap',
      'expected the feature gate RotateKubeletServerCertificate to be on',
    ],
    [
      'enableSystemLogQuery: true\nenableSystemLogHandler: false',
      'enableSystemLogQuery',
      'expected enableSystemLogHandler: true as well',
    ],
    [
      'crashLoopBackOff: {maxContainerRestartPeriod: 5s}\nfeatureGates: {KubeletCrashLoopBackOffMax: false}',
      'crashLoopBackOff.maxContainerRestartPeriod',
      'expected to be left out, as the feature gate KubeletCrashLoopBackOffMax is off',
    ],
    [
      'shutdownGracePeriod: 5s\nfeatureGates: {GracefulNodeShutdown: false, GracefulNodeShutdownBasedOnPodPriority: false, WindowsGracefulNodeShutdown: false}',
      'shutdownGracePeriod',
      'expected to be left out, as the feature gate GracefulNodeShutdown is off',
    ],
    [
      'shutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 2}]\nfeatureGates: {GracefulNodeShutdownBasedOnPodPriority: false}',
      'shutdownGracePeriodByPodPriority',
      'expected to be left out, as the feature gate GracefulNodeShutdownBasedOnPodPriority is off',
    ],
    [
      'shutdownGracePeriod: 5s\nshutdownGracePeriodCriticalPods: 6s',
      'shutdownGracePeriodCriticalPods',
      'expected at most shutdownGracePeriod',
    ],
    [
      'shutdownGracePeriod: 5s\nshutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 2}]',
      'shutdownGracePeriodByPodPriority',
      'expected shutdownGracePeriod to be unset with it',
    ],
    ['enforceNodeAllocatable: [pods, pods]', 'enforceNodeAllocatable', 'expected each value once'],
    ['enforceNodeAllocatable: [none, pods]', 'enforceNodeAllocatable', 'expected none to stand alone'],
    ['cgroupsPerQOS: false', 'enforceNodeAllocatable', 'expected [none], as cgroupsPerQOS is false'],
    [
      'kubeReservedCgroup: /kube\nenforceNodeAllocatable: [kube-reserved, kube-reserved-compressible]',
      'enforceNodeAllocatable',
      'expected either kube-reserved or kube-reserved-compressible',
    ],
    [
      'reservedSystemCPUs: 0-1\nkubeReservedCgroup: /kube',
      'reservedSystemCPUs',
      'expected neither systemReservedCgroup nor kubeReservedCgroup with it',
    ],
    [
      'memoryReservationPolicy: TieredReservation',
      'memoryReservationPolicy',
      'expected the feature gate MemoryQoS to be on',
    ],
    [
      'imagePullCredentialsVerificationPolicy: AlwaysVerify\nfeatureGates: {KubeletEnsureSecretPulledImages: false}',
      'imagePullCredentialsVerificationPolicy',
      'expected to be left out, as the feature gate KubeletEnsureSecretPulledImages is off',
    ],
    [
      'preloadedImagesVerificationAllowlist: [reg.io/a]',
      'preloadedImagesVerificationAllowlist',
      'expected imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages',
    ],
    [
      'imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages\npreloadedImagesVerificationAllowlist: ["*.io/a"]',
      'preloadedImagesVerificationAllowlist',
      'expected an image without tag and digest, or a path that ends in /*, got "*.io/a"',
    ],
    [
      'evictionHard: {memory.available: "0"}',
      'evictionHard',
      'eviction threshold memory.available must be positive: 0',
    ],
    [
      'evictionSoft: {memory.available: 1Gi}',
      'evictionSoftGracePeriod',
      'grace period must be specified for the soft eviction threshold memory.available',
    ],
    [
      'showHiddenMetricsForVersion: "1.30"',
      'showHiddenMetricsForVersion',
      'expected the previous minor release, 1.35, or nothing',
    ],
    [
      'logging: {options: {text: {splitStream: true}}}',
      'logging.options.text',
      'expected to be left out, as the feature gate LoggingAlphaOptions is off',
    ],
    [
      'reservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}, {numaNode: 0, limits: {memory: 1Gi}}]',
      'reservedMemory',
      'expected memory of NUMA node 0 once',
    ],
    [
      'allowedUnsafeSysctls: [kernel.msgmax, net.*, vm.swappiness]',
      'allowedUnsafeSysctls',
      'the sysctls "vm.swappiness" are not known to be namespaced; expected kernel.sem, kernel.shm*, kernel.msg*, fs.mqueue.* or net.*',
    ],
    ['tracing: {samplingRatePerMillion: 1}', 'tracing', 'cannot be set: no traces are exported'],
    ['runOnce: true', 'runOnce', 'cannot be set: running once was taken away upstream as well'],
    [
      'enableControllerAttachDetach: false',
      'enableControllerAttachDetach',
      'cannot be set: volumes are attached by the controller of the control plane, never by the node',
    ],
  ])('%s', async (text, field, problem) => {
    const faults = await run(text);
    expect(faults.map((fault) => fault.replace(/^(\/c|KubeletConfiguration)[:.] ?/, ''))).toContain(
      `${field}: ${problem}`,
    );
  });

  test('a threshold of 0% or 100% switches it off', async () => {
    const files = { '/c': kubelet('evictionHard: {memory.available: 0%, nodefs.available: 100%}') };
    const { config } = await parse([...STANDALONE, '--config=/c'], files);
    expect(config.node.evictionHard).toEqual({ 'memory.available': '0%', 'nodefs.available': '100%' });
  });
});

test('the message starts as upstream does, and counts', async () => {
  const one = parse([...STANDALONE, '--max-pods=-1']);
  await expect(one).rejects.toThrow(/^invalid configuration: --max-pods=-1: expected a whole number of at least 0$/);
  const two = parse([...STANDALONE, '--max-pods=-1', '--port=x']);
  await expect(two).rejects.toThrow(/^invalid configuration: 2 faults:\n {2}- --/);
});
