import { afterEach, beforeEach, expect, test } from 'vitest';
import { pods } from '../api/resources.ts';
import type { FakeApi } from '../client/fake-client.ts';
import { AgentError } from '../core/errors.ts';
import type { FakeClock } from '../core/fake-clock.ts';
import { FakeAgent, fakePod } from './fake-agent.ts';
import { type FakeEvents, FakeProbes, type FakeVolumes } from './fake-managers.ts';
import type { FakeRuntimeManager } from './fake-runtime-manager.ts';

let agent: FakeAgent;
let clock: FakeClock;
let api: FakeApi;
let runtime: FakeRuntimeManager;
let volumes: FakeVolumes;
let probes: FakeProbes;
let events: FakeEvents;

beforeEach(() => {
  agent = new FakeAgent();
  ({ clock, api, runtime, volumes, probes, events } = agent);
});

afterEach(() => agent.stop());

/** As fast as things follow from one another, unless time has to pass. */
const until = (holds: () => boolean, stepMs = 0, steps?: number) => agent.until(holds, stepMs, steps);

test('a new pod is written once, when it is Ready, after one look at the runtime', async () => {
  agent.start();
  await clock.advance(0);
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  const status = agent.stored('web')?.status;
  expect(status).toMatchObject({ phase: 'Running', hostIP: '192.0.2.1', podIP: '10.244.1.1', qosClass: 'BestEffort' });
  expect(status?.containerStatuses?.[0]).toMatchObject({
    name: 'main',
    ready: true,
    started: true,
    restartCount: 0,
    containerID: 'containerd://container-2',
  });
  expect(api.requests.filter((r) => r.verb === 'patch')).toHaveLength(1);
  expect(api.requests.filter((r) => r.verb === 'get')).toHaveLength(0);
  await clock.advance(1000); // the events of our own actions are known already
  const uid = agent.stored('web')?.metadata?.uid;
  expect(runtime.calls.filter((c) => c.startsWith('getPodStatus'))).toEqual([`getPodStatus ${uid} onlyAdded`]);
  expect(runtime.countCalls('syncPod')).toBe(1);
});

test('a job that is done before its start has been told is over at once, although its end is no news', async () => {
  agent.start();
  await clock.advance(0);
  runtime.endsAtOnce.set('main', 0);
  api.seed(pods, fakePod('job', { restartPolicy: 'Never' }));
  await until(() => agent.stored('job')?.status?.phase === 'Succeeded');
  await until(() => runtime.kills.length === 1); // its sandbox
});

test('a container that ends before its start has been told is started again at once', async () => {
  agent.start();
  await clock.advance(0);
  runtime.endsAtOnce.set('main', 3);
  api.seed(pods, fakePod('web'));
  await until(() => runtime.containersOf('uid-web').length === 2);
  expect(runtime.containersOf('uid-web').map((c) => c.state)).toEqual(['running', 'exited']);
});

test('what follows a start that went well is done at once: the containers behind a sidecar', async () => {
  agent.start();
  await clock.advance(0);
  const sidecar = { name: 'side', image: 'busybox', restartPolicy: 'Always' };
  api.seed(pods, fakePod('web', { initContainers: [sidecar], containers: [{ name: 'main', image: 'busybox' }] }));
  await until(() => agent.condition('web', 'Ready') === 'True');
  expect(runtime.countCalls('syncPod')).toBe(2);
});

test('what the API server sends and is no pod concerns nobody', async () => {
  agent.start();
  await clock.advance(0);
  const { spec, ...nothing } = fakePod('nothing');
  api.seed(pods, nothing, { ...fakePod('astray'), metadata: { ...fakePod('astray').metadata, uid: '../../etc' } });
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  for (const name of ['nothing', 'astray']) expect(agent.stored(name)?.status).toEqual({ phase: 'Pending' });
  expect(runtime.countCalls('getPodStatus')).toBe(1);
});

