import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { CriError } from '../../cri/errors.ts';
import { FakeCri } from './fake-cri.ts';
import { spec } from './fake-pod-status.ts';
import { runtimeOver } from './fake-runtime.ts';
import type { KubeRuntime } from './kube-runtime.ts';
import type { PodSyncResult } from './runtime-manager.ts';

let dir: string;
let cri: FakeCri;
let clock: FakeClock;
let events: string[];
let kube: KubeRuntime;
let readyIps: (readonly string[])[];
/** Of RuntimeClasses. */
let handlers: Record<string, string>;
/** Containers run for a while already when a test goes on: what is stopped right after its start waits a moment. */
const SETTLED_MS = 1000;
const noVerdicts = { liveness: () => undefined, startup: () => undefined };

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'kube-runtime-'));
  cri = new FakeCri();
  cri.addImage('image:latest');
  clock = new FakeClock();
  cri.nowMs = () => clock.now() - SETTLED_MS;
  events = [];
  readyIps = [];
  handlers = {};
  kube = newRuntime();
});
afterEach(() => rm(dir, { recursive: true }));

function newRuntime(): KubeRuntime {
  return runtimeOver(
    dir,
    { cri, clock },
    {
      recorder: { event: (_about, type, reason, message) => void events.push(`${type} ${reason} ${message}`) },
      runtimeHandler: async (name) => {
        if (handlers[name] !== undefined) return handlers[name];
        throw new Error(`RuntimeClass "${name}" not found`);
      },
      supportsUserNamespaces: (handler) => handler === 'isolating',
    },
  );
}

const local = { imagePullPolicy: 'IfNotPresent' as const };
function podOf(more: Partial<PodSpec> = {}): Pod {
  return {
    metadata: { name: 'p', namespace: 'ns', uid: 'u' },
    spec: { containers: [spec('a', local)], restartPolicy: 'Always', terminationGracePeriodSeconds: 30, ...more },
  };
}

async function sync(pod: Pod, runtime = kube, signal?: AbortSignal): Promise<PodSyncResult> {
  const status = await runtime.getPodStatus('u', 'p', 'ns');
  cri.calls.length = 0;
  const onSandboxReady = (ips: readonly string[]) => void readyIps.push(ips);
  return runtime.syncPod({ pod, status, verdicts: noVerdicts, onSandboxReady, ...(signal ? { signal } : {}) });
}

const hostsOfPod = () => readFile(path.join(dir, 'root/pods/u/etc-hosts'), 'utf8');

const lost = (method: string) => new CriError(method, 'UNAVAILABLE', 'connection lost');
const eof = (method: string) =>
  new CriError(method, 'UNKNOWN', "runc create failed: can't get final child's PID from pipe: EOF: unknown");

