// What is asked about a pod, and when: less after additions of our own, more after a kill.
import { beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { FakeCri } from './fake-cri.ts';
import { PodStatusReader } from './pod-status-reader.ts';

let clock: FakeClock;
let cri: FakeCri;
let reader: PodStatusReader;
let id: string;
let onListed: () => Promise<unknown>;
let create: (container: string) => Promise<string>;

beforeEach(async () => {
  clock = new FakeClock();
  cri = new FakeCri();
  cri.nowMs = () => clock.now();
  onListed = async () => {};
  const { runtime } = cri.services;
  const listContainers: RuntimeService['listContainers'] = async (...args) => {
    const list = await runtime.listContainers(...args);
    await onListed();
    return list;
  };
  reader = new PodStatusReader({
    runtime: { ...runtime, listContainers },
    clock,
    log: silentLog,
    tailLog: async () => '',
  });
  const metadata = { uid: 'u', name: 'p', namespace: 'ns', attempt: 0 };
  const labels = { 'io.kubernetes.pod.uid': 'u' };
  const sandbox = await runtime.runPodSandbox({ metadata, labels }, '');
  create = async (name) => {
    const config = { metadata: { name, attempt: 0 }, labels: { ...labels, 'io.kubernetes.container.name': name } };
    const created = await runtime.createContainer(sandbox, config, { metadata });
    reader.expectContainer('u', created);
    await runtime.startContainer(created);
    return created;
  };
  id = await create('main');
  await read();
});

const main = () => cri.containers.get(id)!.status;
const read = async () => (await reader.getPodStatus('u', 'p', 'ns')).containers[0];
const asked = () => cri.calls.filter((call) => call === `containerStatus ${id}`).length;

test('without a notice the runtime is asked once, and not again about a plain failure', async () => {
  cri.exit('main', 1);
  const before = asked();
  expect((await read())?.reason).toBe('Error');
  expect((await read())?.reason).toBe('Error');
  expect(asked()).toBe(before + 1);
});

test('after a notice it is asked until it says so, and never again', async () => {
  reader.memoryRanOut(id);
  cri.exit('main', 137);
  const reading = read();
  await clock.advance(20);
  main().reason = 'OOMKilled'; // its CRI service has come round to it
  await clock.advance(1_000);
  expect((await reading)?.reason).toBe('OOMKilled');
  const before = asked();
  expect((await read())?.reason).toBe('OOMKilled');
  expect(asked()).toBe(before);
  expect(clock.sleeping).toBe(0);
});

test.each([0, 1, 137])('a notice after the end was read has it read again: exit code %i', async (exitCode) => {
  cri.exit('main', exitCode);
  expect((await read())?.exitCode).toBe(exitCode);
  main().reason = 'OOMKilled';
  reader.memoryRanOut(id);
  expect((await read())?.reason).toBe('OOMKilled');
});

test('a runtime that never says why holds up its pod for a second at most', async () => {
  reader.memoryRanOut(id);
  cri.exit('main', 1);
  const startMs = clock.monotonicMs();
  const reading = read().then((container) => [container?.reason, clock.monotonicMs() - startMs] as const);
  await clock.advance(10_000);
  const [reason, tookMs] = await reading;
  expect(reason).toBe('Error');
  expect(tookMs).toBeLessThanOrEqual(1_000);
  expect((await read())?.reason).toBe('Error'); // at once: nothing more is expected
});

test('a container that is removed meanwhile is gone', async () => {
  reader.memoryRanOut(id);
  cri.exit('main', 137);
  const reading = read();
  await clock.advance(10);
  cri.containers.delete(id);
  await clock.advance(1_000);
  expect(await reading).toBeUndefined();
});

test('a container that is added while its pod is being listed is not lost to the next reading', async () => {
  onListed = () => create('beside');
  await read();
  onListed = async () => {};
  const { containers } = await reader.getPodStatus('u', 'p', 'ns', { onlyAdded: true });
  expect(containers.map((c) => c.name).sort()).toEqual(['beside', 'main']);
});

test('after a reading nothing is listed for what is added then', async () => {
  await create('beside');
  cri.calls.length = 0;
  const { containers } = await reader.getPodStatus('u', 'p', 'ns', { onlyAdded: true });
  expect(containers.map((c) => c.name).sort()).toEqual(['beside', 'main']);
  expect(cri.calls).toHaveLength(2);
});