test('a quiet pod costs no runtime calls but the slow relist', async () => {
  agent.start();
  await clock.advance(0);
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  await clock.advance(1000);
  const [reads, lists] = [runtime.countCalls('getPodStatus'), runtime.countCalls('listPods')];
  const writes = api.requests.length;
  await until(() => clock.monotonicMs() > 180_000, 5000);
  expect(runtime.countCalls('getPodStatus')).toBe(reads);
  expect(runtime.countCalls('listPods') - lists).toBeLessThanOrEqual(3);
  expect(api.requests.length).toBe(writes);
});

test('a deleted pod is stopped with its grace, told to be over, and gone: one patch and one delete', async () => {
  agent.start();
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  const before = api.requests.length;
  await api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 7 });
  await until(() => agent.stored('web') === undefined);
  expect(runtime.kills).toEqual([{ uid: 'uid-web', graceSeconds: 7 }]);
  const calls = api.requests.slice(before + 1).filter((r) => r.verb !== 'watch');
  expect(calls.map((r) => r.verb)).toEqual(['patch', 'delete']);
  expect(calls[0]?.body).toMatchObject({ metadata: { uid: 'uid-web' }, status: { phase: 'Succeeded' } });
  expect(calls[1]?.body).toMatchObject({ gracePeriodSeconds: 0, preconditions: { uid: 'uid-web' } });
  expect(volumes.unmounts).toContain('uid-web');
  await until(() => !runtime.isKnown('uid-web'), 500);
  await until(() => clock.monotonicMs() > 30_000, 1000);
  expect(runtime.kills).toHaveLength(1); // the last relist, in which it still ran, makes no orphan of it
});

test('a half-started pod is completed in the sandbox it has', async () => {
  runtime.adopt({ ...fakePod('web'), spec: { containers: [] } }, clock.now());
  api.seed(pods, fakePod('web'));
  agent.start();
  await until(() => agent.condition('web', 'Ready') === 'True', 50);
  expect(agent.stored('web')?.status?.podIP).toBe('10.244.1.1');
  expect(runtime.containersOf('uid-web')).toHaveLength(1);
  expect(runtime.kills).toEqual([]);
});

test('a shorter grace period starts the running kill again', async () => {
  agent.start();
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  runtime.killGate = new Promise(() => {});
  await api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 30 });
  await until(() => runtime.kills.length === 1);
  await api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 2 });
  await until(() => runtime.kills.length === 2);
  expect(runtime.kills.map((k) => k.graceSeconds)).toEqual([30, 2]);
});

test('pods in a long termination do not hold up others', async () => {
  agent.start();
  const many = Array.from({ length: 40 }, (_, i) => fakePod(`old-${i}`));
  api.seed(pods, ...many);
  await until(() => many.every((p) => agent.condition(p.metadata!.name!, 'Ready') === 'True'));
  runtime.killGate = new Promise(() => {});
  for (const p of many) await api.delete(pods, { namespace: 'default', name: p.metadata!.name! });
  await until(() => runtime.kills.length === 40);
  api.seed(pods, fakePod('new'));
  await until(() => agent.condition('new', 'Ready') === 'True');
});

test('a container that exits is restarted and counted', async () => {
  agent.start();
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  await clock.advance(1000);
  runtime.exit('uid-web', 'main', 3);
  await until(() => agent.stored('web')?.status?.containerStatuses?.[0]?.restartCount === 1, 50);
  const status = agent.stored('web')!.status!.containerStatuses![0]!;
  expect(status.lastState?.terminated).toMatchObject({ exitCode: 3, reason: 'Error' });
  expect(status.state?.running).toBeDefined();
});

test('a pod of policy Never that ends is told to be Succeeded only when nothing runs any more', async () => {
  agent.start();
  api.seed(pods, fakePod('job', { restartPolicy: 'Never' }));
  await until(() => agent.condition('job', 'Ready') === 'True');
  await clock.advance(1000);
  runtime.exit('uid-job', 'main', 0);
  await until(() => agent.stored('job')?.status?.phase === 'Succeeded', 50);
  expect(agent.condition('job', 'Ready')).toBe('False');
  expect(agent.stored('job')?.status?.containerStatuses?.[0]?.state?.terminated?.exitCode).toBe(0);
  expect(runtime.kills).toHaveLength(1);
});

