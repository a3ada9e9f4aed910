// Whatever a pod says, the pure parts of the node answer, or refuse with an error of ours: none of them may throw
// anything else, which would be the end of a daemon or of one pod's worker.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ParseError } from '../api/parse-error.ts';
import type { Container, Pod } from '../api/pod.ts';
import { podLimits, podRequests } from '../api/pod-resources.ts';
import { podQosClass } from '../api/qos.ts';
import { AgentError } from '../core/errors.ts';
import { encodeMessage } from '../cri/codec.ts';
import { admit, rejectedStatus } from '../kubelet/admission.ts';
import { podCgroupLimits } from '../kubelet/resources/pod-cgroup.ts';
import { computeActions } from '../kubelet/runtime/compute-actions.ts';
import { containerConfig } from '../kubelet/runtime/container-config.ts';
import { podDns } from '../kubelet/runtime/dns.ts';
import { envReferences, makeEnvironment } from '../kubelet/runtime/env.ts';
import { renderEtcHosts } from '../kubelet/runtime/etc-hosts.ts';
import { fakeContainer, fakeSandbox, fakeStatus } from '../kubelet/runtime/fake-pod-status.ts';
import { podHostname } from '../kubelet/runtime/hostname.ts';
import { makeMounts, subPathRequests } from '../kubelet/runtime/mounts.ts';
import { sandboxConfig } from '../kubelet/runtime/sandbox-config.ts';
import { generateStatus } from '../kubelet/status/generate-status.ts';
import { computeStatusPatch } from '../kubelet/status/status-patch.ts';
import { buildPayload } from '../kubelet/volumes/payload.ts';
import type { MountedVolume } from '../kubelet/volumes/volume-manager.ts';
import { probedContainers, resolvePort } from '../probes/target.ts';
import { Random } from './harness/random.ts';
import { randomPod } from './harness/random-pod.ts';

const RUNS = 400;
const NOW_MS = Date.UTC(2026, 0, 1);
const RESOURCES = {
  memoryCapacityBytes: 2 ** 33,
  enforceCpuLimits: true,
  cpuPeriodUs: 100_000,
  cgroupVersion: 1 as const,
  singleProcessOomKill: true,
  hugepageSizes: [],
};
const NODE = {
  metadata: { name: 'node-1', labels: { 'kubernetes.io/os': 'linux' } },
  status: { allocatable: { cpu: '2', memory: '8Gi', pods: '110' } },
};

/** The answer, or undefined for a refusal of a kind that callers know. */
function answer<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (err) {
    expectRefusal(err);
    return undefined;
  }
}

function expectRefusal(err: unknown): void {
  if (err instanceof AgentError || err instanceof ParseError) return;
  throw err;
}

const containersOf = (pod: Pod): Container[] => [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];

/** A runtime in some state or other: some of the pod's containers, in any state, and zero to two sandboxes. */
function randomRuntime(random: Random, pod: Pod) {
  const containers = containersOf(pod)
    .filter(() => random.chance(0.6))
    .map(({ name }) =>
      fakeContainer({
        name,
        state: random.pick(['created', 'running', 'exited', 'unknown']),
        exitCode: random.pick([0, 1, 137]),
        restartCount: random.int(0, 3),
        finishedAtMs: random.pick([0, NOW_MS]),
      }),
    );
  const state = () => random.pick(['SANDBOX_READY', 'SANDBOX_NOTREADY'] as const);
  const sandboxes = Array.from({ length: random.int(0, 2) }, (_, attempt) =>
    fakeSandbox({ id: `sandbox-${attempt}`, attempt, state: state() }),
  );
  return fakeStatus(containers, sandboxes.reverse());
}

