// An agent that is killed at one chosen step of a pod's life, or while everything runs as it should; and what somebody
// who watches the API sees of it afterwards. faults-sigkill.test.ts kills it at random moments.
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { ContainerStatus, Pod, PodSpec, Probe } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { systemClock } from '../../core/clock.ts';
import { labMissing } from '../harness/cluster.ts';
import { CriProxy, type HeldCall } from '../harness/cri-proxy.ts';
import { until } from '../harness/fault-node.ts';
import { PodHistory } from '../harness/pod-history.ts';
import { Random } from '../harness/random.ts';
import { box, says, stays, TracedPods, waitsFor } from '../harness/traced-pods.ts';

const NAMESPACE = 'killed';
const WAIT_MS = 120_000;
const missing = labMissing();
if (missing !== undefined) console.warn(`tests of an agent that is killed are skipped: ${missing}`);

const always = { restartPolicy: 'Always' } as const;
/** Says when it is asked, and succeeds, however long that takes on a busy machine. */
const asked = (what: string): Probe => ({
  exec: { command: says(`say ${what}`) },
  periodSeconds: 1,
  timeoutSeconds: 30,
});

describe.skipIf(missing !== undefined)('an agent that is killed', () => {
  let traced: TracedPods;
  let proxy: CriProxy;
  let manifests: string;

  beforeAll(async () => {
    traced = await TracedPods.start(NAMESPACE, 'crashLoopBackOff: { maxContainerRestartPeriod: 1s }');
    const { node } = traced;
    manifests = path.join(node.cluster.dir, 'manifests');
    await mkdir(manifests);
    const socket = path.join(node.paths.dir, 'proxy.sock');
    proxy = await CriProxy.start(socket, node.paths.containerdSocket, new Random(1));
    await node.changeAgentConfig((text) =>
      text
        .replace(/^(containerRuntimeEndpoint: ).*$/m, `$1unix://${socket}`)
        .replace('kind: KubeletConfiguration\n', `$&staticPodPath: ${manifests}\n`),
    );
    await node.killAgent();
    await (await node.startAgent())();
    await Promise.all(STEADY.map(([name, spec]) => traced.apply(name, spec)));
    for (const [name, spec] of STATIC) await put(name, spec);
    for (const { name } of all) await (name.startsWith('un') ? traced.lab.until(name, isUp) : traced.lab.ready(name));
  });
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await traced?.[Symbol.asyncDispose]();
  });

  /** Pods that have got where they are going, and what is asked of each again and again. */
  const STEADY: readonly (readonly [string, PodSpec, readonly string[]])[] = [
    ['plain', { containers: [box('main', stays('main'))] }, []],
    ['ready', { containers: [box('main', stays('main'), { readinessProbe: asked('ready?') })] }, ['ready?']],
    [
      'started',
      {
        containers: [
          box('main', stays('main'), {
            startupProbe: asked('started?'),
            readinessProbe: asked('ready?'),
            livenessProbe: asked('alive?'),
          }),
        ],
      },
      ['ready?', 'alive?'],
    ],
    [
      'sidecar',
      {
        initContainers: [
          box('side', stays('side'), {
            ...always,
            startupProbe: asked('started?'),
            readinessProbe: asked('side ready?'),
          }),
        ],
        containers: [box('main', stays('main'))],
      },
      ['side ready?'],
    ],
    [
      'unready',
      { containers: [box('main', stays('main'), { readinessProbe: { ...asked('ready?; false') } })] },
      ['ready?'],
    ],
    [
      'unstarted',
      {
        containers: [
          box('main', stays('main'), { startupProbe: { ...asked('started?; false'), failureThreshold: 10_000 } }),
        ],
      },
      ['started?'],
    ],
  ];
  const STATIC: readonly (readonly [string, PodSpec, readonly string[]])[] = [
    ['static', { containers: [box('main', stays('main'))] }, []],
    ['static-ready', { containers: [box('main', stays('main'), { readinessProbe: asked('ready?') })] }, ['ready?']],
    [
      'static-started',
      {
        containers: [box('main', stays('main'), { startupProbe: asked('started?'), readinessProbe: asked('ready?') })],
      },
      ['ready?'],
    ],
  ];

  const all = [
    ...STEADY.map(([name, , said]) => ({ name, trace: name, said })),
    ...STATIC.map(([name, , said]) => ({ name: `${name}-node-1`, trace: name, said })),
  ];

  async function put(name: string, spec: PodSpec): Promise<void> {
    const volumes = [traced.volumeOf(name)];
    const manifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: NAMESPACE },
      spec: { ...spec, volumes },
    };
    await writeFile(path.join(manifests, `.${name}`), stringify(manifest));
    await rename(path.join(manifests, `.${name}`), path.join(manifests, `${name}.yaml`));
  }

  test('in the middle of a call of the runtime: each container runs once, and everything gets where it was going', async () => {
    const { node, lab } = traced;
    const history = new PodHistory({ client: node.client, runtime: node.runtime, namespace: NAMESPACE });
    await history.start();
    try {
      const never = (name: string, spec: Partial<PodSpec> = {}): Promise<Pod> =>
        traced.apply(name, {
          restartPolicy: 'Never',
          terminationGracePeriodSeconds: 60,
          containers: [box('main', stays('main'))],
          ...spec,
        });
      const held: HeldCall[] = [];
      const holding = async (
        method: string,
        when: HeldCall['when'],
        act: () => Promise<unknown>,
        about?: string,
      ): Promise<void> => {
        const call = proxy.hold(method, when, about);
        held.push(call);
        await act();
        await call.reached.promise;
      };
      const hook = { preStop: { exec: { command: says('say hook') } } };
      const rules = {
        restartPolicy: 'Never',
        restartPolicyRules: [
          { action: 'RestartAllContainers' as const, exitCodes: { operator: 'In' as const, values: [88] } },
        ],
      };
      const again = `[ -e /trace/again ] || { touch /trace/again; exit 88; }; ${stays('main')}`;
      for (const name of ['in-stop', 'in-sandbox-stop']) await never(name);
      await never('in-hook', { containers: [box('main', stays('main'), { lifecycle: hook })] });
      await never('in-init', { initContainers: [box('i0', `say i0; ${waitsFor('go')}`)] });
      for (const name of ['in-stop', 'in-sandbox-stop', 'in-hook']) await traced.untilUp(name, 'main');
      await traced.untilSaid('in-init', 'i0');

      await holding('RunPodSandbox', 'before', () => never('no-sandbox'));
      await holding('RunPodSandbox', 'after', () => never('sandbox'));
      await holding('CreateContainer', 'before', () => never('no-container'));
      await holding('CreateContainer', 'after', () => never('created'));
      await holding('StartContainer', 'before', () => never('not-started'));
      await holding('StartContainer', 'after', () => never('just-started'));
      await holding('ExecSync', 'after', () => traced.delete('in-hook'), 'say hook');
      await holding('StopContainer', 'after', () => traced.delete('in-stop'));
      await holding('StopPodSandbox', 'after', () => traced.delete('in-sandbox-stop'));
      const containers = [box('main', again, rules), box('other', stays('other'))];
      await holding('RemoveContainer', 'after', () => never('all-anew', { containers }));
      await traced.untilSaid('just-started', 'main up');

      await node.killAgent();
      for (const call of held) call.release();
      await (await node.startAgent())();
      await traced.signal('in-init', 'go');

      for (const name of [
        'no-sandbox',
        'sandbox',
        'no-container',
        'created',
        'not-started',
        'just-started',
        'in-init',
      ]) {
        const pod = await lab.ready(name);
        expect((await traced.untilSaid(name, 'main up')).filter((line) => line === 'main up')).toHaveLength(1);
        const { id = '' } = runningMain(pod);
        const sandboxes = await node.runtime.listPodSandboxes({ labelSelector: uidOf(pod) });
        const running = await node.runtime.listContainers({
          labelSelector: uidOf(pod),
          state: { state: 'CONTAINER_RUNNING' },
        });
        expect(running.map((c) => c.id)).toEqual([id]);
        expect(sandboxes.filter((s) => s.state === 'SANDBOX_READY')).toHaveLength(1);
      }
      expect((await traced.trace('in-init')).filter((line) => line === 'i0')).toHaveLength(1);
      expect(runningMain(await lab.ready('just-started')).restarts).toBe(0);
      for (const name of ['in-hook', 'in-stop', 'in-sandbox-stop']) {
        await traced.untilGone(name);
        expect((await traced.trace(name)).filter((line) => line === 'main up')).toHaveLength(1);
        expect((await traced.trace(name)).filter((line) => line === 'main term')).toHaveLength(1);
      }
      const anew = await lab.until('all-anew', (p) => (p.status?.containerStatuses ?? []).every((c) => c.ready));
      expect(anew.status?.containerStatuses?.map((c) => c.restartCount)).toEqual([1, 1]);
      expect((await traced.trace('all-anew')).filter((line) => line === 'other up')).toHaveLength(2);
      await history.checkDoubles();
      await history.checkExits();
    } finally {
      await history.end();
    }
    expect(history.faults).toEqual([]);
  });

  test('while pods run on: nobody who watches sees it', async () => {
    const { node, lab } = traced;
    for (const { trace, said } of all) for (const what of said) await traced.untilSaid(trace, what, 2);
    // A container counts as older than the agent when it is so by ten seconds.
    const youngest = Math.max(...(await Promise.all(all.map(({ name }) => lab.get(name)))).flatMap(startsOf));
    while (Date.now() < youngest + 12_000) await systemClock.sleep(200);

    const { items, metadata } = await node.client.list(pods, { namespace: NAMESPACE });
    const before = new Map(items.map((p) => [p.metadata!.name!, shown(p)]));
    const seen: string[] = [];
    const stop = new AbortController();
    const watching = (async () => {
      const opts = { namespace: NAMESPACE, resourceVersion: metadata?.resourceVersion ?? '', signal: stop.signal };
      for await (const event of node.client.watch(pods, { ...opts, timeoutSeconds: 3600 })) {
        if (event.type === 'ERROR') throw new Error(`the watch failed: ${JSON.stringify(event.object)}`);
        const { type, object } = event;
        const name = object.metadata?.name ?? '';
        if (!all.some((pod) => pod.name === name) || type === 'BOOKMARK') continue;
        if (shown(object) !== before.get(name))
          seen.push(`${name} ${type} ${shown(object)} instead of ${before.get(name)}`);
      }
    })();
    try {
      await node.killAgent();
      const saidBefore = await Promise.all(all.map(async ({ trace }) => (await traced.trace(trace)).length));
      await (await node.startAgent())();
      // The new agent has asked each of them anew, and has begun and finished something of its own.
      for (const [i, { trace, said }] of all.entries()) {
        if (said.length === 0) continue;
        const lines = await until(
          () => traced.trace(trace),
          (l) => l.length >= saidBefore[i]! + 2 * said.length,
          WAIT_MS,
        );
        expect(lines.length, `${trace}: ${lines.join(', ')}\n${await node.agentLog()}`).toBeGreaterThanOrEqual(
          saidBefore[i]! + 2 * said.length,
        );
      }
      await traced.apply('after', { containers: [box('main', stays('main'))] });
      await lab.ready('after');
      expect(seen).toEqual([]);
    } finally {
      stop.abort();
      await watching;
    }
  });
});

