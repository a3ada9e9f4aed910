import { beforeEach, describe, expect, test } from 'vitest';
import type { ContainerStatus, Pod, PodStatus, Probe } from '../api/pod.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import type { ProbeOutcome } from './outcome.ts';
import type { ProbeChange } from './probe-manager.ts';
import { type Attempt, attemptLimitMs } from './probe-run.ts';
import { Prober } from './prober.ts';

let clock: FakeClock;
let outcomes: Map<string, ProbeOutcome>;
let attempts: string[];
let reports: string[];
let changes: ProbeChange[];
let prober: Prober;

const ok: ProbeOutcome = { kind: 'success', output: '' };
const bad: ProbeOutcome = { kind: 'failure', output: 'nope' };

const attempt: Attempt = ({ container, probe }) => {
  const kind = probe.httpGet?.path ?? '';
  attempts.push(`${clock.monotonicMs()} ${container.name}${kind}`);
  return Promise.resolve(outcomes.get(kind) ?? ok);
};

beforeEach(() => {
  clock = new FakeClock();
  outcomes = new Map();
  attempts = [];
  reports = [];
  changes = [];
  prober = new Prober({
    attempt,
    report: (_pod, container, reason, message) => reports.push(`${container} ${reason} ${message}`),
    clock,
    log: silentLog,
    random: () => 0.5,
  });
  prober.onChange((c) => changes.push(c));
});

const probe = (path: string, more: Partial<Probe> = {}): Probe => ({
  httpGet: { path, port: 80 },
  periodSeconds: 5,
  ...more,
});

function podWith(probes: { liveness?: Probe; readiness?: Probe; startup?: Probe }): Pod {
  return {
    metadata: { uid: 'u1', name: 'web', namespace: 'default' },
    spec: {
      containers: [
        {
          name: 'c',
          image: 'i',
          ...(probes.liveness && { livenessProbe: probes.liveness }),
          ...(probes.readiness && { readinessProbe: probes.readiness }),
          ...(probes.startup && { startupProbe: probes.startup }),
        },
      ],
    },
  };
}

function running(more: Partial<ContainerStatus> = {}, id = 'id1'): PodStatus {
  const startedAt = new Date(clock.now()).toISOString();
  const c = { name: 'c', image: 'i', imageID: '', restartCount: 0, ready: false, started: true };
  return {
    phase: 'Running',
    podIP: '10.0.0.1',
    containerStatuses: [{ ...c, containerID: `containerd://${id}`, state: { running: { startedAt } }, ...more }],
  };
}

const verdictsOf = (kind: string) => changes.filter((c) => c.kind === kind).map((c) => c.verdict);

test('a readiness probe runs as soon as its container has started, then once per period', async () => {
  prober.addPod(podWith({ readiness: probe('/r') }));
  await clock.advance(1000);
  expect(attempts).toEqual([]);
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  expect(attempts).toEqual(['1000 c/r']);
  prober.updatePodStatus('u1', running({ ready: true }));
  await clock.advance(10_000);
  expect(attempts).toEqual(['1000 c/r', '6000 c/r', '11000 c/r']);
  expect(verdictsOf('readiness')).toEqual(['failure', 'success']);
});

test('a probe that says no period runs every 10 s', async () => {
  prober.addPod(podWith({ liveness: { httpGet: { path: '/l', port: 80 } } }));
  prober.updatePodStatus('u1', running());
  await clock.advance(20_000);
  expect(attempts).toEqual(['0 c/l', '10000 c/l', '20000 c/l']);
});

test('new statuses make liveness and startup probes run no earlier than their period says', async () => {
  prober.addPod(podWith({ liveness: probe('/l'), startup: probe('/s') }));
  outcomes.set('/s', bad);
  prober.updatePodStatus('u1', running({ started: false }));
  await clock.advance(1000);
  prober.updatePodStatus('u1', running({ started: false, restartCount: 1 }));
  await clock.advance(1000);
  expect(attempts).toEqual(['0 c/s']);
  outcomes.set('/s', ok);
  await clock.advance(3000);
  prober.updatePodStatus('u1', running({ started: true }));
  await clock.advance(1000);
  prober.updatePodStatus('u1', running({ started: true, restartCount: 2 }));
  await clock.advance(1000);
  expect(attempts).toEqual(['0 c/s', '5000 c/s', '5000 c/l']);
});