describe('start', () => {
  test('a sandbox whose status cannot be read is told of; nothing starts before its address is in /etc/hosts', async () => {
    cri.failNext('podSandboxStatus', lost('PodSandboxStatus'));
    const result = await sync(podOf());
    expect(result.error?.message).toContain('connection lost');
    expect(events).toContain('Warning FailedPodSandBoxStatus Unable to get pod sandbox status: connection lost');
    expect(cri.calls.filter((c) => c.startsWith('startContainer'))).toEqual([]);
    expect((await sync(podOf())).started).toEqual(['a']);
    expect(cri.calls.filter((c) => !c.startsWith('imageStatus'))).toEqual(['startContainer c1']);
    expect(await hostsOfPod()).toMatch(/\n10\.0\.0\.1\tp\n$/);
  });

  test('an /etc/hosts that cannot be written is told as what the container waits for', async () => {
    await mkdir(path.join(dir, 'root/pods/u/etc-hosts'), { recursive: true });
    const result = await sync(podOf());
    const failure = { container: 'a', reason: 'CreateContainerConfigError', message: expect.stringMatching(/^EISDIR/) };
    expect(result).toMatchObject({ failures: [failure], started: [] });
    await rm(path.join(dir, 'root/pods/u/etc-hosts'), { recursive: true });
    expect((await sync(podOf())).started).toEqual(['a']);
  });

  test('a container is only made before the address is known when no variable shows the address', async () => {
    const env = [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }];
    cri.failNext('podSandboxStatus', lost('PodSandboxStatus'));
    const result = await sync(podOf({ containers: [spec('a', { ...local, env })] }));
    expect(result.error?.message).toContain('connection lost');
    expect(cri.calls.filter((c) => c.startsWith('createContainer'))).toEqual([]);
  });

  test('a pull secret that is missing is told of, and the pull is tried', async () => {
    const imagePullSecrets = [{ name: 'here-not' }, { name: 'there-not' }];
    await sync(podOf({ imagePullSecrets, containers: [spec('a', { imagePullPolicy: 'Always' })] }));
    expect(events).toContain(
      'Warning FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (here-not, there-not); attempting to pull the image may not succeed.',
    );
  });

  test('a new pod: no call more than needed, events in order, address told', async () => {
    expect(await sync(podOf())).toMatchObject({ changed: true, started: ['a'], failures: [] });
    const [first, ...meanwhile] = cri.calls.filter((c) => !c.startsWith('imageStatus'));
    expect([first, meanwhile.pop()]).toEqual(['runPodSandbox', 'startContainer c1']);
    expect(meanwhile.sort()).toEqual(['createContainer a', 'podSandboxStatus s0']); // neither waits for the other
    expect(cri.calls.filter((c) => c.startsWith('imageStatus'))).toHaveLength(1);
    expect(readyIps).toEqual([['10.0.0.1']]);
    expect(events.map((e) => e.split(' ').slice(0, 2).join(' '))).toEqual([
      'Normal Pulled',
      'Normal Created',
      'Normal Started',
    ]);
    expect(await hostsOfPod()).toMatch(/\n10\.0\.0\.1\tp\n$/);
    expect(await sync(podOf())).toMatchObject({ changed: false, started: [], failures: [] });
    expect(cri.calls).toEqual([]);
  });

  test('init containers one after the other, then the regular one', async () => {
    const pod = podOf({ initContainers: [spec('i0', local), spec('i1', local)] });
    for (const [name, started] of [
      ['i0', 'i0'],
      ['i1', 'i1'],
      ['', 'a'],
    ] as const) {
      expect((await sync(pod)).started).toEqual([started]);
      if (name !== '') cri.exit(name, 0);
    }
  });

  test('the image of the next container is looked up while the one before it starts', async () => {
    const pod = podOf({ initContainers: [spec('i0', local)], containers: [spec('a', local), spec('b', local)] });
    await sync(pod);
    cri.exit('i0', 0);
    expect((await sync(pod)).started).toEqual(['a', 'b']);
    const started = cri.calls.findIndex((c) => c.startsWith('startContainer'));
    expect(cri.calls.slice(0, started).filter((c) => c.startsWith('imageStatus'))).toHaveLength(2);
    expect(cri.calls.filter((c) => c.startsWith('imageStatus'))).toHaveLength(2);
  });

  test('a pod that asks for a user namespace does not run as root of the host', async () => {
    const result = await sync(podOf({ hostUsers: false }));
    expect(result.error?.message).toBe(
      "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces",
    );
    expect(result.started).toEqual([]);
  });

  test('with a RuntimeClass that gives user namespaces the container is in the range of its pod', async () => {
    handlers = { safe: 'isolating', plain: 'other' };
    expect((await sync(podOf({ hostUsers: false, runtimeClassName: 'safe' }))).started).toEqual(['a']);
    const ids = [{ hostId: 131_072, containerId: 0, length: 65_536 }];
    const [container] = cri.containers.values();
    const options = container?.config.linux?.securityContext?.namespaceOptions?.usernsOptions;
    expect(options).toEqual({ mode: 'POD', uids: ids, gids: ids });
  });

  test('a RuntimeClass without user namespaces is named in the refusal', async () => {
    handlers = { plain: 'other' };
    const result = await sync(podOf({ hostUsers: false, runtimeClassName: 'plain' }));
    expect(result.error?.message).toContain(
      'can\'t set `spec.hostUsers: false`, RuntimeClass handler "other" does not support user namespaces',
    );
  });

  test('an image volume that cannot be had keeps back only who mounts it', async () => {
    const volumeMounts = [{ name: 'tools', mountPath: '/tools' }];
    const pod = podOf({
      containers: [spec('a', local), { ...spec('b', local), volumeMounts }],
      volumes: [{ name: 'tools', image: { reference: 'none:1', pullPolicy: 'Never' } }],
    });
    const message = 'Container image "none:1" is not present with pull policy of Never';
    expect(await sync(pod)).toMatchObject({
      started: ['a'],
      failures: [{ container: 'b', reason: 'ErrImageNeverPull', message }],
    });
    expect(events).toContain(`Warning Failed Error: ${message}`);
    cri.addImage('none:1');
    expect((await sync(pod)).started).toEqual(['b']);
    const b = [...cri.containers.values()].find((c) => c.status.metadata?.name === 'b');
    expect(b?.config.mounts?.[0]).toMatchObject({
      containerPath: '/tools',
      hostPath: '',
      readonly: true,
      image: { image: 'sha256:none:1', userSpecifiedImage: 'none:1' },
    });
  });

  test('a failed sandbox is reported and leaves nothing started', async () => {
    cri.failNext('runPodSandbox', new CriError('RunPodSandbox', 'UNKNOWN', 'no network'));
    const result = await sync(podOf());
    expect(result.error?.message).toBe('Failed to create pod sandbox: no network');
    expect(events).toEqual(['Warning FailedCreatePodSandBox Failed to create pod sandbox: no network']);
    expect((await sync(podOf())).started).toEqual(['a']);
  });

  test('an unknown RuntimeClass', async () => {
    const result = await sync(podOf({ runtimeClassName: 'x' }));
    expect(result.error?.message).toContain('RuntimeClass "x" not found');
    expect(cri.calls).toEqual([]);
  });

  test.each([
    ['createContainer', 'CreateContainerError'],
    ['startContainer', 'RunContainerError'],
  ] as const)('%s fails: %s, and the next container starts nevertheless', async (method, reason) => {
    cri.failNext(method, new CriError(method, 'UNKNOWN', 'c1 is bad'));
    const result = await sync(podOf({ containers: [spec('a', local), spec('b', local)] }));
    expect(result.started).toEqual(['b']);
    const message = method === 'startContainer' ? 'a is bad' : 'c1 is bad';
    expect(result.failures).toMatchObject([{ container: 'a', reason, message }]);
    expect(events).toContain(`Warning Failed Error: ${result.failures[0]?.message}`);
  });

  test('a pod with a bad command said RunContainerError for half a minute before CrashLoopBackOff: looked at in 1 s', async () => {
    cri.failNext('startContainer', new CriError('startContainer', 'UNKNOWN', 'no such file'));
    const { failures } = await sync(podOf());
    expect(failures).toMatchObject([{ reason: 'RunContainerError', retryAtMs: clock.now() + 1_000 }]);
  });

  test('a missing configMap is waited for', async () => {
    const env = [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'cm', key: 'k' } } }];
    const result = await sync(podOf({ containers: [spec('a', { ...local, env })] }));
    expect(result.failures).toEqual([
      { container: 'a', reason: 'CreateContainerConfigError', message: 'configmap "cm" not found' },
    ]);
    expect(events).toContain('Warning Failed Error: configmap "cm" not found');
  });

  test('an image that is not there', async () => {
    const result = await sync(podOf({ containers: [spec('a', { image: 'none:1', imagePullPolicy: 'Never' })] }));
    expect(result.failures[0]).toMatchObject({ reason: 'ErrImageNeverPull' });
    expect(events).toContain('Warning Failed Error: ErrImageNeverPull');
  });

  test('a container whose image cannot be had left a file with every pass: of waiting nothing stays on the disk', async () => {
    const messages = () => readdir(path.join(dir, 'root/pods/u/containers/a'));
    const waiting = podOf({ containers: [spec('a', { image: 'later:1', imagePullPolicy: 'Never' })] });
    cri.failNext('runPodSandbox', new CriError('RunPodSandbox', 'UNKNOWN', 'no network'));
    for (const _pass of [1, 2, 3]) await sync(waiting);
    expect(await messages()).toEqual([]);
    cri.addImage('later:1');
    expect((await sync(waiting)).started).toEqual(['a']);
    expect(await messages()).toHaveLength(1);
  });

  test.each(['runPodSandbox', 'startContainer'] as const)("runc's fault in %s is not seen", async (method) => {
    cri.failNext(method, eof(method));
    expect(await sync(podOf())).toMatchObject({ started: ['a'], failures: [] });
    expect(cri.picture).toEqual(['a/0:running']);
  });

  test("runc's fault again and again is an error after three tries", async () => {
    for (let i = 0; i < 3; i++) cri.failNext('startContainer', eof('startContainer'));
    expect((await sync(podOf())).failures[0]).toMatchObject({ reason: 'RunContainerError' });
    expect(cri.calls.filter((c) => c.startsWith('startContainer'))).toHaveLength(3);
  });

  test('a failed postStart hook ends the container', async () => {
    cri.onExec = async () => 3;
    const lifecycle = { postStart: { exec: { command: ['x', 'y'] } } };
    const result = await sync(podOf({ containers: [spec('a', { ...local, lifecycle })] }));
    expect(result.failures[0]).toMatchObject({ reason: 'PostStartHookError', retryAtMs: clock.now() + 1_000 });
    expect(result.failures[0]?.message).toMatch(
      /^Exec lifecycle hook \(\[x y\]\) for Container "a" in Pod "p_ns\(u\)" failed - error: /,
    );
    expect(events.slice(-2)).toEqual([
      'Warning FailedPostStartHook PostStartHook failed',
      'Normal Killing FailedPostStartHook',
    ]);
    expect(cri.picture).toEqual(['a/0:exited']);
  });

  test('an aborted sync starts nothing further', async () => {
    const stop = new AbortController();
    stop.abort(new Error('the pod is to end'));
    const result = await sync(podOf(), kube, stop.signal);
    expect(result).toMatchObject({ started: [], error: { message: 'the pod is to end' } });
    expect(events).toEqual([]);
  });

  test('a start that is under way when the pod is to end is not cut off, and nothing follows it', async () => {
    const stop = new AbortController();
    cri.onStart = () => stop.abort(new Error('the pod is to end'));
    const lifecycle = { postStart: { exec: { command: ['x'] } } };
    const result = await sync(
      podOf({ containers: [spec('a', { ...local, lifecycle }), spec('b', local)] }),
      kube,
      stop.signal,
    );
    expect(result).toMatchObject({ started: [], failures: [], error: { message: 'the pod is to end' } });
    expect(cri.picture).toEqual(['a/0:running']);
    expect(cri.calls.filter((c) => c.startsWith('execSync'))).toEqual([]);
    expect(events.filter((e) => e.startsWith('Warning'))).toEqual([]);
  });

  test('a container whose making is cut off has not failed', async () => {
    const stop = new AbortController();
    cri.onCreate = () => {
      stop.abort(new Error('the pod is to end'));
      throw new CriError('CreateContainer', 'CANCELLED', 'context canceled');
    };
    const result = await sync(podOf(), kube, stop.signal);
    expect(result).toMatchObject({ failures: [], error: { message: 'the pod is to end' } });
    expect(events.filter((e) => e.startsWith('Warning'))).toEqual([]);
  });

  test('a postStart hook that is cut off is no failure of its container', async () => {
    const stop = new AbortController();
    cri.onExec = async () => {
      stop.abort(new Error('the agent is to stop'));
      throw new CriError('ExecSync', 'CANCELLED', 'context canceled');
    };
    const lifecycle = { postStart: { exec: { command: ['x'] } } };
    await sync(podOf({ containers: [spec('a', { ...local, lifecycle })] }), kube, stop.signal);
    expect(cri.picture).toEqual(['a/0:running']);
    expect(events.filter((e) => e.startsWith('Warning'))).toEqual([]);
  });
});

