import { beforeEach, expect, test } from 'vitest';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { Registry } from '../../core/metrics.ts';
import { FakeEvents } from '../fake-managers.ts';
import { ResizeConditions } from '../resize/resize-conditions.ts';
import { askedChanges, ResizeMetrics } from './resize-metrics.ts';

let clock: FakeClock;
let registry: Registry;
let metrics: ResizeMetrics;
let conditions: ResizeConditions;

beforeEach(() => {
  clock = new FakeClock();
  registry = new Registry();
  metrics = new ResizeMetrics(registry);
  conditions = new ResizeConditions({ events: new FakeEvents(), resizes: metrics, clock });
});

const pod = (name: string, resources: ResourceRequirements = {}): Pod => ({
  metadata: { name, namespace: 'default', uid: name, generation: 2 },
  spec: { containers: [{ name: 'main', image: 'busybox', resources }] },
});
const lines = async () => (await registry.metrics()).split('\n').filter((l) => l !== '' && !l.startsWith('#'));

test('pods that wait, that can never be resized and that are being resized are counted as they come and go', async () => {
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'kubelet_pod_pending_resizes{reason="deferred"} 0',
      'kubelet_pod_pending_resizes{reason="infeasible"} 0',
      'kubelet_pod_in_progress_resizes 0',
    ]),
  );
  conditions.setPending(pod('a'), 'Deferred', 'Node is full');
  conditions.setPending(pod('b'), 'Infeasible', 'never', 'static_pod');
  conditions.setPending(pod('b'), 'Infeasible', 'never', 'static_pod'); // no news
  conditions.started(pod('c'));
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'kubelet_pod_pending_resizes{reason="deferred"} 1',
      'kubelet_pod_pending_resizes{reason="infeasible"} 1',
      'kubelet_pod_in_progress_resizes 1',
      'kubelet_pod_infeasible_resizes_total{reason_detail="static_pod"} 1',
    ]),
  );
  conditions.clearPending('a');
  conditions.forget('b');
  await clock.advance(70);
  conditions.failed(pod('c'), 'no');
  await clock.advance(30);
  conditions.observe(pod('c'), false);
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'kubelet_pod_pending_resizes{reason="deferred"} 0',
      'kubelet_pod_pending_resizes{reason="infeasible"} 0',
      'kubelet_pod_in_progress_resizes 0',
      'kubelet_pod_resize_duration_milliseconds_sum{success="false"} 70',
      'kubelet_pod_resize_duration_milliseconds_sum{success="true"} 100',
    ]),
  );
});

test('what users change on containers is counted by resource, requirement and direction', async () => {
  const before = pod('a', { requests: { cpu: '100m', memory: '10Mi' }, limits: { cpu: '1' } });
  const after = pod('a', { requests: { cpu: '0.2', memory: '8Mi' }, limits: { memory: '16Mi' } });
  expect(askedChanges(before, after)).toEqual([
    { resource: 'cpu', requirement: 'requests', operation: 'increase' },
    { resource: 'cpu', requirement: 'limits', operation: 'remove' },
    { resource: 'memory', requirement: 'requests', operation: 'decrease' },
    { resource: 'memory', requirement: 'limits', operation: 'add' },
  ]);
  expect(askedChanges(pod('a', { requests: { cpu: '1' } }), pod('a', { requests: { cpu: '1000m' } }))).toEqual([]);
  metrics.resourcesAsked(before, after);
  metrics.deferredResizeAccepted('pods_removed');
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'kubelet_container_requested_resizes_total{resource="cpu",requirement="limits",operation="remove"} 1',
      'kubelet_pod_deferred_accepted_resizes_total{retry_trigger="pods_removed"} 1',
    ]),
  );
});