test('a container that has been made and does not run yet has not failed, nor has one that is not made', async () => {
  prober.addPod(podWith({ liveness: probe('/l') }));
  prober.updatePodStatus('u1', running({ containerID: '', state: { waiting: { reason: 'ContainerCreating' } } }));
  await clock.advance(1000);
  expect(changes).toEqual([]);
  prober.updatePodStatus('u1', running({ state: { waiting: { reason: 'ContainerCreating' } } }));
  await clock.advance(1000);
  expect(verdictsOf('liveness')).toEqual(['success']);
  prober.updatePodStatus('u1', running());
  await clock.advance(1000);
  prober.updatePodStatus('u1', running({ state: { waiting: { reason: 'CrashLoopBackOff' } } }));
  await clock.advance(5000);
  expect(verdictsOf('liveness')).toEqual(['success', 'failure']);
});

test('initialDelaySeconds counts from the start of the container', async () => {
  prober.addPod(podWith({ readiness: probe('/r', { initialDelaySeconds: 3 }) }));
  prober.updatePodStatus('u1', running());
  await clock.advance(2999);
  expect(attempts).toEqual([]);
  await clock.advance(1);
  expect(attempts).toEqual(['3000 c/r']);
});

test('a clock that was set back by an hour since the container started keeps no probe waiting', async () => {
  prober.addPod(podWith({ readiness: probe('/r', { initialDelaySeconds: 3 }) }));
  const status = running();
  clock.stepWall(-3_600_000);
  prober.updatePodStatus('u1', status);
  await clock.advance(3000);
  expect(attempts[0]).toMatch(/ c\/r$/);
});

test('failures below the threshold change nothing; at the threshold liveness fails once and then holds', async () => {
  outcomes.set('/l', bad);
  prober.addPod(podWith({ liveness: probe('/l', { failureThreshold: 3 }) }));
  prober.updatePodStatus('u1', running());
  await clock.advance(9_999);
  expect(verdictsOf('liveness')).toEqual(['success']);
  await clock.advance(1);
  expect(verdictsOf('liveness')).toEqual(['success', 'failure']);
  await clock.advance(60_000);
  expect(attempts).toHaveLength(3);
  expect(reports).toHaveLength(3);
  expect(reports[0]).toBe('c Unhealthy Liveness probe failed: nope');
});

test('a new container starts afresh after a liveness failure', async () => {
  outcomes.set('/l', bad);
  prober.addPod(podWith({ liveness: probe('/l', { failureThreshold: 1 }) }));
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  expect(prober.verdict('liveness', 'id1')).toBe('failure');
  outcomes.set('/l', ok);
  prober.updatePodStatus('u1', running({}, 'id2'));
  await clock.advance(0);
  expect(prober.verdict('liveness', 'id2')).toBe('success');
  expect(prober.verdict('liveness', 'id1')).toBeUndefined();
});

test('liveness and readiness wait until the startup probe has succeeded', async () => {
  outcomes.set('/s', bad);
  prober.addPod(
    podWith({ startup: probe('/s', { failureThreshold: 10 }), liveness: probe('/l'), readiness: probe('/r') }),
  );
  prober.updatePodStatus('u1', running({ started: false }));
  await clock.advance(5_000);
  expect(attempts).toEqual(['0 c/s', '5000 c/s']);
  outcomes.set('/s', ok);
  await clock.advance(5_000);
  expect(prober.verdict('startup', 'id1')).toBe('success');
  prober.updatePodStatus('u1', running({ started: true }));
  await clock.advance(0);
  expect(attempts.slice(3).sort()).toEqual(['10000 c/l', '10000 c/r']);
  await clock.advance(5_000);
  expect(attempts.filter((a) => a.endsWith('/s'))).toHaveLength(3);
});

