// The lab as its user meets it: side by side with another one, growing and shrinking, in the foreground, given images.
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { execOk, systemExec } from '../../host/exec.ts';
import { dockerArchive } from '../../lab/images.ts';
import { freePort, labMissing, NODELET, TestCluster } from '../harness/cluster.ts';
import { findLeaks, LAB_MARK_ENV, processesOf, snapshotHost } from '../harness/host-snapshot.ts';
import { Followed } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`lab tests are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('lab', () => {
  let first: TestCluster;
  let second: TestCluster;

  beforeAll(async () => {
    // Two labs that come up at the same moment must not take each other's numbers.
    const labs = await Promise.allSettled([TestCluster.start({ nodes: 1 }), TestCluster.start({ nodes: 1 })]);
    [first, second] = labs.map((l) => (l.status === 'fulfilled' ? l.value : undefined)) as [TestCluster, TestCluster];
    for (const lab of labs) if (lab.status === 'rejected') throw lab.reason;
  });
  afterAll(async () => {
    await Promise.all([first?.[Symbol.asyncDispose](), second?.[Symbol.asyncDispose]()]);
  });

  test('two labs side by side share nothing', async () => {
    const [a, b] = await Promise.all([first.status(), second.status()]);
    expect(a.apiserver.healthy && b.apiserver.healthy).toBe(true);
    const all = [a, b].flatMap((s) => s.nodes);
    for (const key of ['netns', 'ip', 'podCIDR', 'agentPid', 'containerdSocket'] as const) {
      expect(new Set(all.map((n) => n[key])).size).toBe(2);
    }
    expect(a.apiserver.url).not.toBe(b.apiserver.url);
    await Promise.all(
      [first, second].map(async (lab) => {
        const kubectl = await lab.kubectl();
        await kubectl.apply(pod('same-name'));
        await kubectl.run('wait', '--for=condition=Ready', 'pod/same-name', '--timeout=120s');
      }),
    );
    await (await second.kubectl()).run('delete', 'pod', 'same-name');
    const left = await (await first.kubectl()).run('get', 'pod', 'same-name', '-o', 'jsonpath={.status.phase}');
    expect(left).toBe('Running');
  });

  test('an agent comes before others when processors are short, as with its unit', async ({ skip }) => {
    const [node] = (await first.status()).nodes;
    const group = await readFile(`/proc/${node!.agentPid}/autogroup`, 'utf8').catch(() => undefined);
    if (group === undefined) skip('this kernel has no scheduling groups of sessions');
    expect(group).toMatch(/ nice -10$/m);
  });

  test('status -o json has the form that scripts rely on', async () => {
    expect(await first.status()).toEqual({
      kubeconfig: first.kubeconfig,
      apiserver: { url: expect.stringMatching(/^https:\/\/172\.29\.\d+\.1:\d+$/), healthy: true },
      nodes: [
        {
          name: 'node-1',
          ready: true,
          netns: expect.stringMatching(/^nodelet-[0-9a-f]{6}-node-1$/),
          ip: expect.stringMatching(/^172\.29\.\d+\.10$/),
          podCIDR: expect.stringMatching(/^10\.\d+\.\d+\.0\/24$/),
          agentPid: expect.any(Number),
          containerdSocket: path.join(first.dir, 'nodes/node-1/containerd.sock'),
        },
      ],
    });
    expect(await first.lab('status')).toMatch(/^API server \S+ \(healthy\)\nNODE\s+READY\s.*\nnode-1\s+yes\s/);
  });

  test('a node joins, runs pods that reach the others, and goes without a trace', async () => {
    const kubectl = await first.kubectl();
    await first.lab('node', 'add');
    const joined = await first.node('node-2');
    expect(joined).toMatchObject({ ready: true, agentPid: expect.any(Number) });
    const serve = ['sh', '-c', 'mkdir /w; echo hi > /w/index.html; exec httpd -f -p 80 -h /w'];
    await kubectl.apply(pod('server', serve, { nodeName: 'node-2', terminationGracePeriodSeconds: 0 }));
    await kubectl.apply(pod('client', SLEEP, { nodeName: 'node-1' }));
    await kubectl.run('wait', '--for=condition=Ready', 'pod/server', 'pod/client', '--timeout=120s');
    const ip = await kubectl.run('get', 'pod', 'server', '-o', 'jsonpath={.status.podIP}');
    expect(await kubectl.run('exec', 'client', '--', 'timeout', '10', 'wget', '-qO-', `http://${ip}/`)).toBe('hi\n');
    // The API server is on the host.
    const proxied = '/api/v1/namespaces/default/pods/server/proxy/';
    expect(await kubectl.run('get', '--raw', proxied)).toBe('hi\n');

    await first.lab('node', 'rm', 'node-2');
    expect(await execOk(systemExec, 'ip', ['route', 'show', 'via', joined.ip])).toBe('');
    expect((await first.status()).nodes.map((n) => n.name)).toEqual(['node-1']);
    expect((await kubectl.result(['get', 'node', 'node-2'])).stderr).toContain('nodes "node-2" not found');
    expect((await processesOf(first.dir)).filter((p) => p.includes('node-2'))).toEqual([]);
  });

  test('load gives nodes an image that no registry has', async () => {
    const tar = path.join(second.dir, 'hello.tar');
    const image = 'example.local/hello:1';
    const busybox = { kind: 'file', path: 'echo', content: await readFile('/bin/busybox'), mode: 0o755 } as const;
    const config = { Entrypoint: ['/echo', 'hello'], Env: [] };
    await writeFile(tar, dockerArchive({ names: [image], entries: [busybox], config }));
    await second.lab('load', tar);
    const kubectl = await second.kubectl();
    const containers = [{ name: 'main', image, imagePullPolicy: 'Never' }];
    await kubectl.apply(pod('loaded', SLEEP, { containers, restartPolicy: 'Never' }));
    await kubectl.until('pod/loaded', '{.status.phase}', /^Succeeded$/);
    expect(await kubectl.run('logs', 'loaded')).toBe('hello\n');
    const wrong = await second.labResult('load', '/nonesuch.tar');
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain('/nonesuch.tar');
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('in the foreground, %s takes everything down', async (signal) => {
    const before = await snapshotHost();
    const root = await mkdtemp(path.join(tmpdir(), 'nodelet-e2e-'));
    const dir = path.join(root, 'lab');
    try {
      const args = ['lab', 'up', '--nodes=1', `--port=${await freePort()}`, `--dir=${dir}`];
      const child = spawn(NODELET, args, { env: { ...process.env, [LAB_MARK_ENV]: dir } });
      await using lab = new Followed(child, 'nodelet lab up');
      await lab.untilLine(/^node-1\s+yes\s/);
      await lab.untilLine(/^export KUBECONFIG=/);
      await lab.untilLine(/^Ctrl-C takes it down\.$/);
      lab.signal(signal);
      await lab.ended();
      expect(lab.output).toMatch(/lab down \(\d/);
      expect(await findLeaks(before, dir)).toEqual([]);
      expect(await readdir(root)).toEqual([]);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });

  test('interrupted while it comes up, it takes down what it had made', async () => {
    const before = await snapshotHost();
    const root = await mkdtemp(path.join(tmpdir(), 'nodelet-e2e-'));
    const dir = path.join(root, 'lab');
    try {
      const args = ['lab', 'up', '--nodes=1', `--port=${await freePort()}`, `--dir=${dir}`];
      const child = spawn(NODELET, args, { env: { ...process.env, [LAB_MARK_ENV]: dir } });
      await using lab = new Followed(child, 'nodelet lab up');
      await lab.untilLine(/✓ network/);
      lab.signal('SIGINT');
      expect((await lab.ended()).code).not.toBe(0);
      expect(await findLeaks(before, dir)).toEqual([]);
      expect(await readdir(root)).toEqual([]);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });

  test('killed and forgotten, `lab down` still finds everything', async () => {
    const before = await snapshotHost();
    const root = await mkdtemp(path.join(tmpdir(), 'nodelet-e2e-'));
    const dir = path.join(root, 'lab');
    try {
      const args = ['lab', 'up', '--nodes=1', `--port=${await freePort()}`, `--dir=${dir}`];
      const child = spawn(NODELET, args, { env: { ...process.env, [LAB_MARK_ENV]: dir } });
      await using lab = new Followed(child, 'nodelet lab up');
      await lab.untilLine(/✓ API server/);
      lab.signal('SIGKILL');
      await lab.ended();
      const down = new Followed(spawn(NODELET, ['lab', 'down', `--dir=${dir}`]), 'nodelet lab down');
      expect((await down.ended()).code).toBe(0);
      expect(await findLeaks(before, dir)).toEqual([]);
      expect(await readdir(root)).toEqual([]);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
});
