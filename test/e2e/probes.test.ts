// Probes and what they do to a pod, with real containers: restarts, readiness, start-up, Events; and the parts of a
// pod's status that a user looks at, before and after a restart of the agent.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ContainerStatus, Pod, PodSpec, Probe } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { signalProcess, waitForExit } from '../../host/process.ts';
import { readLabState } from '../../lab/state.ts';
import { labMissing, TestCluster } from '../harness/cluster.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { IMAGE, pod, SLEEP } from '../harness/manifests.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`probe tests are skipped: ${missing}`);

const MAIN = '{.status.containerStatuses[0]';
const READY = '{.status.conditions[?(@.type=="Ready")].status}';
/** Of a second, which is the default, a busy machine needs more to start a command. */
const exec = (...command: string[]): Probe => ({ exec: { command }, periodSeconds: 1, timeoutSeconds: 20 });
const ended = 'sleep 1000000 & wait';

/** A server whose answers are shell scripts: path → script behind /cgi-bin/. */
function webServer(scripts: Readonly<Record<string, string>>): string[] {
  const files = Object.entries(scripts).map(
    ([name, script]) => `printf '%s' '#!/bin/sh\n${script}' > /www/cgi-bin/${name}; chmod +x /www/cgi-bin/${name}`,
  );
  return [
    'sh',
    '-c',
    ['trap "exit 0" TERM', 'mkdir -p /www/cgi-bin', ...files, 'httpd -f -p 8080 -h /www & wait'].join('\n'),
  ];
}

function probed(name: string, command: readonly string[], container: object, spec: Partial<PodSpec> = {}): Pod {
  const main = { name: 'main', image: IMAGE, imagePullPolicy: 'IfNotPresent', command: [...command], ...container };
  return pod(name, command, { containers: [main], ...spec });
}

