// Containers that run before and beside the others, with real processes: init containers, sidecars, and restarts that
// a container asks for itself.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Container, ContainerStatus, Pod } from '../../api/pod.ts';
import { labMissing } from '../harness/cluster.ts';
import { box, says, stays, TracedPods, waitsFor } from '../harness/traced-pods.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`tests of init containers are skipped: ${missing}`);

/** A container that is done once it has said its name. */
const once = (name: string, more: Partial<Container> = {}) => box(name, `say ${name}`, more);
const sidecar = (name: string, script: string, more: Partial<Container> = {}) =>
  box(name, script, { restartPolicy: 'Always', ...more });
const exec = (script: string) => ({ exec: { command: says(script) } });
/** Ends with `code` in its first run, stays in the second. */
const firstEnds = (name: string, code: number) =>
  `[ -e /trace/${name} ] || { touch /trace/${name}; say ${name} ends; exit ${code}; }; ${stays(name)}`;

describe.skipIf(missing !== undefined).concurrent('before and beside the containers of a pod', () => {
  let traced: TracedPods;
  beforeAll(async () => {
    traced = await TracedPods.start('init', 'crashLoopBackOff: { maxContainerRestartPeriod: 1s }');
  });
  afterAll(async () => {
    await traced?.[Symbol.asyncDispose]();
  });

  describe('init containers', () => {
    test('run one after the other before all others', async () => {
      await traced.apply('order', {
        initContainers: [box('i0', `${waitsFor('go')}; say i0`), once('i1'), once('i2')],
        containers: [box('main', stays('main'))],
      });
      const begun = await traced.lab.until('order', (p) => of(p, 'i0')?.state?.running !== undefined);
      expect(begun.status?.phase).toBe('Pending');
      expect(condition(begun, 'Initialized')).toMatchObject({
        status: 'False',
        reason: 'ContainersNotInitialized',
        message: 'containers with incomplete status: [i0 i1 i2]',
      });
      for (const name of ['i1', 'main']) {
        expect(of(begun, name)?.state).toEqual({ waiting: { reason: 'PodInitializing' } });
      }
      await traced.signal('order', 'go');
      const ready = await traced.lab.ready('order');
      expect(await traced.untilSaid('order', 'main up')).toEqual(['i0', 'i1', 'i2', 'main up']);
      for (const name of ['i0', 'i1', 'i2']) {
        expect(of(ready, name)).toMatchObject({ ready: true, started: false, restartCount: 0 });
        expect(of(ready, name)?.state?.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' });
      }
      expect(condition(ready, 'Initialized')?.status).toBe('True');
    });

    test('one that fails under Never ends the pod', async () => {
      await traced.apply('init-never', {
        restartPolicy: 'Never',
        initContainers: [box('i0', 'say i0; exit 1'), once('i1')],
        containers: [once('main')],
      });
      const pod = await traced.untilOver('init-never', 'Failed');
      expect(of(pod, 'i0')).toMatchObject({ restartCount: 0, state: { terminated: { exitCode: 1, reason: 'Error' } } });
      for (const name of ['i1', 'main']) {
        expect(of(pod, name)?.state).toEqual({ waiting: { reason: 'PodInitializing' } });
      }
      expect(await traced.trace('init-never')).toEqual(['i0']);
    });

    test('one that fails under Always is tried again with back-off', async () => {
      const made = await traced.apply('init-always', {
        initContainers: [once('i0'), box('i1', 'exit 1'), once('i2')],
        containers: [once('main')],
      });
      const pod = await traced.lab.untilSeen(
        made,
        (p) => (of(p, 'i1')?.restartCount ?? 0) >= 2 && of(p, 'i1')?.state?.waiting?.reason === 'CrashLoopBackOff',
      );
      expect(of(pod, 'i1')?.state?.waiting?.message).toBe(
        `back-off 1s restarting failed container=i1 pod=init-always_init(${made.metadata?.uid})`,
      );
      expect(of(pod, 'i1')?.lastState?.terminated).toMatchObject({ exitCode: 1, reason: 'Error' });
      expect(of(pod, 'main')?.state).toEqual({ waiting: { reason: 'PodInitializing' } });
      expect(pod.status?.phase).toBe('Pending');
      expect(condition(pod, 'Initialized')?.message).toBe('containers with incomplete status: [i1 i2]');
      expect(await traced.trace('init-always')).toEqual(['i0']);
      await traced.delete('init-always');
    });

    test('one that succeeds at last lets the pod go on', async () => {
      const third = 'echo >> /trace/runs; [ "$(wc -l < /trace/runs)" -ge 3 ]';
      await traced.apply('init-third', {
        restartPolicy: 'OnFailure',
        initContainers: [box('i0', third), once('i1')],
        containers: [once('main')],
      });
      const pod = await traced.untilOver('init-third', 'Succeeded');
      expect(of(pod, 'i0')).toMatchObject({ restartCount: 2, ready: true });
      expect(await traced.trace('init-third')).toEqual(['i1', 'main']);
    });
  });

  describe('sidecars', () => {
    test('start in order, the next one after the startup probe', async () => {
      const startupProbe = { ...exec('say probed; test -e /tmp/ok'), periodSeconds: 1, failureThreshold: 100 };
      await traced.apply('side-order', {
        initContainers: [
          once('i0'),
          sidecar('s1', `(${waitsFor('go')}; say s1 ok; touch /tmp/ok) & ${stays('s1')}`, { startupProbe }),
          once('i2'),
          sidecar('s3', stays('s3')),
        ],
        containers: [box('main', stays('main'))],
      });
      const begun = await traced.lab.until('side-order', (p) => of(p, 's1')?.state?.running !== undefined);
      expect(of(begun, 's1')?.started).toBe(false);
      expect(begun.status?.phase).toBe('Pending');
      await traced.untilSaid('side-order', 's1 up');
      await traced.signal('side-order', 'go');
      const ready = await traced.lab.ready('side-order');
      const said = (await traced.untilSaid('side-order', 'main up')).filter((line) => line !== 'probed');
      // s3 needs no more than to be started before main is: what it says first may be said later.
      expect(said.filter((line) => line !== 's3 up')).toEqual(['i0', 's1 up', 's1 ok', 'i2', 'main up']);
      expect(of(ready, 's1')).toMatchObject({ started: true, ready: true, restartCount: 0 });
      expect(of(ready, 's3')).toMatchObject({ started: true, ready: true });
    });

    test('end after the containers, the last one first; all hooks are run at once', async () => {
      const lifecycle = (name: string) => ({ preStop: exec(`say ${name} hook`) });
      await traced.apply('side-end', {
        initContainers: [
          sidecar('s1', stays('s1'), { lifecycle: lifecycle('s1') }),
          sidecar('s2', stays('s2', 'sleep 1; say s2 end; exit 0')),
        ],
        containers: [
          box('main', stays('main', 'until grep -q hook /trace/log; do sleep 0.1; done; say main end; exit 0')),
        ],
      });
      await traced.untilUp('side-end', 's1', 's2', 'main');
      await traced.delete('side-end');
      await traced.untilGone('side-end');
      const said = (await traced.trace('side-end')).filter((line) => !/up$/.test(line));
      expect(said.filter((line) => line !== 's1 hook')).toEqual([
        'main term',
        'main end',
        's2 term',
        's2 end',
        's1 term',
      ]);
      expect(said.indexOf('s1 hook')).toBeLessThan(said.indexOf('main end'));
    });

    test('share the grace period, and end by the signal though it is used up', async () => {
      await traced.apply('side-grace', {
        terminationGracePeriodSeconds: 1,
        initContainers: [sidecar('s1', stays('s1')), sidecar('s2', stays('s2'))],
        containers: [box('main', 'trap "" TERM; say main up; while :; do sleep 1; done')],
      });
      await traced.untilUp('side-grace', 's1', 's2', 'main');
      await traced.delete('side-grace');
      await traced.untilGone('side-grace');
      const said = await traced.trace('side-grace');
      expect(said).toEqual(expect.arrayContaining(['s1 term', 's2 term']));
    });

    test.each(['Never', 'OnFailure'])('let the pod be over when the work is done (%s)', async (restartPolicy) => {
      const name = `side-${restartPolicy.toLowerCase()}`;
      await traced.apply(name, {
        restartPolicy,
        initContainers: [sidecar('s1', stays('s1', 'exit 9'))],
        containers: [box('main', 'until grep -q "s1 up" /trace/log; do sleep 0.1; done; say main')],
      });
      const pod = await traced.untilOver(name, 'Succeeded');
      expect(await traced.trace(name)).toEqual(['s1 up', 'main', 's1 term']);
      expect(of(pod, 's1')).toMatchObject({ restartCount: 0, state: { terminated: { exitCode: 9 } } });
      expect(of(pod, 'main')?.state?.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' });
      expect(condition(pod, 'Ready')).toMatchObject({ status: 'False', reason: 'PodCompleted' });
    });

    test('are started again, whatever the policy, beside containers that run on', async () => {
      await traced.apply('side-again', {
        restartPolicy: 'Never',
        initContainers: [
          sidecar('s1', `until grep -q "main up" /trace/log; do sleep 0.1; done; ${firstEnds('s1', 0)}`),
        ],
        containers: [box('main', stays('main'))],
      });
      expect(await traced.untilSaid('side-again', 's1 up')).toEqual(['main up', 's1 ends', 's1 up']);
      const pod = await traced.lab.until('side-again', (p) => of(p, 's1')?.restartCount === 1);
      expect(pod.status?.phase).toBe('Running');
      expect(of(pod, 'main')).toMatchObject({ restartCount: 0, ready: true });
    });

    test('hold up the pod until they have started', async () => {
      const failing = { ...exec('false'), periodSeconds: 1, failureThreshold: 1 };
      await traced.apply('side-stuck', {
        terminationGracePeriodSeconds: 1,
        initContainers: [sidecar('s1', stays('s1'), { startupProbe: failing })],
        containers: [once('main')],
      });
      await traced.untilEvent('side-stuck', /^Normal Killing Init container s1 failed startup probe$/);
      const pod = await traced.lab.until('side-stuck', (p) => (of(p, 's1')?.restartCount ?? 0) >= 1);
      expect(of(pod, 'main')?.state).toEqual({ waiting: { reason: 'PodInitializing' } });
      expect(pod.status?.phase).toBe('Pending');
      await traced.delete('side-stuck');
      await traced.untilGone('side-stuck');
      expect(await traced.trace('side-stuck')).not.toContain('main');
    });
  });

  describe('a sandbox that is gone', () => {
    test('is made anew, and initialization begins again', async () => {
      await traced.apply('sandbox-again', {
        initContainers: [once('i0'), sidecar('s1', stays('s1')), once('i2')],
        containers: [box('main', stays('main'))],
      });
      const before = await traced.untilUp('sandbox-again', 's1', 'main');
      await traced.killSandbox(before);
      await traced.untilEvent(
        'sandbox-again',
        /^Normal SandboxChanged Pod sandbox changed, it will be killed and re-created\.$/,
      );
      await traced.untilSaid('sandbox-again', 's1 up', 2);
      const said = await traced.untilSaid('sandbox-again', 'main up', 2);
      const order = said.filter((line) => !/^s1/.test(line));
      expect(order).toEqual(['i0', 'i2', 'main up', 'main term', 'i0', 'i2', 'main up']);
      const pod = await traced.lab.until(
        'sandbox-again',
        (p) => of(p, 'main')?.restartCount === 1 && condition(p, 'Ready')?.status === 'True',
      );
      expect(pod.status?.podIP).not.toBe(before.status?.podIP);
      expect(of(pod, 'main')?.lastState?.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' });
    });

    test('is the end of a pod that is never restarted', async () => {
      const main = box('main', stays('main', 'exit 3'));
      await traced.apply('sandbox-never', { restartPolicy: 'Never', containers: [main] });
      await traced.killSandbox(await traced.untilUp('sandbox-never', 'main'));
      const pod = await traced.untilOver('sandbox-never', 'Failed');
      expect(of(pod, 'main')).toMatchObject({ restartCount: 0, state: { terminated: { exitCode: 3 } } });
      expect(await traced.trace('sandbox-never')).toEqual(['main up', 'main term']);
    });
  });

  describe('a container with a restart policy of its own', () => {
    test.each([
      ['Always', 'Never', 0],
      ['OnFailure', 'Never', 5],
    ])('is started again: %s in a pod of %s', async (restartPolicy, ofPod, code) => {
      const name = `own-${restartPolicy.toLowerCase()}`;
      await traced.apply(name, {
        restartPolicy: ofPod,
        containers: [box('main', firstEnds('main', code), { restartPolicy }), box('other', stays('other'))],
      });
      await traced.untilSaid(name, 'main up');
      const pod = await traced.lab.until(name, (p) => of(p, 'main')?.restartCount === 1);
      expect(of(pod, 'other')?.restartCount).toBe(0);
    });

    test('stays as it ended: Never in a pod of Always', async () => {
      await traced.apply('own-never', {
        containers: [box('main', 'say main; exit 1', { restartPolicy: 'Never' }), box('other', stays('other'))],
      });
      const pod = await traced.lab.until('own-never', (p) => of(p, 'main')?.state?.terminated !== undefined);
      expect(pod.status?.phase).toBe('Running');
      await traced.untilSaid('own-never', 'other up');
      expect((await traced.trace('own-never')).filter((line) => line === 'main')).toEqual(['main']);
    });

    test.each([
      ['In', [42], 42, true],
      ['In', [42], 43, false],
      ['NotIn', [42], 43, true],
      ['NotIn', [42], 42, false],
    ])('exit codes %s %j: after %i started again: %s', async (operator, values, code, again) => {
      const name = `rule-${operator.toLowerCase()}-${code}`;
      const exitCodes = { operator, values } as { operator: 'In' | 'NotIn'; values: number[] };
      const rules = { restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart' as const, exitCodes }] };
      await traced.apply(name, { restartPolicy: 'Never', containers: [box('main', firstEnds('main', code), rules)] });
      if (again) {
        await traced.untilSaid(name, 'main up');
        const pod = await traced.lab.until(name, (p) => of(p, 'main')?.restartCount === 1);
        expect(of(pod, 'main')?.lastState?.terminated?.exitCode).toBe(code);
      } else {
        expect(of(await traced.untilOver(name, 'Failed'), 'main')).toMatchObject({ restartCount: 0 });
        expect(await traced.trace(name)).toEqual(['main ends']);
      }
    });

    test('an init container is tried again by its own policy', async () => {
      await traced.apply('own-init', {
        restartPolicy: 'Never',
        initContainers: [
          box('i0', '[ -e /trace/i0 ] || { touch /trace/i0; exit 1; }; say i0', { restartPolicy: 'OnFailure' }),
        ],
        containers: [once('main')],
      });
      expect(of(await traced.untilOver('own-init', 'Succeeded'), 'i0')?.restartCount).toBe(1);
    });

    test('an exit code may start all containers anew, init containers too', async () => {
      const exitCodes = { operator: 'In' as const, values: [88] };
      const rules = {
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'RestartAllContainers' as const, exitCodes }],
      };
      const waits = 'until grep -q "other up" /trace/log; do sleep 0.1; done';
      await traced.apply('rule-all', {
        restartPolicy: 'Never',
        initContainers: [once('i0')],
        containers: [box('main', `${waits}; ${firstEnds('main', 88)}`, rules), box('other', stays('other'))],
      });
      await traced.untilSaid('rule-all', 'other up', 2);
      const said = await traced.untilSaid('rule-all', 'main up');
      expect(said.filter((line) => line === 'i0')).toHaveLength(2);
      const pod = await traced.lab.until(
        'rule-all',
        (p) => ['i0', 'main', 'other'].every((n) => of(p, n)?.restartCount === 1) && of(p, 'main')?.ready === true,
      );
      expect(of(pod, 'main')?.lastState?.terminated?.exitCode).toBe(88);
      expect(of(pod, 'other')?.lastState?.terminated).toMatchObject({
        exitCode: 137,
        reason: 'RestartingAllContainers',
      });
      const ended = await traced.lab.until(
        'rule-all',
        (p) => condition(p, 'AllContainersRestarting')?.status === 'False',
      );
      expect(ended.status?.phase).toBe('Running');
    });
  });
});

function of(pod: Pod, container: string): ContainerStatus | undefined {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {};
  return [...initContainerStatuses, ...containerStatuses].find((c) => c.name === container);
}

function condition(pod: Pod, type: string) {
  return pod.status?.conditions?.find((c) => c.type === type);
}