describe('restart', () => {
  test('at once, then with CrashLoopBackOff', async () => {
    cri.nowMs = () => clock.now();
    await sync(podOf());
    cri.exit('a', 1);
    expect((await sync(podOf())).started).toEqual(['a']);
    expect(cri.picture).toEqual(['a/0:exited', 'a/1:running']);
    cri.exit('a', 1);
    const result = await sync(podOf());
    expect(result.failures).toEqual([
      {
        container: 'a',
        reason: 'CrashLoopBackOff',
        message: 'back-off 10s restarting failed container=a pod=p_ns(u)',
        retryAtMs: clock.now() + 10_000,
      },
    ]);
    expect(events.at(-1)).toBe('Warning BackOff Back-off restarting failed container a in pod p_ns(u)');
    await clock.advance(10_000);
    expect((await sync(podOf())).started).toEqual(['a']);
  });

  test('a dead sandbox is replaced, and everything in it', async () => {
    const pod = podOf({ initContainers: [spec('i', local)] });
    await sync(pod);
    cri.exit('i', 0);
    await sync(pod);
    cri.sandboxes.get('s0')!.state = 'SANDBOX_NOTREADY';
    expect(await sync(pod)).toMatchObject({ started: ['i'], onlyAdded: false });
    expect(events).toContain('Normal SandboxChanged Pod sandbox changed, it will be killed and re-created.');
    expect(cri.picture).toEqual(['a/0:exited', 'i/1:running']);
    expect([...cri.sandboxes.values()].map((s) => `${s.metadata?.attempt} ${s.state}`)).toEqual([
      '0 SANDBOX_NOTREADY',
      '1 SANDBOX_READY',
    ]);
  });

  test('init containers of a dead sandbox are counted on, the later ones too', async () => {
    const pod = podOf({ initContainers: [spec('i', local), spec('j', local)] });
    for (const name of ['i', 'j']) {
      await sync(pod);
      cri.exit(name, 0);
    }
    await sync(pod);
    const logs = path.join(dir, 'pods', 'ns_p_u', 'j');
    for (const file of ['0.log', '0.log.20260101-000000', '7.log']) await writeFile(path.join(logs, file), '');
    for (const c of cri.containers.values()) {
      if (c.status.metadata?.name === 'j') c.status.logPath = path.join(logs, '0.log');
    }
    cri.sandboxes.get('s0')!.state = 'SANDBOX_NOTREADY';
    await sync(pod);
    expect((await readdir(logs)).sort()).toEqual(['0.log', '0.log.20260101-000000']); // one log each, however often
    cri.exit('i', 0);
    expect((await sync(pod)).started).toEqual(['j']);
    expect(cri.picture).toEqual(['a/0:exited', 'i/1:exited', 'j/1:running']);
  });

  test('an edited image', async () => {
    cri.addImage('new:1');
    await sync(podOf());
    const edited = podOf({ containers: [spec('a', { image: 'new:1', imagePullPolicy: 'IfNotPresent' })] });
    expect(await sync(edited)).toMatchObject({ started: ['a'], onlyAdded: false });
    expect(events).toContain('Normal Killing Container a definition changed, will be restarted');
    expect(cri.picture).toEqual(['a/0:exited', 'a/1:running']);
  });

  test('a pod that has done its work is stopped', async () => {
    const pod = podOf({ restartPolicy: 'Never' });
    await sync(pod);
    cri.exit('a', 0);
    expect(await sync(pod)).toMatchObject({ changed: true, started: [], failures: [] });
    expect(cri.sandboxes.get('s0')?.state).toBe('SANDBOX_NOTREADY');
    expect((await sync(pod)).changed).toBe(false);
  });
});

