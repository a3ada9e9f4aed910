// What a user does to pods that run: looks into them, changes them, copies to and from them, gets rid of them. With the
// newest kubectl; that older ones get the same answers is shown in kubectl.test.ts.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { labMissing, TestCluster } from '../harness/cluster.ts';
import { until } from '../harness/fault-node.ts';
import { findKubectl, type Kubectl } from '../harness/kubectl.ts';
import { IMAGE, pod, SLEEP } from '../harness/manifests.ts';

const NODE = 'node-1';
/** With a tag, so that it is not pulled. */
const TAGGED = `${IMAGE}:1.36`;
const found = labMissing() === undefined ? await findKubectl('1.36') : { missing: labMissing()! };
if ('missing' in found) console.warn(`kubectl tests of a user are skipped: ${found.missing}`);

describe.skipIf('missing' in found).concurrent('a user with kubectl', () => {
  let cluster: TestCluster;
  let kubectl: Kubectl;
  let scratch: string;

  beforeAll(async () => {
    scratch = await mkdtemp(path.join(tmpdir(), 'nodelet-kubectl-'));
    cluster = await TestCluster.start({ nodes: 1 });
    kubectl = (await cluster.kubectl('1.36')).in('user');
    await kubectl.run('create', 'namespace', 'user');
  });
  afterAll(async () => {
    await rm(scratch, { recursive: true, force: true });
    await cluster?.[Symbol.asyncDispose]();
  });

  const start = async (manifest: Pod): Promise<Pod> => {
    const name = manifest.metadata!.name!;
    await kubectl.apply(manifest);
    await kubectl.run('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s');
    return await kubectl.json<Pod>('get', 'pod', name);
  };
  const mainOf = (p: Pod) => p.status!.containerStatuses!.find((c) => c.name === 'main')!;
  /** Ids of running tasks of the node's runtime. */
  const tasks = async () => (await cluster.ctr(NODE, 'tasks', 'list', '--quiet')).split('\n');

  test('debug puts a container beside the processes of another, which does not notice', async () => {
    const before = await start(pod('looked-at'));
    const script = 'ps -o args; cat /proc/1/root/etc/hostname';
    await kubectl.run(
      'debug',
      'looked-at',
      `--image=${TAGGED}`,
      '--container=look',
      '--target=main',
      '--',
      'sh',
      '-c',
      script,
    );
    const status = '{.status.ephemeralContainerStatuses[?(@.name=="look")].state.terminated.reason}';
    await kubectl.until('pod/looked-at', status, /^Completed$/);
    const seen = await kubectl.run('logs', 'looked-at', '--container=look');
    expect(seen).toContain('sleep 1000000');
    expect(seen).toMatch(/^looked-at$/m);
    const after = await kubectl.json<Pod>('get', 'pod', 'looked-at');
    expect(mainOf(after)).toMatchObject({ containerID: mainOf(before).containerID, restartCount: 0, ready: true });
    expect(await kubectl.run('describe', 'pod', 'looked-at')).toMatch(/Ephemeral Containers:\n {2}look:\n/);
  });

  test('debug -i gives a shell in it', async () => {
    await start(pod('shelled'));
    const args = ['debug', 'shelled', '-i', '--quiet', `--image=${TAGGED}`, '--container=shell', '--', 'sh'];
    await using shell = kubectl.follow(...args);
    shell.write('echo "this is $(hostname)"\n');
    await shell.untilLine(/^this is shelled$/);
    shell.write('exit\n'); // the end of input would only detach
    expect(await shell.ended()).toMatchObject({ code: 0 });
  });

  test('debug --copy-to makes another pod of it, with another image and a view of all processes', async () => {
    const original = await start(pod('original'));
    await kubectl.run('debug', 'original', '--copy-to=copy', `--set-image=main=${TAGGED}`, '--share-processes');
    await kubectl.run('wait', '--for=condition=Ready', 'pod/copy', '--timeout=120s');
    const copy = await kubectl.json<Pod>('get', 'pod', 'copy');
    expect(copy.spec).toMatchObject({ shareProcessNamespace: true, containers: [{ name: 'main', image: TAGGED }] });
    expect(await kubectl.run('exec', 'copy', '--', 'ps', '-o', 'args')).toContain('/pause');
    expect(mainOf(await kubectl.json<Pod>('get', 'pod', 'original')).containerID).toBe(mainOf(original).containerID);
  });

  test('debug node shows the files of the node', async () => {
    const out = await kubectl.run(
      'debug',
      `node/${NODE}`,
      `--image=${TAGGED}`,
      '--',
      'cat',
      '/host/etc/debian_version',
    );
    const name = /node-debugger-\S+/.exec(out)![0];
    await kubectl.until(`pod/${name}`, '{.status.phase}', /^Succeeded$/);
    expect(await kubectl.run('logs', name)).toBe(await readFile('/etc/debian_version', 'utf8'));
    await kubectl.run('delete', 'pod', name);
  });

  test('set image of a pod starts that container anew in the same pod', async () => {
    const two = pod('changed');
    two.spec!.containers.push({ ...two.spec!.containers[0]!, name: 'other' });
    const before = await start(two);
    await kubectl.run('set', 'image', 'pod/changed', `main=${TAGGED}`);
    const restarts = '{.status.containerStatuses[?(@.name=="main")].restartCount}';
    await kubectl.until('pod/changed', restarts, /^1$/);
    await kubectl.run('wait', '--for=condition=Ready', 'pod/changed', '--timeout=120s');
    const after = await kubectl.json<Pod>('get', 'pod', 'changed');
    expect(after.metadata!.uid).toBe(before.metadata!.uid);
    expect(after.status!.podIP).toBe(before.status!.podIP);
    expect(mainOf(after)).toMatchObject({ lastState: { terminated: { containerID: mainOf(before).containerID } } });
    const other = after.status!.containerStatuses!.find((c) => c.name === 'other')!;
    expect(other.restartCount).toBe(0);
    const events = [
      'get',
      'events',
      '--field-selector=involvedObject.name=changed',
      '-o',
      'jsonpath={.items[*].message}',
    ];
    expect(await kubectl.run(...events)).toContain('Container main definition changed, will be restarted');
  });

  test('a changed ConfigMap reaches the volume of a running pod, but not a file that is mounted alone', async () => {
    const settings = (colour: string) => ({
      ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' } },
      data: { colour, [`key-${colour}`]: 'here' },
    });
    await kubectl.apply(settings('green'));
    const reader = pod('reader', SLEEP, { volumes: [{ name: 'settings', configMap: { name: 'settings' } }] });
    reader.spec!.containers[0]!.volumeMounts = [
      { name: 'settings', mountPath: '/settings' },
      { name: 'settings', mountPath: '/alone', subPath: 'colour' },
    ];
    const before = await start(reader);
    // The last that is done for a change is that names go which are no more.
    const isOld = '[ "$(cat /settings/colour)" != blue ] || [ -L /settings/key-green ]';
    const script = `while ${isOld}; do sleep 0.1; done; ls /settings; cat /alone`;
    await using waiting = kubectl.follow('exec', 'reader', '--', 'sh', '-c', `echo begun; ${script}`);
    await waiting.untilLine(/^begun$/);
    await kubectl.apply(settings('blue'));
    expect(await waiting.ended()).toMatchObject({ code: 0 });
    expect(waiting.output).toBe('begun\ncolour\nkey-blue\ngreen');
    expect(mainOf(await kubectl.json<Pod>('get', 'pod', 'reader')).containerID).toBe(mainOf(before).containerID);
  });

  test('delete --force does not wait for a pod that does not want to go, and its name is free at once', async () => {
    const stubborn = () =>
      pod('stubborn', ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'], { terminationGracePeriodSeconds: 3600 });
    const first = await start(stubborn());
    const forced = await kubectl.result(['delete', 'pod', 'stubborn', '--grace-period=0', '--force']);
    expect(forced).toMatchObject({ code: 0 });
    expect(forced.stderr).toContain('Immediate deletion does not wait for confirmation');
    const second = await start(stubborn());
    expect(second.metadata!.uid).not.toBe(first.metadata!.uid);
    const id = mainOf(first).containerID!.replace('containerd://', '');
    const left = await until(tasks, (ids) => !ids.includes(id), 60_000);
    expect(left).not.toContain(id);
    expect(left).toContain(mainOf(second).containerID!.replace('containerd://', ''));
    await kubectl.run('delete', 'pod', 'stubborn', '--grace-period=0', '--force');
  });

  test('cp of a directory into a volume that another container shows, and back', async () => {
    const shared = pod('shared', SLEEP, { volumes: [{ name: 'data', emptyDir: {} }] });
    const main = { ...shared.spec!.containers[0]!, volumeMounts: [{ name: 'data', mountPath: '/data' }] };
    shared.spec!.containers = [
      main,
      { ...main, name: 'other', volumeMounts: [{ name: 'data', mountPath: '/elsewhere' }] },
    ];
    await start(shared);
    const sent = path.join(scratch, 'sent');
    await mkdir(path.join(sent, 'below'), { recursive: true });
    await writeFile(path.join(sent, 'one file'), 'one\n');
    await writeFile(path.join(sent, 'below', 'two'), Buffer.alloc(100_000, 7));
    await kubectl.run('cp', sent, 'shared:/data/tree', '--container=main');
    const list = await kubectl.run(
      'exec',
      'shared',
      '--container=other',
      '--',
      'sh',
      '-c',
      'cd /elsewhere/tree; find . -type f | sort',
    );
    expect(list).toBe('./below/two\n./one file\n');
    const back = path.join(scratch, 'back');
    await kubectl.run('cp', 'shared:/elsewhere/tree', back, '--container=other');
    expect((await readdir(back, { recursive: true })).sort()).toEqual(['below', 'below/two', 'one file']);
    expect(await readFile(path.join(back, 'below', 'two'))).toEqual(Buffer.alloc(100_000, 7));
  });
});