describe.each(['valid', 'odd', 'hostile'] as const)('a random pod that is %s', (taste) => {
  const property = (body: (pod: Pod, random: Random) => void | Promise<void>) =>
    fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const random = new Random(seed);
        const pod = randomPod(random, { name: 'random', namespace: 'default', taste });
        await body({ ...pod, metadata: { ...pod.metadata, uid: '0b6a0e8c-9d3c-4b59-8f0e-3f5f3f0a0001' } }, random);
      }),
      { numRuns: RUNS },
    );

  test('is admitted or refused with a reason', () =>
    property((pod, random) => {
      const other = randomPod(random, { name: 'other', namespace: 'default', taste });
      const activePods = [other].filter((p) => admit({ pod: p, activePods: [], node: NODE }) === undefined);
      const input = { pod: { ...pod, spec: { ...pod.spec!, nodeName: 'node-1' } }, activePods, node: NODE };
      const rejection = admit(input);
      if (rejection === undefined) return;
      expect(rejection.reason).toMatch(/^[A-Z][A-Za-z-]+$/);
      expect(rejectedStatus(pod, rejection, NOW_MS)).toMatchObject({ phase: 'Failed', reason: rejection.reason });
    }));

  test('has a class, amounts and limits of its cgroup, all of them numbers', () =>
    property((pod) => {
      answer(() => podRequests(pod));
      answer(() => podLimits(pod));
      expect(answer(() => podQosClass(pod)) ?? 'Burstable').toMatch(/^(Guaranteed|Burstable|BestEffort)$/);
      const limits = answer(() =>
        podCgroupLimits(pod, {
          ...{ cgroupsPerQos: true, driver: 'cgroupfs', root: '/', cpuCfsQuota: true, cpuPeriodUs: 100_000 },
          podPidsLimit: -1,
        }),
      );
      for (const value of Object.values(limits ?? {})) {
        if (typeof value === 'number') expect(Number.isFinite(value)).toBe(true);
      }
    }));

  test('gets configurations that can be sent to the runtime', () =>
    property((pod) => {
      const dns = answer(() =>
        podDns(pod, {
          clusterDns: ['10.96.0.10'],
          clusterDomain: 'cluster.local',
          host: undefined,
          nodeIps: ['10.0.0.1'],
        }),
      );
      const hostname = answer(() => podHostname(pod, 'cluster.local'));
      if (hostname !== undefined) answer(() => renderEtcHosts(pod, ['10.0.0.1'], hostname));
      const sandbox = answer(() =>
        sandboxConfig({
          ...{
            pod,
            attempt: 0,
            logDirectory: '/logs',
            hostname: 'random',
            cgroupParent: '/pods',
            resources: RESOURCES,
          },
          dns: dns?.config ?? { servers: [], searches: [], options: [] },
        }),
      );
      if (sandbox !== undefined) encodeMessage('PodSandboxConfig', sandbox);
      for (const container of containersOf(pod)) answer(() => sendContainer(pod, container));
    }));

  test('leads to actions on its own containers, whatever the runtime says', () =>
    property((pod, random) => {
      const verdict = () => random.pick(['success', 'failure', 'unknown', undefined] as const);
      const status = randomRuntime(random, pod);
      const actions = computeActions({ pod, status, verdicts: { liveness: verdict, startup: verdict } });
      const names = containersOf(pod).map((c) => c.name);
      for (const { name } of [...actions.containersToStart, ...actions.initContainersToStart]) {
        expect(names).toContain(name);
      }
      for (const { container } of actions.containersToKill) expect(status.containers).toContain(container);
      if (actions.createSandbox) expect(actions.attempt).toBe((status.sandboxes[0]?.metadata?.attempt ?? -1) + 1);
    }));

  test('gets a status that follows from itself', () =>
    property((pod, random) => {
      const input = (previous: object) => ({
        ...{ pod, runtime, previous, isTerminal, hostIps: ['10.0.0.9'], runtimeName: 'containerd' },
        probes: { verdict: () => undefined, hasProbe: () => random.chance(0.5) },
        startFailure: () => undefined,
        agentStartedAtMs: NOW_MS - 60_000,
        nowMs: NOW_MS,
      });
      const runtime = randomRuntime(random, pod);
      const isTerminal = random.chance(0.2);
      const first = answer(() => generateStatus(input({})));
      if (first === undefined) return;
      expect(first.phase).toMatch(/^(Pending|Running|Succeeded|Failed)$/);
      expect(first.containerStatuses).toHaveLength(pod.spec!.containers.length);
      const second = answer(() => generateStatus(input(first)));
      computeStatusPatch('uid', first, second!);
      for (const [i, { restartCount }] of (second?.containerStatuses ?? []).entries()) {
        expect(restartCount).toBeGreaterThanOrEqual(first.containerStatuses![i]!.restartCount);
      }
    }));

  test('gets files below its volumes and nowhere else', () =>
    property(async (pod) => {
      const objects = {
        getConfigMap: async () => ({ data: { key: 'value', 'other.key': 'x' }, binaryData: { raw: 'AAEC' } }),
        getSecret: async () => ({ data: { key: 'dmFsdWU=' } }),
      };
      const deps = {
        objects,
        tokens: { token: async () => 'token' },
        fieldFacts: () => ({ podIps: [], hostIps: [], nodeAllocatable: {} }),
      };
      for (const volume of pod.spec?.volumes ?? []) {
        if (volume.emptyDir !== undefined || volume.hostPath !== undefined) continue;
        const files = await buildPayload(pod, volume, deps, new AbortController().signal).catch(expectRefusal);
        for (const name of files?.keys() ?? []) {
          expect(name).not.toMatch(/^\/|(^|\/)\.\.(\/|$)|^$/);
          expect(name.length).toBeLessThan(4096 + 1);
        }
      }
    }));

  test('has probes whose ports are ports', () =>
    property((pod) => {
      for (const container of probedContainers(pod)) {
        const port = container.readinessProbe?.httpGet?.port ?? container.livenessProbe?.tcpSocket?.port;
        if (port === undefined) continue;
        let resolved: number;
        try {
          resolved = resolvePort(port, container);
        } catch (err) {
          expect(err).toBeInstanceOf(Error); // its text is that of the failed probe
          continue;
        }
        expect(resolved).toBeGreaterThan(0);
        expect(resolved).toBeLessThan(65_536);
      }
    }));
});