describe('the agent dies, or an answer is lost', () => {
  test('after RunPodSandbox: the sandbox is used, not doubled', async () => {
    cri.failNext('runPodSandbox', lost('runPodSandbox'), true);
    expect((await sync(podOf())).error).toBeDefined();
    expect((await sync(podOf(), newRuntime())).started).toEqual(['a']);
    expect(cri.sandboxes.size).toBe(1);
  });

  test('after CreateContainer: the container is started, not doubled', async () => {
    cri.failNext('createContainer', lost('createContainer'), true);
    expect((await sync(podOf())).failures[0]).toMatchObject({ reason: 'CreateContainerError' });
    expect(cri.picture).toEqual(['a/0:created']);
    expect((await sync(podOf(), newRuntime())).started).toEqual(['a']);
    expect(cri.picture).toEqual(['a/0:running']);
  });

  test('after StartContainer: nothing is done again', async () => {
    cri.failNext('startContainer', lost('startContainer'), true);
    await sync(podOf());
    expect(await sync(podOf(), newRuntime())).toMatchObject({ changed: false, started: [], failures: [] });
    expect(cri.picture).toEqual(['a/0:running']);
  });

  test('a container created from another image is replaced', async () => {
    cri.addImage('new:1');
    cri.failNext('createContainer', lost('createContainer'), true);
    await sync(podOf());
    await sync(podOf({ containers: [spec('a', { image: 'new:1', imagePullPolicy: 'IfNotPresent' })] }));
    expect(cri.picture).toEqual(['a/0:created', 'a/1:running']);
  });
});

