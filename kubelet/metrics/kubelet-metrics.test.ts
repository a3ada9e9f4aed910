import { beforeEach, expect, test } from 'vitest';
import type { Pod, PodStatus } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { Registry } from '../../core/metrics.ts';
import { containerKind, imageSizeLabel, KubeletMetrics } from './kubelet-metrics.ts';
import { registerLogGauge } from './log-gauge.ts';
import { NodeStartup } from './node-startup.ts';
import { countPods, registerPodGauges } from './pod-gauges.ts';
import { PodStarts } from './pod-starts.ts';
import { ProbeMetrics } from './probe-metrics.ts';
import { SliMetrics } from './sli-metrics.ts';

let clock: FakeClock;
let registry: Registry;
let metrics: KubeletMetrics;

beforeEach(() => {
  clock = new FakeClock();
  registry = new Registry();
  metrics = new KubeletMetrics(registry, clock);
});

const created = () => new Date(clock.now()).toISOString();
const podNamed = (uid: string, more: object = {}): Pod =>
  ({
    metadata: { uid, name: uid, namespace: 'default', creationTimestamp: created() },
    spec: { containers: [{ name: 'c' }], ...more },
  }) as Pod;
const running: PodStatus = {
  phase: 'Running',
  containerStatuses: [{ state: { running: {} } }],
} as unknown as PodStatus;
const lines = async () => (await registry.metrics()).split('\n');

test('the start of a pod counts once, when all its containers run', async () => {
  const starts = new PodStarts(clock);
  const pod = podNamed('a');
  await clock.advance(1_000);
  starts.seen(pod);
  starts.pulled('a', 2);
  await clock.advance(4_000);
  expect(starts.status('a', { phase: 'Pending' })).toBeUndefined();
  const half = { phase: 'Running', containerStatuses: [{ state: { running: {} } }, { state: { waiting: {} } }] };
  expect(starts.status('a', half as unknown as PodStatus)).toBeUndefined();
  expect(starts.status('a', running)).toEqual({
    sinceSeenSeconds: 4,
    totalSeconds: 5,
    sliSeconds: 3,
    isStateful: false,
    isFirstOnNetwork: true,
  });
  expect(starts.status('a', running)).toBeUndefined();
});

test('a pod that ran before the agent did, one that is over at once and one that is gone do not count', () => {
  const starts = new PodStarts(clock);
  starts.seen({ ...podNamed('a'), status: { phase: 'Running' } });
  starts.seen(podNamed('b'));
  starts.seen(podNamed('c'));
  starts.forget('c');
  const over = { phase: 'Succeeded', containerStatuses: [{ state: { terminated: {} } }] } as unknown as PodStatus;
  expect(starts.status('a', running)).toBeUndefined();
  expect(starts.status('b', over)).toBeUndefined();
  expect(starts.status('b', running)).toBeUndefined();
  expect(starts.status('c', running)).toBeUndefined();
});

test('a pod with a claim is not in the SLI, but in the others', async () => {
  metrics.podSeen(podNamed('a', { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'x' } }] }));
  metrics.podStatus('a', running);
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'kubelet_pod_start_duration_seconds_count 1',
      'kubelet_pod_start_total_duration_seconds_count 1',
      'kubelet_pod_start_sli_duration_seconds_count 0',
      'kubelet_containers_per_pod_count_sum 1',
    ]),
  );
});

test('the first pod with a network of its own is told apart', async () => {
  const start = async (uid: string, tookMs: number, more: object = {}) => {
    metrics.podSeen(podNamed(uid, more));
    await clock.advance(tookMs);
    metrics.podStatus(uid, running);
  };
  const first = (seconds: number) => `kubelet_first_network_pod_start_sli_duration_seconds ${seconds}`;
  await start('host', 2_000, { hostNetwork: true });
  expect(await lines()).toContain(first(0));
  await start('claim', 3_000, { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'x' } }] });
  await start('later', 4_000);
  expect(await lines()).toContain(first(3));
});

test('what happens seldom is shown from the start', async () => {
  expect(await lines()).toContain('kubelet_sleep_action_terminated_early_total 0');
  metrics.counted('kubelet_sleep_action_terminated_early_total');
  metrics.counted('kubelet_image_volume_requested_total', 3);
  metrics.podRestarted(true);
  metrics.podRestarted(false);
  metrics.orphansCleaned(4, 1);
  metrics.podRelisted(0.002);
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'kubelet_sleep_action_terminated_early_total 1',
      'kubelet_image_volume_requested_total 3',
      'kubelet_restarted_pods_total{static="true"} 1',
      'kubelet_restarted_pods_total{static=""} 1',
      'kubelet_orphan_pod_cleaned_volumes 4',
      'kubelet_orphan_pod_cleaned_volumes_errors 1',
      'kubelet_pleg_pod_relist_duration_seconds_bucket{le="0.005"} 1',
    ]),
  );
});