function sendContainer(pod: Pod, container: Container): void {
  const settings = { metadata: { name: 'settings' }, data: { key: 'value', 'not a name': 'x' } };
  envReferences(container);
  const env = makeEnvironment(pod, container, {
    configMap: (name) => (name === 'settings' ? settings : undefined),
    secret: () => undefined,
    services: [],
    ...{ podIps: ['10.0.0.1'], hostIps: ['10.0.0.9'], nodeAllocatable: { cpu: '2', memory: '8Gi' } },
  });
  const volumes = new Map(
    (pod.spec?.volumes ?? []).map((v): [string, MountedVolume] => [
      v.name,
      { name: v.name, hostPath: `/pods/${v.name}`, readOnly: false, selinuxRelabel: false },
    ]),
  );
  const requests = subPathRequests(container, volumes, env);
  for (const { subPath } of requests) expect(subPath).not.toMatch(/^\/|(^|\/)\.\.(\/|$)|^$/);
  const mounts = makeMounts({
    ...{
      container,
      volumes,
      env,
      etcHostsFile: '/etc-hosts',
      terminationLogFile: '/log',
      supportsRecursiveReadOnly: true,
      images: new Map(),
    },
    subPaths: new Map(requests.map((r) => [r.index, `/sub/${r.index}`])),
  });
  const config = containerConfig({
    ...{ pod, container, restartCount: 0, imageRef: 'sha256:1', image: undefined, env, mounts, targetId: '' },
    resources: RESOURCES,
    security: { seccompDefault: false, seccompDir: '/seccomp', extraMaskedPaths: [] },
  });
  encodeMessage('ContainerConfig', config);
}
