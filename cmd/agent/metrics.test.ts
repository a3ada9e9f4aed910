import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Registry } from '../../core/metrics.ts';
import { activeResourceMetrics, apiRequestMetrics, eventLoopMetrics, runtimeCallMetrics } from './metrics.ts';

test('calls of the runtime are counted and timed under upstream names and buckets', async () => {
  const registry = new Registry();
  const observe = runtimeCallMetrics(registry);
  observe('run_podsandbox', 0.1, false);
  observe('run_podsandbox', 0.4, true);
  observe('version', 0.001, false);
  const lines = (await registry.metrics()).split('\n');
  expect(lines).toEqual(
    expect.arrayContaining([
      'kubelet_runtime_operations_total{operation_type="run_podsandbox"} 2',
      'kubelet_runtime_operations_total{operation_type="version"} 1',
      'kubelet_runtime_operations_errors_total{operation_type="run_podsandbox"} 1',
      'kubelet_runtime_operations_duration_seconds_bucket{le="0.005",operation_type="version"} 1',
      'kubelet_runtime_operations_duration_seconds_bucket{le="0.1953125",operation_type="run_podsandbox"} 1',
      'kubelet_runtime_operations_duration_seconds_count{operation_type="run_podsandbox"} 2',
    ]),
  );
  expect(lines.filter((l) => l.includes('_bucket{') && l.includes('version'))).toHaveLength(15);
});

test('requests to the API server are counted by method and answer', async () => {
  const registry = new Registry();
  const observe = apiRequestMetrics(registry);
  observe('GET', 200, '10.0.0.1:6443', 0.003);
  observe('GET', 200, '10.0.0.1:6443', 0.3);
  observe('PATCH', undefined, '10.0.0.1:6443', 1);
  const lines = (await registry.metrics()).split('\n');
  expect(lines).toContain('rest_client_requests_total{code="200",method="GET",host="10.0.0.1:6443"} 2');
  expect(lines).toContain('rest_client_requests_total{code="<error>",method="PATCH",host="10.0.0.1:6443"} 1');
  expect(lines).toContain('rest_client_request_duration_seconds_bucket{le="0.25",verb="GET",host="10.0.0.1:6443"} 1');
});

test('a blocked event loop shows in the next scrape, and only there', async () => {
  const registry = new Registry();
  eventLoopMetrics(registry);
  const lag = async () => {
    await setTimeout(500); // real time: it is what the metric is about
    const text = await registry.metrics();
    return Number(/^nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(text)?.[1]);
  };
  await lag();
  await setTimeout(500); // the first look after a scrape only starts the clock
  const endMs = performance.now() + 500;
  while (performance.now() < endMs);
  expect(await lag()).toBeGreaterThan(0.1);
  expect(await registry.metrics()).toMatch(/^nodejs_eventloop_lag_p99_seconds /m);
});

test('what the event loop has to do is counted by kind, anew each time', async () => {
  const registry = new Registry();
  activeResourceMetrics(registry);
  const timers = async () =>
    Number(/^nodejs_active_resources\{type="Timeout"\} (\d+)/m.exec(await registry.metrics())?.[1] ?? 0);
  const before = await timers();
  const armed = Array.from({ length: 100 }, () => globalThis.setTimeout(() => {}, 60_000));
  expect(await timers()).toBeGreaterThan(before + 90); // the test runner has some of its own
  for (const timer of armed) clearTimeout(timer);
  expect(await timers()).toBeLessThan(before + 10);
});