test('a new node tells how long it took; one that was there already does not', async () => {
  const bootedAtMs = clock.now() - 30_000;
  const startup = new NodeStartup(registry, bootedAtMs, clock);
  startup.ready(); // of a Node that was there: nothing was registered
  await clock.advance(1_000);
  startup.registering();
  await clock.advance(2_000);
  startup.registering(); // another try
  startup.registered();
  await clock.advance(4_000);
  startup.ready();
  await clock.advance(8_000);
  startup.registered();
  startup.ready();
  const shown = (await lines()).filter((line) => line.startsWith('kubelet_node_startup_'));
  expect(shown.toSorted()).toEqual([
    'kubelet_node_startup_duration_seconds 37',
    'kubelet_node_startup_post_registration_duration_seconds 4',
    'kubelet_node_startup_pre_kubelet_duration_seconds 30',
    'kubelet_node_startup_pre_registration_duration_seconds 1',
    'kubelet_node_startup_registration_duration_seconds 2',
  ]);
});

test('the logs of each container, those of pods that are gone no more', async () => {
  const use = (usedBytes: number) => ({ usedBytes, inodesUsed: 1 });
  const logs = new Map([
    [
      'a',
      {
        containers: new Map([
          ['c', use(10)],
          ['side', use(20)],
        ]),
      },
    ],
    ['gone', { containers: new Map([['c', use(30)]]) }],
  ]);
  const targets = [{ uid: 'a', namespace: 'default', name: 'web' }];
  registerLogGauge(registry, { storage: { logs: async () => logs as never }, targets: () => targets as never });
  const shown = (await lines()).filter((line) => line.startsWith('kubelet_container_log_filesystem'));
  expect(shown).toEqual([
    'kubelet_container_log_filesystem_used_bytes{uid="a",namespace="default",pod="web",container="c"} 10',
    'kubelet_container_log_filesystem_used_bytes{uid="a",namespace="default",pod="web",container="side"} 20',
  ]);
});

test('the end of a container counts once, and not again for an agent that was started anew', async () => {
  const ended = (id: string, exitCode: number) => ({ terminated: { containerID: id, exitCode, reason: 'Error' } });
  const status = (last: object | undefined, now: object): PodStatus =>
    ({ phase: 'Running', containerStatuses: [{ lastState: last, state: now }] }) as unknown as PodStatus;
  const total = async (code: number) =>
    (await lines()).find(
      (l) => l.startsWith('kubelet_terminated_containers_total') && l.includes(`exit_code="${code}"`),
    );
  metrics.podSeen(podNamed('a'));
  metrics.podStatus('a', status(undefined, { running: {} }));
  metrics.podStatus('a', status(undefined, ended('1', 1)));
  metrics.podStatus('a', status(ended('1', 1), { running: {} }));
  metrics.podStatus('a', status(ended('2', 1), { running: {} })); // it went by between two looks
  expect(await total(1)).toMatch(/container_type="container",exit_code="1",reason="Error"} 2$/);
  metrics.podSeen({ ...podNamed('old'), status: { phase: 'Running' } });
  metrics.podStatus('old', status(ended('3', 7), { running: {} }));
  expect(await total(7)).toBeUndefined();
  metrics.podStatus('old', status(ended('3', 7), ended('4', 7)));
  expect(await total(7)).toMatch(/ 1$/);
  metrics.podGone('old');
});

test('what is told is counted under the labels of upstream', async () => {
  const pod = podNamed('a', { initContainers: [{ name: 'i' }], ephemeralContainers: [{ name: 'e' }] });
  metrics.containerStarted(pod, 'c');
  metrics.containerStarted(pod, 'i', 'ErrImagePull');
  metrics.podRejected('OutOfcpu');
  metrics.podWorked('create', 0.2);
  metrics.relisted(0.1, undefined);
  metrics.relisted(0.1, 60);
  metrics.imagePulled('a', 7, 20 * 2 ** 20);
  metrics.imageRemoved('space');
  metrics.volumeOperation('kubernetes.io/secret', 'volume_mount', 0.3, false);
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'kubelet_started_containers_total{container_type="container"} 1',
      'kubelet_started_containers_total{container_type="init_container"} 1',
      'kubelet_started_containers_errors_total{container_type="init_container",code="ErrImagePull"} 1',
      'kubelet_admission_rejections_total{reason="OutOfcpu"} 1',
      'kubelet_pod_worker_duration_seconds_bucket{le="0.25",operation_type="create"} 1',
      'kubelet_pleg_relist_duration_seconds_count 2',
      'kubelet_pleg_relist_interval_seconds_count 1',
      `kubelet_pleg_last_seen_seconds ${clock.now() / 1000}`,
      'kubelet_image_pull_duration_seconds_bucket{le="10",image_size_in_bytes="10MB-100MB"} 1',
      'kubelet_image_garbage_collected_total{reason="space"} 1',
      'storage_operation_duration_seconds_count{volume_plugin="kubernetes.io/secret",operation_name="volume_mount",status="fail-unknown",migrated="false"} 1',
    ]),
  );
  expect(containerKind(pod, 'e')).toBe('ephemeral_container');
});