test('a start that fails says why, and is tried again when the back-off ends', async () => {
  agent.start();
  const retryAtMs = clock.now() + 20_000;
  runtime.startFailures.set('main', {
    reason: 'ImagePullBackOff',
    message: 'Back-off pulling image "busybox"',
    retryAtMs,
  });
  api.seed(pods, fakePod('web'));
  await until(
    () => agent.stored('web')?.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ImagePullBackOff',
    50,
  );
  expect(agent.stored('web')?.status?.phase).toBe('Pending');
  // What a failed pass has left behind has to be listed.
  expect(runtime.calls).toContain(`getPodStatus ${agent.stored('web')?.metadata?.uid}`);
  expect(runtime.calls.some((c) => c.endsWith('onlyAdded'))).toBe(false);
  runtime.startFailures.clear();
  await until(() => clock.now() >= retryAtMs - 1000, 1000);
  expect(agent.condition('web', 'Ready')).toBe('False');
  await until(() => agent.condition('web', 'Ready') === 'True', 100, 30);
});

test('a pod becomes Ready as soon as somebody writes the condition of its readiness gate', async () => {
  agent.start();
  api.seed(pods, fakePod('web', { readinessGates: [{ conditionType: 'example.com/gate' }] }));
  await until(() => agent.condition('web', 'ContainersReady') === 'True', 100);
  expect(agent.condition('web', 'Ready')).toBe('False');
  const body = { status: { conditions: [{ type: 'example.com/gate', status: 'True' }] } };
  const web = { namespace: 'default', name: 'web' };
  await api.patch(pods, web, { type: 'strategic', body }, { subresource: 'status' });
  await until(() => agent.condition('web', 'Ready') === 'True', 100); // long before the regular look at every pod
});

test('after a restart of the agent running containers are adopted and nothing is written', async () => {
  const first = agent.start();
  api.seed(
    pods,
    fakePod('web', { containers: [{ name: 'main', image: 'busybox', readinessProbe: { tcpSocket: { port: 80 } } }] }),
  );
  await until(() => runtime.containersOf('uid-web').length === 1);
  await until(() => first.podStatus('uid-web')?.phase === 'Running');
  probes.report({
    kind: 'readiness',
    podUid: 'uid-web',
    container: 'main',
    containerId: 'container-2',
    verdict: 'success',
  });
  await until(() => agent.condition('web', 'Ready') === 'True');
  await clock.advance(60_000);
  await agent.stop();
  probes = new FakeProbes(); // verdicts are gone with the process
  const writes = api.requests.filter((r) => r.verb === 'patch').length;
  const second = agent.start({}, { probes });
  await until(() => second.podStatus('uid-web')?.phase === 'Running');
  await clock.advance(5000);
  expect(runtime.containersOf('uid-web')).toHaveLength(1);
  expect(runtime.kills).toEqual([]);
  expect(api.requests.filter((r) => r.verb === 'patch')).toHaveLength(writes);
  // Nothing of it changes any more, and still it is probed.
  expect(probes.told('uid-web')?.containerStatuses?.[0]).toMatchObject({ started: true, state: { running: {} } });
});

test('a pod deleted by force while the agent was down is stopped', async () => {
  runtime.adopt(fakePod('gone'), clock.now());
  agent.start();
  await until(() => runtime.kills.length === 1, 100);
  expect(runtime.kills[0]).toEqual({ uid: 'uid-gone', graceSeconds: 1 });
  await until(() => !runtime.isKnown('uid-gone'), 500);
});

test('a pod deleted by force is killed soon, however long a grace it has', async () => {
  const web = fakePod('web');
  api.seed(pods, { ...web, spec: { ...web.spec!, terminationGracePeriodSeconds: 3600 } });
  agent.start();
  await until(() => agent.stored('web')?.status?.phase === 'Running', 50);
  await api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 0 });
  await until(() => runtime.kills.length === 1, 50);
  expect(runtime.kills).toEqual([{ uid: 'uid-web', graceSeconds: 1 }]);
});