describe.skipIf(missing !== undefined)('probes and status', () => {
  let cluster: TestCluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    cluster = await TestCluster.start({ nodes: 1 });
    kubectl = await cluster.kubectl();
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  /** Waits for an Event of the pod: `Type Reason message`. */
  const untilEvent = (name: string, pattern: RegExp): Promise<string> => {
    const of = `{range .items[?(@.involvedObject.name=="${name}")]}`;
    return kubectl.until('events', `${of}{.type} {.reason} {.message}{"\\n"}{end}`, pattern);
  };
  const statusOf = async (name: string): Promise<ContainerStatus> =>
    (await kubectl.json<Pod>('get', 'pod', name)).status!.containerStatuses![0]!;

  describe.concurrent('a container', () => {
    test('is restarted when its liveness probe fails, and says what it ended with', async () => {
      const command = ['sh', '-c', `trap "exit 0" TERM; touch /tmp/ok; (sleep 2; rm /tmp/ok) & ${ended}`];
      const livenessProbe = { ...exec('cat', '/tmp/ok'), failureThreshold: 2 };
      await kubectl.apply(probed('liveness', command, { livenessProbe }));
      await kubectl.until('pod/liveness', `${MAIN}.restartCount}`, /^[1-9]/);
      await untilEvent('liveness', /^Warning Unhealthy Liveness probe failed: cat: can't open '\/tmp\/ok'/m);
      await untilEvent('liveness', /^Normal Killing Container main failed liveness probe, will be restarted$/m);
      const { lastState } = await statusOf('liveness');
      expect(lastState?.terminated?.finishedAt).toBeTruthy();
      expect(lastState?.terminated?.containerID).toMatch(/^containerd:\/\/[0-9a-f]{64}$/);
    });

    test('that ignores SIGTERM is killed after the grace period of its probe, not of its pod', async () => {
      const livenessProbe = { ...exec('false'), failureThreshold: 1, terminationGracePeriodSeconds: 1 };
      const command = ['sh', '-c', `trap "" TERM; while :; do sleep 1; done`];
      const spec = { terminationGracePeriodSeconds: 600 };
      await kubectl.apply(probed('stubborn', command, { livenessProbe }, spec));
      await kubectl.until('pod/stubborn', `${MAIN}.lastState.terminated.exitCode}`, /^137$/);
      await kubectl.run('delete', 'pod', 'stubborn', '--grace-period=1', '--wait=false');
    });

    test('is asked whether it has started up, and only then for anything else', async () => {
      const noted = (word: string, then = 'true') => exec('sh', '-c', `echo ${word} >> /tmp/asked; ${then}`);
      await kubectl.apply(
        probed('slow', SLEEP, {
          startupProbe: { ...noted('startup', 'test $(grep -c startup /tmp/asked) -ge 3'), failureThreshold: 60 },
          livenessProbe: noted('liveness'),
          readinessProbe: noted('readiness'),
        }),
      );
      await kubectl.until('pod/slow', READY, /^True$/);
      const asked = (await kubectl.run('exec', 'slow', '--', 'cat', '/tmp/asked')).trim().split('\n');
      expect(asked.slice(0, 3)).toEqual(['startup', 'startup', 'startup']);
      expect(asked.slice(3)).toContain('readiness');
      expect(asked.slice(3)).not.toContain('startup');
      expect(await statusOf('slow')).toMatchObject({ started: true, restartCount: 0 });
      await untilEvent('slow', /^Warning Unhealthy Startup probe failed: $/m);
    });

    test('that never starts up is restarted', async () => {
      await kubectl.apply(probed('stuck', SLEEP, { startupProbe: { ...exec('false'), failureThreshold: 1 } }));
      await kubectl.until('pod/stuck', `${MAIN}.restartCount}`, /^[1-9]/);
      await untilEvent('stuck', /^Normal Killing Container main failed startup probe, will be restarted$/m);
    });

    test('whose readiness probe fails is not Ready and is left alone', async () => {
      await kubectl.apply(probed('unready', SLEEP, { readinessProbe: { ...exec('false'), failureThreshold: 1 } }));
      await untilEvent('unready', /^Warning Unhealthy Readiness probe failed: $/m);
      await kubectl.until('pod/unready', `${MAIN}.started}`, /^true$/);
      const { status } = await kubectl.json<Pod>('get', 'pod', 'unready');
      expect(status?.conditions?.find((c) => c.type === 'Ready')).toMatchObject({
        status: 'False',
        reason: 'ContainersNotReady',
        message: 'containers with unready status: [main]',
      });
      expect(status?.containerStatuses?.[0]).toMatchObject({ ready: false, started: true, restartCount: 0 });
    });

    test('whose command takes too long is told so', async () => {
      await kubectl.apply(probed('late', SLEEP, { readinessProbe: { ...exec('sleep', '30'), timeoutSeconds: 1 } }));
      await untilEvent(
        'late',
        /^Warning Unhealthy Readiness probe failed: command timed out: "sleep 30" timed out after 1s$/m,
      );
    });

    test('is asked over HTTP and TCP at named ports, with the headers it wants', async () => {
      const script = `[ "$HTTP_USER_AGENT" = kube-probe/1.36 ] && [ "$HTTP_HOST" = muffins.org ] && printf "\\r\\n\\r\\n" && exit
printf "Status: 500 No\\r\\n\\r\\n"`;
      const httpHeaders = [{ name: 'Host', value: 'muffins.org' }];
      await kubectl.apply(
        probed('web', webServer({ who: script }), {
          ports: [{ name: 'http', containerPort: 8080 }],
          readinessProbe: { httpGet: { path: '/cgi-bin/who', port: 'http', httpHeaders }, periodSeconds: 1 },
          livenessProbe: { tcpSocket: { port: 'http' }, periodSeconds: 1, initialDelaySeconds: 5 },
        }),
      );
      await kubectl.until('pod/web', READY, /^True$/);
    });

    test('is restarted when nobody answers its gRPC probe', async () => {
      const livenessProbe = { grpc: { port: 2333 }, periodSeconds: 1, failureThreshold: 1 };
      await kubectl.apply(probed('grpc', SLEEP, { livenessProbe }));
      await kubectl.until('pod/grpc', `${MAIN}.restartCount}`, /^[1-9]/);
      await untilEvent(
        'grpc',
        /^Warning Unhealthy Liveness probe failed: timeout: failed to connect service "10\.[0-9.]+:2333" within 1s: context deadline exceeded$/m,
      );
    });

    test('whose probe is sent to another host gets a warning and counts as healthy', async () => {
      const script = 'printf "Status: 302 Found\\r\\nLocation: http://elsewhere.invalid/\\r\\n\\r\\ngone"';
      const livenessProbe = {
        httpGet: { path: '/cgi-bin/away', port: 8080 },
        periodSeconds: 1,
        initialDelaySeconds: 2,
        failureThreshold: 60,
      };
      await kubectl.apply(probed('away', webServer({ away: script }), { livenessProbe }));
      await untilEvent(
        'away',
        /^Warning ProbeWarning Liveness probe warning: Probe terminated redirects, Response body: gone$/m,
      );
      expect(await statusOf('away')).toMatchObject({ restartCount: 0, ready: true });
    });
  });

  describe.concurrent('a pod', () => {
    test('is Ready when its readiness gate says so, and only as long', async () => {
      const gate = 'example.com/attached';
      await kubectl.apply(pod('gated', SLEEP, { readinessGates: [{ conditionType: gate }] }));
      const reason = '{.status.conditions[?(@.type=="Ready")].reason}';
      await kubectl.until('pod/gated', reason, /^ReadinessGatesNotReady$/);
      const open = (status: string) => {
        const patch = JSON.stringify({ status: { conditions: [{ type: gate, status }] } });
        return kubectl.run('patch', 'pod', 'gated', '--subresource=status', '--type=strategic', '-p', patch);
      };
      await open('True');
      await kubectl.until('pod/gated', READY, /^True$/);
      await open('False');
      await kubectl.until('pod/gated', READY, /^False$/);
      expect(await statusOf('gated')).toMatchObject({ ready: true, restartCount: 0 });
    });

    test('that lacks a volume has no sandbox, and says so until it has', async () => {
      const volumes = [{ name: 'v', secret: { secretName: 'comes-late' } }];
      const sandbox = '{.status.conditions[?(@.type=="PodReadyToStartContainers")].status}';
      await kubectl.apply(probed('waits', SLEEP, { volumeMounts: [{ name: 'v', mountPath: '/v' }] }, { volumes }));
      await untilEvent(
        'waits',
        /^Warning FailedMount MountVolume.SetUp failed for volume "v" : .*"comes-late" not found/m,
      );
      const condition = { type: 'PodScheduled', status: 'True' };
      const { status } = await kubectl.json<Pod>('get', 'pod', 'waits');
      expect(status?.conditions).toEqual(expect.arrayContaining([expect.objectContaining(condition)]));
      await kubectl.until('pod/waits', sandbox, /^False$/);
      await kubectl.run('create', 'secret', 'generic', 'comes-late', '--from-literal=a=b');
      await kubectl.until('pod/waits', sandbox, /^True$/);
      await kubectl.until('pod/waits', READY, /^True$/);
    });

    test('tells what of its spec the node has seen, whom it runs as and what is mounted', async () => {
      const securityContext = { runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [4000] };
      await kubectl.apply(
        probed(
          'full',
          SLEEP,
          {
            volumeMounts: [{ name: 'v', mountPath: '/v', readOnly: true }],
            resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '32Mi' } },
          },
          { volumes: [{ name: 'v', emptyDir: {} }], securityContext },
        ),
      );
      await kubectl.until('pod/full', READY, /^True$/);
      const { metadata, status } = await kubectl.json<Pod>('get', 'pod', 'full');
      const seen = status as typeof status & { observedGeneration?: number };
      expect(seen?.observedGeneration).toBe(metadata?.generation);
      expect(
        status?.conditions?.every(
          (c) => (c as { observedGeneration?: number }).observedGeneration === metadata?.generation,
        ),
      ).toBe(true);
      const main = status!.containerStatuses![0]!;
      expect(main.containerID).toMatch(/^containerd:\/\/[0-9a-f]{64}$/);
      expect(main.imageID).toMatch(/sha256:[0-9a-f]{64}$/);
      expect(main).toMatchObject({
        started: true,
        allocatedResources: { cpu: '10m', memory: '16Mi' },
        resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '32Mi' } },
      });
      const mount = main.volumeMounts?.find((m) => m.name === 'v');
      expect(mount).toMatchObject({ mountPath: '/v', readOnly: true, recursiveReadOnly: 'Disabled' });
    });
  });

  test('an agent that starts again keeps readiness and restart counts until it has asked anew', async () => {
    // The first probe after the restart would fail: what counts until then is what was known.
    const command = ['sh', '-c', `trap "exit 0" TERM; touch /tmp/ok; ${ended}`];
    const readinessProbe = { ...exec('rm', '/tmp/ok'), periodSeconds: 86_400, failureThreshold: 3 };
    await kubectl.apply(probed('kept', command, { readinessProbe }));
    await kubectl.until('pod/kept', READY, /^True$/);
    const before = await kubectl.json<Pod>('get', 'pod', 'kept');
    const restarts = (await statusOf('liveness')).restartCount;
    // A container counts as older than the agent when it is so by ten seconds.
    const startedMs = Date.parse(String(before.status!.containerStatuses![0]!.state!.running!.startedAt));
    while (Date.now() < startedMs + 12_000) await systemClock.sleep(200);
    const agent = (await readLabState(cluster.dir)).nodes[0]!.agent!;
    expect(await signalProcess(agent, 'SIGKILL')).toBe(true);
    expect(await waitForExit(agent, 10_000, systemClock)).toBe(true);
    await cluster.lab('node', 'start', 'node-1');
    // Something that only the new agent can have done, behind everything it does at its start.
    await kubectl.apply(pod('after'));
    await kubectl.until('pod/after', READY, /^True$/);
    const after = await kubectl.json<Pod>('get', 'pod', 'kept');
    const ready = (p: Pod) => p.status?.conditions?.find((c) => c.type === 'Ready');
    expect(ready(after)).toEqual(ready(before));
    expect(after.status?.containerStatuses).toEqual(before.status?.containerStatuses);
    expect((await statusOf('liveness')).restartCount).toBeGreaterThanOrEqual(restarts);
  });
});