test.each([
  [undefined, 'N/A'],
  [0, '0-10MB'],
  [10 * 2 ** 20, '10MB-100MB'],
  [3 * 2 ** 30, '1GB-5GB'],
  [2 ** 40, 'GT100GB'],
])('an image of %s bytes is in %s', (bytes, label) => {
  expect(imageSizeLabel(bytes)).toBe(label);
});

test('pods and containers are counted when somebody asks', async () => {
  const source = { 'kubernetes.io/config.source': 'file' };
  const staticPod: Pod = { metadata: { uid: 's', annotations: source } };
  const worker = (uid: string, phase: string, pod?: Pod) => ({
    phase,
    pod,
    identity: { uid, name: uid, namespace: 'd' },
  });
  const pods = {
    desiredPods: () => [staticPod, podNamed('a'), podNamed('b')],
    mirrorPodCount: () => 1,
    workerStates: () =>
      [
        worker('s', 'sync', staticPod),
        worker('a', 'terminating', podNamed('a')),
        worker('x', 'terminated', podNamed('x')),
        worker('y', 'terminating'),
        worker('b', 'finished', podNamed('b')),
      ] as never,
    runtimeStatuses: () =>
      [
        { sandboxes: [{ state: 'SANDBOX_READY' }], containers: [{ state: 'running' }, { state: 'exited' }] },
        { sandboxes: [{ state: 'SANDBOX_NOTREADY' }], containers: [] },
      ] as never,
  };
  expect(countPods(pods)).toMatchObject({
    runningPods: 1,
    containers: { running: 1, exited: 1, created: 0, unknown: 0 },
    desired: { static: 1, other: 2 },
    active: { static: 1, other: 0 },
    mirrors: 1,
  });
  const own = new Registry();
  registerPodGauges(own, () => pods);
  const text = await own.metrics();
  for (const line of [
    'kubelet_running_pods 1',
    'kubelet_running_containers{container_state="exited"} 1',
    'kubelet_desired_pods{static="true"} 1',
    'kubelet_working_pods{lifecycle="sync",config="desired",static="true"} 1',
    'kubelet_working_pods{lifecycle="terminated",config="orphan",static=""} 1',
    'kubelet_working_pods{lifecycle="terminating",config="runtime_only",static="unknown"} 1',
    'kubelet_working_pods{lifecycle="sync",config="orphan",static=""} 0',
  ]) {
    expect(text).toContain(`${line}\n`);
  }
  expect(text.match(/^kubelet_working_pods\{/gm)).toHaveLength(15);
});

test('series of probes go with their pod', async () => {
  const probes = new ProbeMetrics();
  const pod = podNamed('a');
  probes.observe('liveness', pod, 'c', 'success', 0.1);
  probes.observe('liveness', pod, 'c', 'failure', 0.1);
  probes.observe('readiness', podNamed('b'), 'c', undefined, 0.1);
  const text = await probes.registry.metrics();
  expect(text).toContain(
    'prober_probe_total{probe_type="Liveness",container="c",pod="a",namespace="default",result="failed",pod_uid="a"} 1',
  );
  expect(text).toContain('result="unknown",pod_uid="b"} 1');
  expect(text).toContain(
    'prober_probe_duration_seconds_count{probe_type="Liveness",container="c",pod="a",namespace="default"} 2',
  );
  probes.forget('a');
  probes.forget('nobody');
  const after = await probes.registry.metrics();
  expect(after).not.toContain('pod="a"');
  expect(after).toContain('pod="b"');
});

test('health checks show how they went last, and how often how', () => {
  const slis = new SliMetrics();
  expect(slis.render()).toBe('');
  slis.observe('syncloop', true);
  slis.observe('syncloop', false);
  expect(
    slis
      .render()
      .split('\n')
      .filter((l) => !l.startsWith('#')),
  ).toEqual([
    'kubernetes_healthcheck{name="syncloop",type="healthz"} 0',
    'kubernetes_healthchecks_total{name="syncloop",status="error",type="healthz"} 1',
    'kubernetes_healthchecks_total{name="syncloop",status="success",type="healthz"} 1',
    '',
  ]);
});
