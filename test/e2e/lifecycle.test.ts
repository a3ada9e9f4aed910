// What happens around a container's life, with real processes: hooks at its begin and end, how its end shows in the
// status, its last words, and how it is started again.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Container, Pod, PodSpec } from '../../api/pod.ts';
import { dockerArchive } from '../../lab/images.ts';
import { labMissing } from '../harness/cluster.ts';
import { NODE } from '../harness/fault-node.ts';
import { box, says, stays, TracedPods } from '../harness/traced-pods.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`lifecycle tests are skipped: ${missing}`);

const exec = (script: string) => ({ exec: { command: says(script) } });
const main = (pod: Pod) => pod.status?.containerStatuses?.find((c) => c.name === 'main');
/** Answers every HTTP request with an error, and says what it was asked. */
const SERVER = `
  cat > /tmp/answer <<'END'
    read -r line || exit
    asked="$line"
    while read -r line; do line="$(echo "$line" | tr -d '\\r')"; [ -n "$line" ] || break; asked="$asked|$line"; done
    echo "$asked" | tr -d '\\r' >> /trace/log
    printf 'HTTP/1.1 500 No\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'
END
  nc -ll -p 8080 -e sh /tmp/answer &
  until grep -q ':1F90 .*:0000 0A' /proc/net/tcp*; do sleep 0.1; done`;