test('an attempt that cannot be made is tried three times, reported once, and changes nothing', async () => {
  outcomes.set('/r', { kind: 'error', message: 'no port' });
  prober.addPod(podWith({ readiness: probe('/r') }));
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  expect(attempts).toHaveLength(3);
  expect(reports).toEqual(['c Unhealthy Readiness probe errored and resulted in unknown state: no port']);
  expect(verdictsOf('readiness')).toEqual(['failure']);
});

test('a container that ran long before the agent keeps its readiness until it is probed', async () => {
  const startedAt = new Date(clock.now() - 60_000).toISOString();
  prober.addPod(podWith({ readiness: probe('/r') }));
  outcomes.set('/r', bad);
  prober.updatePodStatus('u1', running({ ready: true, state: { running: { startedAt } } }));
  await clock.advance(0);
  expect(prober.verdict('readiness', 'id1')).toBeUndefined();
  await clock.advance(15_000);
  expect(prober.verdict('readiness', 'id1')).toBe('failure');
});

test('such a container that is ready is not taken for unready while it is probed', async () => {
  const startedAt = new Date(clock.now() - 60_000).toISOString();
  prober.addPod(podWith({ readiness: probe('/r') }));
  prober.updatePodStatus('u1', running({ ready: true, state: { running: { startedAt } } }));
  await clock.advance(15_000);
  expect(verdictsOf('readiness')).toEqual(['success']);
});

test('a pod whose status was told before it came, and does not change any more, is probed', async () => {
  const startedAt = new Date(clock.now() - 60_000).toISOString();
  const status = running({ ready: true, state: { running: { startedAt } } });
  prober.updatePodStatus('u1', status); // of nobody yet
  prober.addPod(podWith({ readiness: probe('/r'), liveness: probe('/l') }), status);
  await clock.advance(15_000);
  expect(attempts.filter((a) => a.endsWith('c/r')).length).toBeGreaterThanOrEqual(2);
  expect(attempts.filter((a) => a.endsWith('c/l')).length).toBeGreaterThanOrEqual(2);
});

test('a container that ends is not ready, and is not probed', async () => {
  prober.addPod(podWith({ readiness: probe('/r') }));
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  const terminated = { exitCode: 1, reason: 'Error', startedAt: '', finishedAt: '' };
  prober.updatePodStatus('u1', running({ started: false, state: { terminated } }));
  await clock.advance(5_000);
  expect(prober.verdict('readiness', 'id1')).toBe('failure');
  expect(attempts).toHaveLength(1);
});

test('termination stops liveness but not readiness; removal stops all and forgets', async () => {
  prober.addPod(podWith({ liveness: probe('/l'), readiness: probe('/r') }));
  prober.updatePodStatus('u1', running({ ready: true }));
  await clock.advance(0);
  prober.stopLivenessAndStartup('u1');
  await clock.advance(5_000);
  expect(attempts.filter((a) => a.endsWith('/l'))).toHaveLength(1);
  expect(attempts.filter((a) => a.endsWith('/r'))).toHaveLength(2);
  prober.removePod('u1');
  await clock.advance(60_000);
  expect(attempts).toHaveLength(3);
  expect(prober.verdict('readiness', 'id1')).toBeUndefined();
  expect(clock.sleeping).toBe(0);
});

test('sidecars are asked whether they live while their pod ends: what they serve may need them until then', async () => {
  const pod = podWith({ liveness: probe('/l') });
  pod.spec = {
    ...pod.spec!,
    initContainers: [{ name: 'side', image: 'i', restartPolicy: 'Always', livenessProbe: probe('/s') }],
  };
  prober.addPod(pod);
  const side = running({ name: 'side' }, 'id2').containerStatuses!;
  prober.updatePodStatus('u1', { ...running({ ready: true }), initContainerStatuses: side });
  await clock.advance(0);
  prober.stopLivenessAndStartup('u1');
  attempts.length = 0;
  await clock.advance(10_000);
  expect(attempts.map((a) => a.split(' ')[1])).toEqual(['side/s', 'side/s']);
});

test('a warning counts as a success and is told as one', async () => {
  outcomes.set('/r', { kind: 'warning', output: 'Probe terminated redirects, Response body: x' });
  prober.addPod(podWith({ readiness: probe('/r') }));
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  expect(prober.verdict('readiness', 'id1')).toBe('success');
  expect(reports).toEqual(['c ProbeWarning Readiness probe warning: Probe terminated redirects, Response body: x']);
});