test('a pod whose deletion was asked for while the agent was down is finished', async () => {
  runtime.adopt(fakePod('web'), clock.now());
  api.seed(pods, { ...fakePod('web'), status: { phase: 'Running' } });
  await api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 5 });
  agent.start();
  await until(() => agent.stored('web') === undefined, 50);
  expect(runtime.kills).toEqual([{ uid: 'uid-web', graceSeconds: 5 }]);
});

test('nothing is stopped while the API server cannot be reached', async () => {
  runtime.adopt(fakePod('web'), clock.now());
  for (let i = 0; i < 50; i++) {
    api.failNext('list', new Error('connect ECONNREFUSED'), 'pods');
    api.failNext('watch', new Error('connect ECONNREFUSED'), 'pods');
  }
  agent.start();
  await until(() => clock.monotonicMs() > 120_000, 4000);
  expect(runtime.kills).toEqual([]);
});

test('an exit whose event was lost is found by the relist', async () => {
  agent.start();
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  await clock.advance(2000);
  runtime.breakStream(new Error('connection reset'));
  await clock.advance(0);
  runtime.exit('uid-web', 'main', 1);
  await until(() => agent.stored('web')?.status?.containerStatuses?.[0]?.restartCount === 1, 500, 20);
});

test('a status that could not be written is written later', async () => {
  agent.start();
  await clock.advance(0);
  for (let i = 0; i < 3; i++) api.failNext('patch', new Error('connect ECONNREFUSED'));
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True', 500, 40);
});

test('an owned status field that somebody else wrote is put right', async () => {
  agent.start();
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  const wrong = { status: { podIP: '203.0.113.9' } };
  await api.patch(
    pods,
    { namespace: 'default', name: 'web' },
    { type: 'merge', body: wrong },
    { subresource: 'status' },
  );
  await until(() => agent.stored('web')?.status?.podIP === '10.244.1.1', 1000, 20);
});

test('a pod that does not fit is refused, and its deletion goes through', async () => {
  agent.start();
  api.seed(
    pods,
    fakePod('big', { containers: [{ name: 'main', image: 'busybox', resources: { requests: { cpu: '3' } } }] }),
  );
  await until(() => agent.stored('big')?.status?.phase === 'Failed', 50);
  expect(agent.stored('big')?.status).toMatchObject({
    reason: 'OutOfcpu',
    message: "Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000",
    startTime: '2026-01-01T00:00:00Z',
  });
  expect(events.reasons()).toContain('OutOfcpu');
  expect(runtime.countCalls('syncPod')).toBe(0);
  await api.delete(pods, { namespace: 'default', name: 'big' });
  await until(() => agent.stored('big') === undefined, 50);
  expect(runtime.kills).toEqual([]);
});

test('a pod that may not restart fails when the runtime has lost it: its work is not done twice', async () => {
  agent.start();
  api.seed(pods, fakePod('job', { restartPolicy: 'Never' }));
  await agent.untilReady('job');
  await agent.stop();
  await runtime.removePod('uid-job');
  agent.start();
  await until(() => agent.stored('job')?.status?.phase === 'Failed', 50);
  expect(runtime.isKnown('uid-job')).toBe(false);
  expect(agent.stored('job')?.status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({
    exitCode: 137,
    reason: 'ContainerStatusUnknown',
  });
});

test('after a failure the runtime is asked what it did: a call may have gone through although its answer was lost', async () => {
  agent.start();
  runtime.failNext('syncPod', new Error('connection lost'));
  api.seed(pods, fakePod('web'));
  await until(() => runtime.countCalls('syncPod') === 1);
  await clock.advance(100);
  expect(runtime.calls.slice(runtime.calls.indexOf('syncPod uid-web') + 1)).toContain('getPodStatus uid-web');
  expect(runtime.countCalls('syncPod')).toBe(1);
});

test('what failed while the runtime was away is done as soon as it is back, not with the next try', async () => {
  agent.start();
  api.seed(pods, fakePod('web'));
  await agent.untilReady('web');
  const gone = new Error('connection lost');
  runtime.failNext('killPod', gone);
  await api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 5 });
  await until(() => runtime.countCalls('killPod') === 1);
  runtime.failNext('listPods', gone);
  runtime.breakStream(gone);
  await clock.advance(100);
  expect(runtime.countCalls('killPod')).toBe(1);
  const lists = runtime.countCalls('listPods');
  await until(() => runtime.countCalls('listPods') > lists, 10);
  await clock.advance(1);
  expect(runtime.kills).toHaveLength(1);
});