describe.skipIf(missing !== undefined).concurrent('the life of a container', () => {
  let traced: TracedPods;
  beforeAll(async () => {
    // Shorter, it would be over before a busy node looks at a container that has ended, and nothing would be held back.
    traced = await TracedPods.start('lifecycle', 'crashLoopBackOff: { maxContainerRestartPeriod: 3s }');
  });
  afterAll(async () => {
    await traced?.[Symbol.asyncDispose]();
  });

  /** A pod of one container that stays, with these hooks. */
  const hooked = (
    lifecycle: NonNullable<Container['lifecycle']>,
    spec: Partial<PodSpec> = {},
    last?: string,
  ): PodSpec => ({
    containers: [box('main', stays('main', last), { lifecycle })],
    ...spec,
  });

  describe('postStart', () => {
    test('holds up the next container until it is through', async () => {
      const lifecycle = { postStart: exec('sleep 1; say hook') };
      await traced.apply('post-exec', { containers: [box('a', stays('a'), { lifecycle }), box('b', stays('b'))] });
      const said = await traced.untilSaid('post-exec', 'b up');
      expect(said.filter((line) => line !== 'a up')).toEqual(['hook', 'b up']);
    });

    test('asks another host, with headers of its own; any answer will do', async () => {
      await traced.apply('server', { containers: [box('main', `${SERVER}\n${stays('main')}`)] });
      await traced.untilSaid('server', 'main up');
      const ip = (await traced.lab.ready('server')).status!.podIP!;
      const httpGet = { host: ip, port: 8080, path: 'began?by=hook', httpHeaders: [{ name: 'X-Hook', value: 'post' }] };
      await traced.apply('post-http', hooked({ postStart: { httpGet } }));
      await traced.lab.ready('post-http');
      const asked = (await traced.trace('server')).find((line) => line.startsWith('GET'))!.split('|');
      expect(asked[0]).toBe('GET /began?by=hook HTTP/1.1');
      expect(asked).toEqual(expect.arrayContaining([`Host: ${ip}:8080`, 'X-Hook: post', 'Accept: */*']));
      expect(asked).toContain('User-Agent: kube-lifecycle/1.36');
    });

    test('sleeps', async () => {
      await traced.apply('post-sleep', {
        containers: [
          box('a', stays('a'), { lifecycle: { postStart: { sleep: { seconds: 1 } } } }),
          box('b', stays('b')),
        ],
      });
      const pod = await traced.lab.until('post-sleep', (p) => startOf(p, 'b') !== undefined);
      expect(startOf(pod, 'b')! - startOf(pod, 'a')!).toBeGreaterThanOrEqual(1000);
    });

    test.each([
      [
        'exec',
        exec('echo no luck; exit 3'),
        /^Exec lifecycle hook \(\[sh -c [\s\S]*\]\) for Container "main" in Pod "fails-exec_lifecycle\([^)]*\)" failed - error: command '[\s\S]*' exited with 3: no luck\n, message: "no luck\\n"$/,
      ],
      [
        'http',
        { httpGet: { path: 'x', port: 1 } },
        /^HTTP lifecycle hook \(x\) for Container "main" in Pod "fails-http_lifecycle\([^)]*\)" failed - error: .*connect: connection refused/,
      ],
    ])('that fails (%s) ends the container, which is started again with back-off', async (kind, postStart, message) => {
      const name = `fails-${kind}`;
      const made = await traced.apply(name, hooked({ postStart }, { terminationGracePeriodSeconds: 1 }));
      await traced.untilEvent(name, /^Warning FailedPostStartHook PostStartHook failed$/);
      await traced.untilEvent(name, /^Normal Killing FailedPostStartHook$/);
      await traced.untilEvent(name, /^Warning BackOff Back-off restarting failed container main in pod fails-/);
      const failed = await traced.lab.untilSeen(made, (p) => main(p)?.state?.waiting?.reason === 'PostStartHookError');
      expect(main(failed)?.state?.waiting?.message).toMatch(message);
      const again = await traced.lab.until(name, (p) => (main(p)?.restartCount ?? 0) >= 1);
      expect(main(again)?.lastState?.terminated?.finishedAt).toBeTruthy();
      await traced.delete(name);
    });
  });

  describe('preStop', () => {
    test('comes before the signal', async () => {
      const preStop = exec('say hook; sleep 1; say done');
      await traced.apply('pre-exec', hooked({ preStop }));
      await traced.untilUp('pre-exec', 'main');
      await traced.delete('pre-exec');
      await traced.untilGone('pre-exec');
      expect(await traced.trace('pre-exec')).toEqual(['main up', 'hook', 'done', 'main term']);
    });

    test('asks the pod itself at a named port', async () => {
      const preStop = { httpGet: { path: '/ends', port: 'web', httpHeaders: [{ name: 'Host', value: 'of.hook' }] } };
      const container = box('main', `${SERVER}\n${stays('main')}`, {
        lifecycle: { preStop },
        ports: [{ name: 'web', containerPort: 8080 }],
      });
      await traced.apply('pre-http', { containers: [container] });
      const { status } = await traced.untilUp('pre-http', 'main');
      await traced.delete('pre-http');
      await traced.untilGone('pre-http');
      const said = await traced.trace('pre-http');
      expect(said.map((line) => line.split('|')[0])).toEqual(['main up', 'GET /ends HTTP/1.1', 'main term']);
      expect(status?.podIP).toBeTruthy();
      expect(said[1]).toContain('|Host: of.hook');
    });

    test('sleeps first, however long', async () => {
      const preStop = { sleep: { seconds: 2 } };
      await traced.apply('pre-sleep', hooked({ preStop }));
      await traced.untilUp('pre-sleep', 'main');
      const askedMs = Date.now();
      await traced.delete('pre-sleep');
      await traced.untilSaid('pre-sleep', 'main term');
      expect(Date.now() - askedMs).toBeGreaterThanOrEqual(2000);
    });

    test('may sleep for no time at all', async () => {
      await traced.apply('pre-nap', hooked({ preStop: { sleep: { seconds: 0 } } }));
      await traced.untilUp('pre-nap', 'main');
      await traced.delete('pre-nap');
      await traced.untilGone('pre-nap');
      expect(await traced.trace('pre-nap')).toEqual(['main up', 'main term']);
    });

    test.each([
      ['exec', exec('say hook; sleep 3600')],
      ['sleep', { sleep: { seconds: 1 } }],
    ])('that takes all of the grace period (%s) leaves the container time to end', async (kind, preStop) => {
      const name = `pre-long-${kind}`;
      await traced.apply(name, hooked({ preStop }, { terminationGracePeriodSeconds: 1 }, 'sleep 0.2; say end; exit 0'));
      await traced.untilUp(name, 'main');
      await traced.delete(name);
      await traced.untilGone(name);
      expect((await traced.trace(name)).slice(-2)).toEqual(['main term', 'end']);
    });

    test('a shorter grace period counts while the hook runs', async () => {
      const preStop = exec('say hook; sleep 3600');
      await traced.apply('pre-shorter', hooked({ preStop }, { terminationGracePeriodSeconds: 3600 }));
      await traced.untilUp('pre-shorter', 'main');
      await traced.delete('pre-shorter');
      await traced.untilSaid('pre-shorter', 'hook');
      await traced.delete('pre-shorter', { gracePeriodSeconds: 1 });
      await traced.untilGone('pre-shorter');
      expect(await traced.trace('pre-shorter')).toEqual(['main up', 'hook', 'main term']);
    });

    test('that fails is told of and stops nothing', async () => {
      await traced.apply('pre-fails', hooked({ preStop: exec('exit 1') }));
      await traced.untilUp('pre-fails', 'main');
      await traced.delete('pre-fails');
      await traced.untilEvent('pre-fails', /^Warning FailedPreStopHook PreStopHook failed$/);
      await traced.untilGone('pre-fails');
      expect(await traced.trace('pre-fails')).toEqual(['main up', 'main term']);
    });

    test('comes before a restart for a failed probe', async () => {
      const container = box('main', stays('main'), {
        lifecycle: { preStop: exec('say hook') },
        livenessProbe: {
          exec: { command: says('! grep -q up /trace/log || grep -q term /trace/log') },
          periodSeconds: 1,
          timeoutSeconds: 20,
        },
      });
      container.livenessProbe!.failureThreshold = 1;
      await traced.apply('pre-probe', { containers: [container] });
      const said = await traced.untilSaid('pre-probe', 'main up', 2);
      expect(said.slice(0, 4)).toEqual(['main up', 'hook', 'main term', 'main up']);
    });

    test('is not run for a container that has ended by itself', async () => {
      const lifecycle = { preStop: { sleep: { seconds: 3000 } } };
      const spec = { restartPolicy: 'Never', terminationGracePeriodSeconds: 3600 };
      await traced.apply('pre-ended', {
        ...spec,
        containers: [box('main', 'say main', { lifecycle }), box('other', stays('other'))],
      });
      await traced.untilSaid('pre-ended', 'other up');
      await traced.lab.until(
        'pre-ended',
        (p) => main(p)?.state?.terminated !== undefined && startOf(p, 'other') !== undefined,
      );
      await traced.delete('pre-ended');
      await traced.untilGone('pre-ended');
    });

    test('the signal is the one that the image asks for', async () => {
      const archive = path.join(traced.node.cluster.dir, 'usr1.tar');
      const program = {
        kind: 'file',
        path: 'bin/busybox',
        content: await readFile('/bin/busybox'),
        mode: 0o755,
      } as const;
      const name = 'docker.io/library/usr1:1';
      await writeFile(
        archive,
        dockerArchive({ names: [name], entries: [program], config: { Env: [], StopSignal: 'SIGUSR1' } }),
      );
      await traced.node.cluster.ctr(NODE, 'images', 'import', archive);
      const [, ...command] = says(
        'trap "say usr1; exit 0" USR1; say up; while :; do busybox sleep 3600 & wait $!; done',
      );
      await traced.apply('stop-signal', {
        containers: [box('main', '', { image: name, command: ['busybox', 'sh', ...command] })],
      });
      await traced.untilSaid('stop-signal', 'up');
      await traced.lab.ready('stop-signal');
      await traced.delete('stop-signal');
      await traced.untilGone('stop-signal');
      expect(await traced.trace('stop-signal')).toEqual(['up', 'usr1']);
    });

    test('without grace the signal comes all the same', async () => {
      await traced.apply('pre-none', hooked({}, { terminationGracePeriodSeconds: 0 }));
      await traced.untilUp('pre-none', 'main');
      await traced.delete('pre-none');
      await traced.untilGone('pre-none');
      await traced.untilSaid('pre-none', 'main term');
    });
  });

  describe('the end of a container', () => {
    const kill = { command: ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'] };
    const noCommand = { command: ['/no/such/program'] };
    const greedy = { resources: memory('16Mi') };
    // It begins when it is told to, since the runtime listens for a lack of memory once the start is over; and it outlives
    // its child: of a container that is gone the runtime may never learn that memory ran out.
    const eat =
      'until [ -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=256M; code=$?; sleep 2; exit $code';
    test.each<[string, 'Succeeded' | 'Failed', string, number, string, Partial<PodSpec>, Partial<Container>]>([
      ['exit 0', 'Succeeded', 'true', 0, 'Completed', {}, {}],
      ['another exit code', 'Failed', 'exit 3', 3, 'Error', {}, {}],
      ['SIGTERM', 'Failed', '', 143, 'Error', { hostPID: true }, { command: ['sleep', '3600'] }],
      ['SIGKILL', 'Failed', '', 137, 'Error', {}, kill],
      ['too much memory', 'Failed', eat, 137, 'OOMKilled', {}, greedy],
      ['no such program', 'Failed', '', 128, 'StartError', {}, noCommand],
    ])('%s', async (what, phase, script, exitCode, reason, spec, container) => {
      const name = `end-${what.replaceAll(' ', '-').toLowerCase()}`;
      await traced.apply(name, { restartPolicy: 'Never', containers: [box('main', script, container)], ...spec });
      if (what.startsWith('SIG')) {
        // Behind the agent's back: it is to notice.
        const running = main(await traced.lab.ready(name));
        await traced.node.runtime.stopContainer(running!.containerID!.replace('containerd://', ''), 1);
      }
      if (container === greedy) {
        const running = main(await traced.lab.ready(name));
        await traced.node.runtime.execSync(running!.containerID!.replace('containerd://', ''), ['touch', '/go'], 10);
      }
      const pod = await traced.untilOver(name, phase);
      const { terminated } = main(pod)!.state!;
      expect(terminated).toMatchObject({ exitCode, reason });
      expect(terminated?.containerID).toMatch(/^containerd:\/\/[0-9a-f]{64}$/);
      expect(main(pod)?.restartCount).toBe(0);
      if (reason !== 'StartError') return;
      expect(terminated?.message).toContain(
        'exec: "/no/such/program": stat /no/such/program: no such file or directory',
      );
      await traced.untilEvent(name, /^Warning Failed Error: .*exec: "\/no\/such\/program"/);
    });

    test('a deadline of the pod is the reason of its failure', async () => {
      await traced.apply('deadline', { ...hooked({}), activeDeadlineSeconds: 1, terminationGracePeriodSeconds: 1 });
      const { status } = await traced.untilOver('deadline', 'Failed');
      expect(status?.reason).toBe('DeadlineExceeded');
      expect(status?.message).toBe('Pod was active on the node longer than the specified deadline');
    });
  });

  describe('the last words of a container', () => {
    const FROM_LOG = 'FallbackToLogsOnError';
    const longLines = 'i=0; while [ $i -lt 90 ]; do printf "%0100d\\n" $i; i=$((i+1)); done; exit 1';
    test.each<[string, string, string | undefined, Partial<Container>]>([
      [
        'of a user, in a file of its own',
        'echo -n DONE > /dev/other',
        'DONE',
        { terminationMessagePath: '/dev/other', securityContext: { runAsUser: 1001 } },
      ],
      [
        'from the file though there is a log',
        'echo log; echo -n DONE > /dev/termination-log; exit 1',
        'DONE',
        { terminationMessagePolicy: FROM_LOG },
      ],
      ['from the log of a failure', 'echo -n DONE; exit 1', 'DONE', { terminationMessagePolicy: FROM_LOG }],
      ['none from the log of a success', 'echo -n DONE', undefined, { terminationMessagePolicy: FROM_LOG }],
      ['none from the log where that is not asked', 'echo -n DONE; exit 1', undefined, {}],
      [
        'eighty lines of the log',
        'seq 1 100; exit 1',
        `${numbers(21, 100).join('\n')}\n`,
        { terminationMessagePolicy: FROM_LOG },
      ],
      ['2048 bytes of the log', longLines, lines100(69, 89).slice(-2048), { terminationMessagePolicy: FROM_LOG }],
      [
        '4096 bytes of the file',
        'seq 1000 1999 > /dev/termination-log',
        `${numbers(1000, 1999).join('\n')}\n`.slice(-4096),
        {},
      ],
    ])('%s', async (what, script, message, container) => {
      const name = `words-${what.replaceAll(/[ ,]+/g, '-')}`;
      await traced.apply(name, { restartPolicy: 'Never', containers: [box('main', script, container)] });
      const pod = await traced.lab.until(name, (p) => main(p)?.state?.terminated !== undefined);
      expect(main(pod)?.state?.terminated?.message).toBe(message);
    });
  });

  describe('the restart policy', () => {
    /** Fails twice; the third run goes on with `then`. */
    const thirdTime = (then: string) => `echo >> /trace/runs; [ "$(wc -l < /trace/runs)" -ge 3 ] || exit 1; ${then}`;

    test('Always: until it runs', async () => {
      await traced.apply('always', { containers: [box('main', thirdTime(stays('main')))] });
      await traced.untilSaid('always', 'main up');
      const pod = await traced.lab.until('always', (p) => main(p)?.ready === true && main(p)?.restartCount === 2);
      expect(pod.status?.phase).toBe('Running');
      expect(main(pod)).toMatchObject({ started: true });
      expect(main(pod)?.lastState?.terminated).toMatchObject({ exitCode: 1, reason: 'Error' });
    });

    test('OnFailure: until it succeeds', async () => {
      await traced.apply('on-failure', { restartPolicy: 'OnFailure', containers: [box('main', thirdTime('exit 0'))] });
      expect(main(await traced.untilOver('on-failure', 'Succeeded'))).toMatchObject({ restartCount: 2, ready: false });
    });

    test('Never: once', async () => {
      await traced.apply('never', { restartPolicy: 'Never', containers: [box('main', thirdTime('exit 0'))] });
      expect(main(await traced.untilOver('never', 'Failed'))).toMatchObject({ restartCount: 0, ready: false });
    });

    test('a container that goes on failing waits, and says for how long', async () => {
      const made = await traced.apply('crash', { containers: [box('main', 'exit 7')] });
      const pod = await traced.lab.untilSeen(made, (p) => main(p)?.state?.waiting?.reason === 'CrashLoopBackOff');
      const where = `crash_lifecycle(${made.metadata?.uid})`;
      expect(main(pod)?.state?.waiting?.message).toBe(`back-off 3s restarting failed container=main pod=${where}`);
      expect(main(pod)?.lastState?.terminated).toMatchObject({ exitCode: 7, reason: 'Error' });
      expect(pod.status?.phase).toBe('Running');
      const text = `Back-off restarting failed container main in pod ${where}`;
      await traced.lab.untilEvent('crash', 'BackOff', text);
      await traced.delete('crash');
    });
  });
});

/** Undefined when the container does not run. */
function startOf(pod: Pod, container: string): number | undefined {
  const { running } = pod.status?.containerStatuses?.find((c) => c.name === container)?.state ?? {};
  return running?.startedAt === undefined ? undefined : Date.parse(running.startedAt);
}

function memory(limit: string) {
  return { limits: { memory: limit } };
}

function numbers(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function lines100(first: number, last: number): string {
  return numbers(first, last)
    .map((n) => `${String(n).padStart(100, '0')}\n`)
    .join('');
}
