// The podresources API at a real socket, asked by a client of another make.
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { createPodResourcesPart } from '../../cmd/agent/podresources-part.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { decodeMessage, encodeMessage, type MessageName } from '../../cri/codec.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';

const pod = (name: string) =>
  ({ metadata: { name, namespace: 'ns', uid: name }, spec: { containers: [{ name: 'main' }] } }) as Pod;
const kubelet = {
  activePods: () => [pod('runs')],
  getPods: () => [pod('runs'), pod('over')],
  podByName: (namespace: string, name: string) =>
    namespace === 'ns' && ['runs', 'over'].includes(name) ? pod(name) : undefined,
} as unknown as Kubelet;

let rootDir = '';
let client: Client;
let clock: FakeClock;
let stop: AbortController;
let running: Promise<void>;

beforeEach(async () => {
  clock = new FakeClock();
  rootDir = await mkdtemp(path.join(tmpdir(), 'podresources-'));
  const cpus = {
    exclusiveCpus: (_: string, name: string) => (name === 'main' ? [2, 3] : []),
    allocatableCpus: () => [1, 2, 3],
  };
  const task = createPodResourcesPart(
    { registry: new Registry(), clock, log: silentLog },
    { rootDir, kubelet: () => kubelet, reports: { cpus } },
  );
  stop = new AbortController();
  running = task(stop.signal);
  const socket = path.join(rootDir, 'pod-resources/kubelet.sock');
  await vi.waitFor(() => stat(socket), { timeout: 120_000, interval: 10 });
  expect((await stat(path.dirname(socket))).mode & 0o777).toBe(0o750);
  client = new Client(`unix://${socket}`, credentials.createInsecure());
});
afterEach(async () => {
  client.close();
  stop.abort();
  await running;
  await rm(rootDir, { recursive: true });
});

function call(method: string, message: MessageName, request: object = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      `/${method}`,
      (value: object) => encodeMessage(`${message}Request`, value),
      (bytes: Buffer) => decodeMessage(`${message}Response`, bytes),
      request,
      (err: ServiceError | null, value) => (err === null ? resolve(value) : reject(err)),
    );
  });
}

const named = (name: string) => expect.objectContaining({ name, namespace: 'ns' });

test('pods that hold resources, one pod, what there is; all pods in the old version', async () => {
  const v1 = (method: string) => `v1.PodResourcesLister/${method}`;
  const listed = (await call(v1('List'), 'ListPodResources')) as { podResources: { containers: unknown[] }[] };
  expect(listed).toEqual({ podResources: [named('runs')] });
  expect(listed.podResources[0]?.containers).toEqual([expect.objectContaining({ name: 'main', cpuIds: [2, 3] })]);
  expect(await call(v1('Get'), 'GetPodResources', { podName: 'over', podNamespace: 'ns' })).toEqual({
    podResources: named('over'),
  });
  await expect(call(v1('Get'), 'GetPodResources', { podName: 'x', podNamespace: 'ns' })).rejects.toMatchObject({
    code: status.UNKNOWN,
    details: 'pod x in namespace ns not found',
  });
  expect(await call(v1('GetAllocatableResources'), 'AllocatableResources')).toMatchObject({ cpuIds: [1, 2, 3] });
  expect(await call('v1alpha1.PodResourcesLister/List', 'ListPodResources')).toEqual({
    podResources: [named('runs'), named('over')],
  });
  await expect(call('v1alpha1.PodResourcesLister/Get', 'GetPodResources')).rejects.toMatchObject({
    code: status.UNIMPLEMENTED,
  });
});

test('who asks too often is refused, and answered again after a moment', async () => {
  const list = () => call('v1.PodResourcesLister/List', 'ListPodResources');
  const answers = await Promise.allSettled(Array.from({ length: 50 }, list));
  const refused = answers.filter((a) => a.status === 'rejected');
  expect(refused).toHaveLength(40); // time stands still
  for (const { reason } of refused) {
    expect(reason).toMatchObject({ code: status.RESOURCE_EXHAUSTED, details: 'rejected by rate limit' });
  }
  await clock.advance(10);
  expect(await list()).toEqual({ podResources: [named('runs')] });
});