test('successThreshold runs in a row make a container ready again, a failure between starts the count anew', async () => {
  outcomes.set('/r', bad);
  prober.addPod(podWith({ readiness: probe('/r', { successThreshold: 2, failureThreshold: 1, periodSeconds: 1 }) }));
  prober.updatePodStatus('u1', running({ ready: true }));
  await clock.advance(0);
  outcomes.set('/r', ok);
  await clock.advance(1000);
  outcomes.set('/r', bad);
  await clock.advance(1000);
  outcomes.set('/r', ok);
  await clock.advance(1000);
  expect(prober.verdict('readiness', 'id1')).toBe('failure');
  await clock.advance(1000);
  expect(prober.verdict('readiness', 'id1')).toBe('success');
});

test('a startup probe that fails for good is asked no more, and liveness is not asked either', async () => {
  outcomes.set('/s', bad);
  prober.addPod(podWith({ startup: probe('/s', { failureThreshold: 2 }), liveness: probe('/l') }));
  prober.updatePodStatus('u1', running({ started: false }));
  await clock.advance(60_000);
  expect(attempts).toEqual(['0 c/s', '5000 c/s']);
  expect(verdictsOf('startup')).toEqual(['unknown', 'failure']);
});

test('a pod that is over is not probed any more', async () => {
  prober.addPod(podWith({ liveness: probe('/l') }));
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  prober.updatePodStatus('u1', { ...running(), phase: 'Failed' });
  await clock.advance(60_000);
  expect(attempts).toHaveLength(1);
  expect(prober.hasProbe('u1', 'c', 'liveness')).toBe(false);
  expect(clock.sleeping).toBe(0);
});

test('of a pod that is being deleted liveness is taken for granted and ends, readiness goes on', async () => {
  const pod = podWith({ liveness: probe('/l'), readiness: probe('/r') });
  pod.metadata = { ...pod.metadata, deletionTimestamp: '2030-01-01T00:00:00Z' };
  prober.addPod(pod);
  prober.updatePodStatus('u1', running());
  await clock.advance(10_000);
  expect(attempts).toEqual(['0 c/r', '5000 c/r', '10000 c/r']);
  expect(prober.verdict('liveness', 'id1')).toBe('success');
});

test('a sidecar that had started up before the agent did is not asked for it again', async () => {
  const startedAt = new Date(clock.now() - 60_000).toISOString();
  const pod = podWith({});
  pod.spec = {
    ...pod.spec!,
    initContainers: [{ name: 'side', image: 'i', restartPolicy: 'Always', startupProbe: probe('/s') }],
  };
  prober.addPod(pod);
  const side = running({ name: 'side', state: { running: { startedAt } } }).containerStatuses!;
  prober.updatePodStatus('u1', { phase: 'Running', initContainerStatuses: side });
  await clock.advance(60_000);
  expect(prober.verdict('startup', 'id1')).toBe('success');
  expect(attempts).toEqual([]);
});

test('a slow attempt does not shift the runs after it', async () => {
  let answer: ((outcome: ProbeOutcome) => void) | undefined;
  const starts: number[] = [];
  prober = new Prober({
    attempt: () => {
      starts.push(clock.monotonicMs());
      return new Promise((resolve) => {
        answer = resolve;
      });
    },
    report: () => {},
    clock,
    log: silentLog,
  });
  prober.addPod(podWith({ readiness: probe('/r') }));
  prober.updatePodStatus('u1', running({ ready: true }));
  await clock.advance(0);
  await clock.advance(900);
  answer!(ok);
  await clock.advance(4_100);
  await clock.advance(7_000); // longer than the period
  answer!(ok);
  await clock.advance(0);
  expect(starts).toEqual([0, 5_000, 12_000]);
});