const uidOf = (pod: Pod) => ({ 'io.kubernetes.pod.uid': pod.metadata?.uid ?? '' });

function runningMain(pod: Pod): { id: string | undefined; restarts: number | undefined } {
  const main = pod.status?.containerStatuses?.find((c) => c.name === 'main');
  return { id: main?.containerID?.replace('containerd://', ''), restarts: main?.restartCount };
}

const statusesOf = (pod: Pod): ContainerStatus[] => [
  ...(pod.status?.initContainerStatuses ?? []),
  ...(pod.status?.containerStatuses ?? []),
];

const startsOf = (pod: Pod): number[] =>
  statusesOf(pod).flatMap((c) =>
    c.state?.running === undefined ? [] : [Date.parse(String(c.state.running.startedAt))],
  );

const isUp = (pod: Pod): boolean =>
  statusesOf(pod).length > 0 && statusesOf(pod).every((c) => c.state?.running !== undefined);

/** All that the agent tells of it. */
function shown({ status = {} }: Pod): string {
  const conditions = (status.conditions ?? []).map((c) => `${c.type}=${c.status}@${c.lastTransitionTime}`).sort();
  const containers = statusesOf({ status }).map(
    (c) => `${c.name}: ${c.containerID} ${c.restartCount} started=${c.started} ready=${c.ready}`,
  );
  return JSON.stringify([status.phase, status.startTime, status.podIP, conditions, containers]);
}