describe('kill', () => {
  test('a preStop hook that fails is told of, and the container is stopped all the same', async () => {
    const pod = podOf({ containers: [spec('a', { ...local, lifecycle: { preStop: { exec: { command: ['x'] } } } })] });
    await sync(pod);
    cri.onExec = async () => 1;
    events.length = 0;
    await kube.killPod({ pod, status: await kube.getPodStatus('u', 'p', 'ns'), signal: new AbortController().signal });
    expect(events).toEqual(['Normal Killing Stopping container a', 'Warning FailedPreStopHook PreStopHook failed']);
    expect(cri.picture).toEqual(['a/0:exited']);
  });

  const never = new AbortController().signal;
  const kill = async (pod: Pod | undefined, signal = never, graceOverrideSeconds?: number) => {
    const status = await kube.getPodStatus('u', 'p', 'ns');
    cri.calls.length = 0;
    events.length = 0;
    const override = graceOverrideSeconds === undefined ? {} : { graceOverrideSeconds };
    return kube.killPod({ pod, status, signal, ...override });
  };

  test('all containers with the grace of the pod, then the sandbox', async () => {
    const pod = podOf({ containers: [spec('a', local), spec('b', local)] });
    await sync(pod);
    await kill(pod);
    expect(cri.calls).toEqual(['stopContainer c2 30', 'stopContainer c1 30', 'stopPodSandbox s0']);
    expect(events.sort()).toEqual(['Normal Killing Stopping container a', 'Normal Killing Stopping container b']);
  });

  test('a container that cannot be stopped does not have the pass end before the others are stopped', async () => {
    const two = (image: string) => podOf({ containers: ['a', 'b'].map((name) => spec(name, { ...local, image })) });
    for (const image of ['old:1', 'new:1']) cri.addImage(image);
    await sync(two('old:1'));
    cri.onStop = async (id) => {
      if (id === 'c1') throw lost('StopContainer');
      await clock.sleep(5_000);
    };
    let isOver = false;
    const pass = sync(two('new:1')).finally(() => {
      isOver = true;
    });
    await clock.advance(4_999);
    expect(isOver).toBe(false);
    await clock.advance(1);
    expect((await pass).error?.message).toBe('kill container a: connection lost');
    expect(cri.picture).toEqual(['a/0:running', 'b/0:exited']);
  });

  test('what has only just started is given a moment, so that its program hears of its end and not runc', async () => {
    cri.nowMs = () => clock.now();
    await sync(podOf());
    const done = kill(podOf());
    await clock.advance(249);
    expect(cri.calls).toEqual([]);
    await clock.advance(1);
    await done;
    expect(cri.calls).toEqual(['stopContainer c1 30', 'stopPodSandbox s0']);
    expect(clock.sleeping).toBe(0);
  });

  test('a start in the future, of a clock that was set back, is not waited for', async () => {
    cri.nowMs = () => clock.now() + 3_600_000;
    await sync(podOf());
    await kill(podOf());
    expect(cri.calls).toEqual(['stopContainer c1 30', 'stopPodSandbox s0']);
  });

  test('a process gets two seconds at least', async () => {
    await sync(podOf());
    await kill(podOf(), never, 1);
    expect(cri.calls).toContain('stopContainer c1 2');
  });

  test('the hook runs within the grace and its time is taken off', async () => {
    const pod = podOf({ containers: [spec('a', { ...local, lifecycle: { preStop: { sleep: { seconds: 10 } } } })] });
    await sync(pod);
    const done = kill(pod);
    await clock.advance(9_999);
    expect(cri.calls).toEqual([]);
    await clock.advance(1);
    await done;
    expect(cri.calls[0]).toBe('stopContainer c1 20');
    expect(clock.sleeping).toBe(0);
  });

  test('a hook that hangs is left alone when the grace is used up', async () => {
    cri.onExec = (_command, signal) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    const pod = podOf({
      containers: [spec('a', { ...local, lifecycle: { preStop: { exec: { command: ['hang'] } } } })],
    });
    await sync(pod);
    const done = kill(pod, never, 5);
    await clock.advance(5_000);
    await done;
    expect(cri.calls).toEqual(['execSync c1 hang', 'stopContainer c1 2', 'stopPodSandbox s0']);
  });

  test('a shorter grace supersedes a stop in flight, and the hook is not run twice', async () => {
    let execs = 0;
    cri.onExec = async () => {
      execs++;
      return 0;
    };
    cri.onStop = (_id, _grace, signal) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    const pod = podOf({ containers: [spec('a', { ...local, lifecycle: { preStop: { exec: { command: ['x'] } } } })] });
    await sync(pod);
    const shorter = new AbortController();
    const first = kill(pod, shorter.signal);
    const refused = expect(first).rejects.toThrow('kill container a');
    await clock.advance(3_000);
    shorter.abort(new Error('grace period got shorter'));
    await refused;
    cri.onStop = async () => {};
    await kill(pod, never, 4);
    expect(cri.calls).toEqual(['stopContainer c1 4', 'stopPodSandbox s0']);
    expect(execs).toBe(1);
  });

  test('a sidecar waits for what it serves no longer than what its own hook has left of the grace', async () => {
    const preStop = { sleep: { seconds: 10 } };
    const sidecar = spec('s', { ...local, restartPolicy: 'Always', lifecycle: { preStop } });
    const pod = podOf({ initContainers: [sidecar] });
    for (let i = 0; i < 2; i++) await sync(pod);
    cri.onStop = (id) => (id === 'c2' ? clock.sleep(60_000) : Promise.resolve()); // the one that is served
    const done = kill(pod);
    await clock.advance(29_999);
    expect(cri.calls).not.toContain('stopContainer c1 2');
    await clock.advance(1);
    expect(cri.calls).toContain('stopContainer c1 2');
    await clock.advance(60_000);
    await done;
  });

  test.each(['livenessProbe', 'startupProbe'] as const)('a %s may give its container another grace', async (kind) => {
    const pod = podOf({ containers: [spec('a', { ...local, [kind]: { terminationGracePeriodSeconds: 7 } })] });
    await sync(pod);
    const status = await kube.getPodStatus('u', 'p', 'ns');
    const failing = () => 'failure' as const;
    const verdicts =
      kind === 'livenessProbe' ? { ...noVerdicts, liveness: failing } : { ...noVerdicts, startup: failing };
    await kube.syncPod({ pod, status, verdicts, onSandboxReady: () => {} });
    expect(cri.calls).toContain('stopContainer c1 7');
  });

  test('sidecars end last, in reverse order', async () => {
    const sidecar = (name: string) => spec(name, { ...local, restartPolicy: 'Always' });
    const pod = podOf({ initContainers: [sidecar('s0'), sidecar('s1')] });
    for (let i = 0; i < 3; i++) await sync(pod);
    expect(cri.picture).toEqual(['s0/0:running', 's1/0:running', 'a/0:running']);
    cri.onStop = () => clock.sleep(1_000);
    const done = kill(pod);
    await clock.advance(3_000);
    await done;
    expect(cri.calls).toEqual([
      'stopContainer c3 30',
      'stopContainer c2 29',
      'stopContainer c1 28',
      'stopPodSandbox s0',
    ]);
    expect(clock.sleeping).toBe(0);
  });

  test('sidecars do not wait out their grace, nor end first, when the runtime goes while what they serve is stopped', async () => {
    const pod = podOf({ initContainers: [spec('s', { ...local, restartPolicy: 'Always' })] });
    for (let i = 0; i < 2; i++) await sync(pod);
    cri.failNext('stopContainer', lost('StopContainer'));
    await expect(kill(pod)).rejects.toThrow('connection lost');
    expect(cri.calls).toEqual(['stopContainer c2 30']);
    expect(clock.sleeping).toBe(0);
    await kill(pod);
    expect(cri.calls).toEqual(['stopContainer c2 30', 'stopContainer c1 30', 'stopPodSandbox s0']);
  });

  test('an orphan is killed by what its annotations say', async () => {
    const pod = podOf({
      containers: [spec('a', { ...local, lifecycle: { preStop: { exec: { command: ['bye'] } } } })],
    });
    await sync(pod);
    await kill(undefined);
    expect(cri.calls).toEqual(['execSync c1 bye', 'stopContainer c1 30', 'stopPodSandbox s0']);
  });

  test('a container that cannot be stopped is an error that names it', async () => {
    await sync(podOf());
    cri.failNext('stopContainer', lost('stopContainer'));
    await expect(kill(podOf())).rejects.toThrow('kill container a: connection lost');
    expect(cri.calls).not.toContain('stopPodSandbox s0');
  });
});