test('a pod recreated under its name is a new pod', async () => {
  agent.start();
  api.seed(pods, fakePod('web'));
  await until(() => agent.condition('web', 'Ready') === 'True');
  await api.delete(pods, { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 0 });
  api.seed(pods, { ...fakePod('web'), metadata: { name: 'web', namespace: 'default', uid: 'uid-web-2' } });
  await until(() => agent.condition('web', 'Ready') === 'True' && runtime.kills.length === 1, 50);
  expect(runtime.kills[0]?.uid).toBe('uid-web');
  expect(runtime.containersOf('uid-web-2')[0]?.state).toBe('running');
});

const token = { name: 'kube-api-access-x1', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } };

test('a token that cannot be had yet keeps containers from being made, not the sandbox, which is then used', async () => {
  agent.start();
  await clock.advance(0);
  volumes.mountError = new Error('no token');
  api.seed(pods, fakePod('web', { volumes: [token] }));
  await until(() => runtime.isKnown('uid-web'));
  await clock.advance(100);
  expect(runtime.containersOf('uid-web')).toHaveLength(0);
  volumes.mountError = undefined;
  await until(() => agent.condition('web', 'Ready') === 'True', 1000);
  expect(new Set(runtime.containersOf('uid-web').map((c) => c.sandboxId)).size).toBe(1);
  expect((await runtime.listPods())[0]?.sandboxes).toHaveLength(1);
});

test('a pod whose volume the node cannot take any more is rejected, and stays so', async () => {
  agent.start();
  await clock.advance(0);
  const message = 'Node has reached its volume attachment limit, rejecting pod. unmounted volumes=[data]';
  volumes.mountError = new AgentError(message, { code: 'VOLUME_ATTACHMENT_LIMIT' });
  api.seed(pods, fakePod('web', { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }] }));
  const statusOf = () => api.all(pods).find((p) => p.metadata?.name === 'web')?.status;
  await until(() => statusOf()?.phase === 'Failed');
  volumes.mountError = undefined;
  await until(() => volumes.unmounts.includes('uid-web'), 1000);
  await clock.advance(200_000);
  expect(statusOf()).toMatchObject({
    phase: 'Failed',
    reason: 'VolumeAttachmentLimitExceeded',
    message: `Pod was rejected: ${message}`,
  });
  expect(runtime.containersOf('uid-web')).toEqual([]);
  expect(events.reasons().filter((r) => r === 'VolumeAttachmentLimitExceeded')).toHaveLength(1);
});

test('volumes of a pod that is gone go as soon as what kept them has come, not with the next look', async () => {
  volumes.dirs = ['uid-gone'];
  volumes.unmountError = new Error('driver name d not found in the list of registered CSI drivers');
  agent.start();
  await clock.advance(5000);
  expect(volumes.dirs).toEqual(['uid-gone']);
  volumes.unmountError = undefined;
  volumes.change('uid-gone');
  await clock.advance(2000);
  expect(volumes.dirs).toEqual([]);
});

test('a pod whose own volumes cannot be mounted gets no sandbox, and no Event besides those of its volumes', async () => {
  agent.start();
  await clock.advance(0);
  volumes.mountError = new Error('configmap "settings" not found');
  api.seed(pods, fakePod('web', { volumes: [token, { name: 'settings', configMap: { name: 'settings' } }] }));
  await until(() => volumes.mountCalls > 0);
  await clock.advance(5000);
  expect(runtime.isKnown('uid-web')).toBe(false);
  expect(events.reasons()).not.toContain('FailedMount'); // the volume manager's to send, one for each volume
  volumes.mountError = undefined;
  await until(() => agent.condition('web', 'Ready') === 'True', 1000);
});