test('a probe that ends after its pod is gone is not counted: nobody would take the series away again', async () => {
  const answers: ((outcome: ProbeOutcome) => void)[] = [];
  const counted: string[] = [];
  prober = new Prober({
    attempt: () => new Promise((resolve) => answers.push(resolve)),
    report: () => {},
    observe: (kind, { pod }, result) => counted.push(`${kind} of ${pod.metadata?.uid}: ${result}`),
    clock,
    log: silentLog,
  });
  prober.addPod(podWith({ readiness: probe('/r') }));
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  answers.shift()!(ok);
  await clock.advance(5_000);
  prober.removePod('u1');
  answers.shift()!(ok);
  await clock.advance(0);
  expect(counted).toEqual(['readiness of u1: success']);
});

test('a container that is replaced while the old one is asked is asked as soon as that ends', async () => {
  const answers: ((outcome: ProbeOutcome) => void)[] = [];
  const starts: string[] = [];
  prober = new Prober({
    attempt: ({ containerId }) => {
      starts.push(`${clock.monotonicMs()} ${containerId}`);
      return new Promise((resolve) => answers.push(resolve));
    },
    report: () => {},
    clock,
    log: silentLog,
  });
  prober.onChange((c) => changes.push(c));
  prober.addPod(podWith({ readiness: probe('/r') }));
  prober.updatePodStatus('u1', running());
  await clock.advance(1000);
  prober.updatePodStatus('u1', running({}, 'id2'));
  await clock.advance(1000);
  answers.shift()!(ok);
  await clock.advance(0);
  expect(starts).toEqual(['0 id1', '2000 id2']);
  expect(prober.verdict('readiness', 'id2')).toBe('failure');
});

test('a static pod that ended and comes back under its uid is probed like a new one', async () => {
  const removed: string[] = [];
  const onRemoved = (uid: string) => removed.push(uid);
  prober = new Prober({ attempt, report: () => {}, clock, log: silentLog, onRemoved });
  const pod = podWith({ liveness: probe('/l') });
  prober.addPod(pod);
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  prober.removePod('u1');
  prober.removePod('u1');
  await clock.advance(1000);
  prober.addPod(pod);
  prober.updatePodStatus('u1', running({}, 'id2'));
  await clock.advance(0);
  expect(attempts).toEqual(['0 c/l', '1000 c/l']);
  expect(removed).toEqual(['u1']);
});

describe('spreading', () => {
  test('containers that ran before the agent are asked at different moments of a period', async () => {
    const startedAt = new Date(clock.now() - 60_000).toISOString();
    const offsets = [0.2, 0.8];
    prober = new Prober({ attempt, report: () => {}, clock, log: silentLog, random: () => offsets.shift()! });
    for (const uid of ['u1', 'u2']) {
      const pod = podWith({ readiness: probe(`/${uid}`) });
      pod.metadata = { ...pod.metadata, uid };
      prober.addPod(pod);
      prober.updatePodStatus(uid, running({ ready: true, state: { running: { startedAt } } }));
    }
    await clock.advance(4_999);
    expect(attempts).toEqual(['1000 c/u1', '4000 c/u2']);
  });

  test('pods that arrive together just after the start are probed over their period', async () => {
    const other = podWith({ readiness: probe('/x') });
    other.metadata = { ...other.metadata, uid: 'u2' };
    prober.addPod(podWith({ readiness: probe('/r') }));
    prober.addPod(other);
    prober.updatePodStatus('u2', { ...running(), phase: 'Running' });
    await clock.advance(0);
    expect(attempts).toEqual(['0 c/x']); // a running container is not kept waiting by the spread
  });
});

test('the end of the run leaves no timer behind', async () => {
  const stop = new AbortController();
  const ended = prober.run(stop.signal);
  prober.addPod(podWith({ liveness: probe('/l') }));
  prober.updatePodStatus('u1', running());
  await clock.advance(0);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

describe('the time of one attempt', () => {
  test('of a request is the time-out of the probe, 1 s when it has none', () => {
    expect(attemptLimitMs({ httpGet: { port: 80 }, timeoutSeconds: 5 })).toBe(5000);
    expect(attemptLimitMs({ tcpSocket: { port: 80 } })).toBe(1000);
  });

  test('of a command is kept by the runtime, which may answer late', () => {
    expect(attemptLimitMs({ exec: { command: ['sh', '-c', 'sleep 60 & exit 1'] }, timeoutSeconds: 1 })).toBeUndefined();
  });
});