describe('status and garbage', () => {
  test('an ended container is asked about once; its last words come from the log', async () => {
    const pod = podOf({
      restartPolicy: 'Never',
      containers: [spec('a', { ...local, terminationMessagePolicy: 'FallbackToLogsOnError' })],
    });
    await sync(pod);
    cri.exit('a', 1);
    const status = await kube.getPodStatus('u', 'p', 'ns');
    expect(status.containers[0]).toMatchObject({ state: 'exited', exitCode: 1, message: 'end of the log' });
    cri.calls.length = 0;
    expect((await kube.getPodStatus('u', 'p', 'ns')).containers[0]).toBe(status.containers[0]);
    expect(cri.calls.sort()).toEqual(['listContainers', 'listPodSandboxes']);
  });

  test('what was just made is asked about together with the lists, not after them', async () => {
    await sync(podOf());
    cri.calls.length = 0;
    expect(await kube.getPodStatus('u', 'p', 'ns')).toMatchObject({ ips: ['10.0.0.1'], containers: [{ id: 'c1' }] });
    expect(cri.calls).toEqual(['containerStatus c1', 'listPodSandboxes', 'listContainers']);
    cri.onList = () => cri.exit('a', 3); // after the container was asked about
    const { containers } = await kube.getPodStatus('u', 'p', 'ns');
    expect(containers).toMatchObject([{ state: 'exited', exitCode: 3 }]);
  });

  test('after additions alone nothing is listed, unless what was added does not run', async () => {
    const both = { containers: [spec('a', local), spec('b', local)] };
    expect(await sync(podOf(both))).toMatchObject({ onlyAdded: true });
    cri.calls.length = 0;
    const read = () => kube.getPodStatus('u', 'p', 'ns', { onlyAdded: true });
    const added = await read();
    expect(cri.calls).toEqual(['containerStatus c1', 'containerStatus c2']);
    expect(added).toEqual({ ...(await kube.getPodStatus('u', 'p', 'ns')), observedAtMs: added.observedAtMs });
    cri.exit('b', 3);
    cri.calls.length = 0;
    expect((await read()).containers.map((c) => c.state)).toEqual(expect.arrayContaining(['running', 'exited']));
    expect(cri.calls).toContain('listContainers');
    expect(await sync(podOf(both))).toMatchObject({ onlyAdded: true, started: ['b'] });
    cri.calls.length = 0;
    expect((await read()).containers.map((c) => [c.name, c.state])).toEqual(
      expect.arrayContaining([
        ['a', 'running'],
        ['b', 'exited'],
        ['b', 'running'],
      ]),
    );
    expect(cri.calls).not.toContain('listContainers');
  });

  test('a pass that removes an old instance has not only added', async () => {
    await sync(podOf());
    cri.exit('a', 1);
    expect(await sync(podOf())).toMatchObject({ started: ['a'], onlyAdded: true });
    cri.exit('a', 1);
    expect(await sync(podOf())).toMatchObject({ onlyAdded: false });
    expect(cri.calls).toContain('removeContainer c1');
  });

  test('a container that is gone when its pod is asked about is left out', async () => {
    await sync(podOf());
    cri.onList = () => cri.containers.clear();
    expect((await kube.getPodStatus('u', 'p', 'ns')).containers).toEqual([]);
    expect((await kube.getPodStatus('u', 'p', 'ns')).containers).toEqual([]);
  });

  test('a kill turns out to be one for want of memory when the runtime learns of it after the exit', async () => {
    await sync(podOf({ restartPolicy: 'Never' }));
    cri.exit('a', 137);
    const reason = async () => (await kube.getPodStatus('u', 'p', 'ns')).containers[0]?.reason;
    expect(await reason()).toBe('Error');
    const [container] = cri.containers.values();
    container!.status.reason = 'OOMKilled';
    expect(await reason()).toBe('OOMKilled');
    cri.calls.length = 0;
    expect(await reason()).toBe('OOMKilled');
    expect(cri.calls.sort()).toEqual(['listContainers', 'listPodSandboxes']);
  });

  test('listPods groups by uid', async () => {
    await sync(podOf());
    expect(await kube.listPods()).toMatchObject([
      {
        uid: 'u',
        name: 'p',
        namespace: 'ns',
        sandboxes: [{ id: 's0', ready: true }],
        containers: [{ name: 'a', state: 'running' }],
      },
    ]);
  });

  test('of dead instances the newest stays, until the pod may go', async () => {
    await sync(podOf());
    for (let i = 0; i < 2; i++) {
      cri.exit('a', 1);
      await clock.advance(60_000);
      await sync(podOf());
    }
    await kube.collectGarbage({ mayRemoveAll: () => false, allSourcesReady: true });
    expect(cri.picture).toEqual(['a/1:exited', 'a/2:running']);
    cri.exit('a', 0);
    cri.sandboxes.get('s0')!.state = 'SANDBOX_NOTREADY';
    await kube.collectGarbage({ mayRemoveAll: () => true, allSourcesReady: false });
    expect(cri.picture).toEqual(['a/2:exited']);
    await kube.collectGarbage({ mayRemoveAll: () => true, allSourcesReady: true });
    expect([cri.picture, cri.sandboxes.size]).toEqual([[], 0]);
  });

  test('without garbage in the last list the runtime is not asked; an old list removes nothing that lives', async () => {
    const keep = { mayRemoveAll: () => false, allSourcesReady: true };
    await sync(podOf());
    const old = await kube.listPods();
    cri.calls.length = 0;
    await kube.collectGarbage(keep, old);
    expect(cri.calls).toEqual([]);
    for (let i = 0; i < 2; i++) {
      cri.exit('a', 1);
      await clock.advance(60_000);
      await sync(podOf());
    }
    const crashed = await kube.listPods();
    await kube.collectGarbage(keep, crashed);
    expect(cri.picture).toEqual(['a/1:exited', 'a/2:running']);
    await kube.collectGarbage({ mayRemoveAll: () => true, allSourcesReady: true }, crashed);
    expect(cri.picture).toEqual(['a/2:running']);
  });

  test('as soon as a container has ended, the dead instance before it goes', async () => {
    await sync(podOf());
    cri.exit('a', 1);
    await sync(podOf());
    cri.exit('a', 1);
    await sync(podOf());
    expect(cri.picture).toEqual(['a/1:exited']);
  });

  test('an older instance that cannot be removed does not keep a container from its restart', async () => {
    await sync(podOf());
    cri.exit('a', 1);
    await sync(podOf());
    cri.exit('a', 1);
    await clock.advance(60_000);
    cri.failNext('removeContainer', lost('RemoveContainer'));
    expect(await sync(podOf())).toMatchObject({ started: ['a'], failures: [] });
  });

  test('a link to a missing log goes with its container, but not while that runs: its log is just being rotated', async () => {
    const links = path.join(dir, 'containers');
    await sync(podOf());
    await mkdir(links);
    for (const id of ['c1', 'gone']) await symlink(path.join(dir, 'nowhere'), path.join(links, `p_ns_a-${id}.log`));
    await kube.collectGarbage({ mayRemoveAll: () => false, allSourcesReady: true });
    expect(await readdir(links)).toEqual(['p_ns_a-c1.log']);
    cri.exit('a', 0);
    await kube.collectGarbage({ mayRemoveAll: () => false, allSourcesReady: true });
    expect(await readdir(links)).toEqual([]);
  });

  test('removePod leaves nothing', async () => {
    await sync(podOf());
    cri.exit('a', 0);
    await kube.removePod('u');
    expect([cri.picture, cri.sandboxes.size]).toEqual([[], 0]);
    await expect(readFile(path.join(dir, 'pods/ns_p_u'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
