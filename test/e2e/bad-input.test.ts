// What a user gets wrong, and what is said about it: manifests that are refused, pods that cannot start and recover,
// commands that cannot run.

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemExec } from '../../host/exec.ts';
import { freePort, labMissing, NODELET, nodelet, TestCluster } from '../harness/cluster.ts';
import { findLeaks, snapshotHost } from '../harness/host-snapshot.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { IMAGE, pod, SLEEP } from '../harness/manifests.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`bad input tests are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('bad input', () => {
  let cluster: TestCluster;
  let kubectl: Kubectl;
  let scratch: string;

  beforeAll(async () => {
    scratch = await mkdtemp(path.join(tmpdir(), 'nodelet-bad-'));
    cluster = await TestCluster.start({ nodes: 1 });
    kubectl = await cluster.kubectl();
  });
  afterAll(async () => {
    await rm(scratch, { recursive: true, force: true });
    await cluster?.[Symbol.asyncDispose]();
  });

  const refusedText = (manifest: object): Promise<string> =>
    kubectl.refused(JSON.stringify(manifest), 'create', '-f', '-');
  const service = (name: string, ports: readonly object[]) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { ports },
  });
  const deployment = (name: string, selector: object, labels: object) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas: 0,
      selector: { matchLabels: selector },
      template: { metadata: { labels }, spec: pod(name).spec },
    },
  });
  const container = (fields: object) => pod('refused', [], { containers: [{ name: 'main', image: IMAGE, ...fields }] });

  describe.concurrent('a manifest that is refused', () => {
    const cases: readonly (readonly [string, object, string])[] = [
      [
        'unknown field',
        container({ comand: ['x'] }),
        'Error from server (BadRequest): error when creating "STDIN": Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].comand"\n',
      ],
      [
        'missing image',
        container({ image: undefined }),
        'The Pod "refused" is invalid: spec.containers[0].image: Required value\n',
      ],
      [
        'duplicate port',
        service('refused', [
          { name: 'a', port: 80 },
          { name: 'b', port: 80 },
        ]),
        'The Service "refused" is invalid: spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}\n',
      ],
      [
        'duplicate name of a container port',
        container({
          ports: [
            { name: 'a', containerPort: 80 },
            { name: 'a', containerPort: 81 },
          ],
        }),
        'The Pod "refused" is invalid: spec.containers[0].ports[1].name: Duplicate value: "a"\n',
      ],
      [
        'mount of a volume that is not there',
        container({ volumeMounts: [{ name: 'v', mountPath: '/v' }] }),
        'The Pod "refused" is invalid: spec.containers[0].volumeMounts[0].name: Not found: "v"\n',
      ],
      [
        'selector that does not match',
        deployment('refused', { a: 'b' }, { a: 'c' }),
        'The Deployment "refused" is invalid: spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not match template `labels`\n',
      ],
      [
        'namespace that is not there',
        { ...pod('refused'), metadata: { name: 'refused', namespace: 'nowhere' } },
        'Error from server (NotFound): error when creating "STDIN": namespaces "nowhere" not found\n',
      ],
      [
        'runtime class that is not there',
        pod('refused', SLEEP, { runtimeClassName: 'kata' }),
        'Error from server (Forbidden): error when creating "STDIN": pods "refused" is forbidden: pod rejected: RuntimeClass "kata" not found\n',
      ],
    ];
    test.each(cases)('%s', async (_what, manifest, text) => {
      expect(await refusedText(manifest)).toBe(text);
    });

    test('bad name', async () => {
      expect(await refusedText(pod('Bad_Name'))).toMatch(
        /^The Pod "Bad_Name" is invalid: metadata\.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of/,
      );
    });

    test('wrong type', async () => {
      expect(await refusedText(container({ ports: [{ containerPort: 'eighty' }] }))).toMatch(
        /^Error from server \(BadRequest\): .*json: cannot unmarshal string into Go struct field .*containerPort of type int/,
      );
    });

    test('several faults, all told at once', async () => {
      const text = await refusedText(
        container({
          livenessProbe: { httpGet: { port: 99_999 } },
          resources: { limits: { cpu: '1' }, requests: { cpu: '2' } },
        }),
      );
      expect(text).toContain(
        '* spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
      );
      expect(text).toContain(
        '* spec.containers[0].livenessProbe.httpGet.port: Invalid value: 99999: must be between 1 and 65535, inclusive',
      );
    });

    test('immutable changes', async () => {
      const fixed = pod('fixed', SLEEP, { nodeName: 'no-such-node' });
      await kubectl.apply(fixed);
      const changed = { ...fixed, spec: { ...fixed.spec, hostname: 'other' } };
      expect(await kubectl.refused(JSON.stringify(changed), 'apply', '-f', '-')).toMatch(
        /^The Pod "fixed" is invalid: spec: Forbidden: pod updates may not change fields other than `spec\.containers\[\*\]\.image`/,
      );
      await kubectl.apply(deployment('fixed', { a: 'b' }, { a: 'b', c: 'd' }));
      const patch = '{"spec":{"selector":{"matchLabels":{"c":"d"}}}}';
      expect(await kubectl.refused(undefined, 'patch', 'deployment', 'fixed', '-p', patch)).toContain(
        'spec.selector: Invalid value: {"matchLabels":{"a":"b","c":"d"}}: field is immutable',
      );
      await kubectl.run('delete', 'pod', 'fixed', '--force', '--grace-period=0');
    });

    test('what is not there', async () => {
      expect(await kubectl.refused(undefined, 'get', 'pods', 'nothere')).toBe(
        'Error from server (NotFound): pods "nothere" not found\n',
      );
      expect(await kubectl.refused(undefined, 'get', 'ponds')).toBe(
        `error: the server doesn't have a resource type "ponds"\n`,
      );
    });
  });

  describe.concurrent('a pod that cannot start', () => {
    const WAITING = '{.status.containerStatuses[0].state.waiting.reason}';
    const MESSAGE = 'jsonpath={.status.containerStatuses[0].state.waiting.message}';
    const RUNNING = '{.status.containerStatuses[0].ready}';

    const untilEvent = async (name: string, pattern: RegExp) => {
      await using events = kubectl.follow('get', 'events', '--watch', `--field-selector=involvedObject.name=${name}`);
      return await events.untilLine(pattern);
    };

    test('missing ConfigMap of an environment: CreateContainerConfigError, until it comes', async () => {
      const env = [{ name: 'COLOUR', valueFrom: { configMapKeyRef: { name: 'env-colours', key: 'one' } } }];
      const containers = [
        { ...pod('x').spec!.containers[0]!, env, envFrom: [{ configMapRef: { name: 'env-colours' } }] },
      ];
      await kubectl.apply(pod('no-env', SLEEP, { containers }));
      await kubectl.until('pod/no-env', WAITING, /^CreateContainerConfigError$/);
      expect(await kubectl.run('get', 'pod', 'no-env', '-o', MESSAGE)).toBe('configmap "env-colours" not found');
      await untilEvent('no-env', /Warning\s+Failed\s+pod\/no-env\s+Error: configmap "env-colours" not found/);
      await kubectl.run('create', 'configmap', 'env-colours', '--from-literal=two=red');
      await untilEvent('no-env', /Warning\s+Failed\s.*couldn't find key one in ConfigMap default\/env-colours/);
      await kubectl.run('patch', 'configmap', 'env-colours', '-p', '{"data":{"one":"blue"}}');
      await kubectl.until('pod/no-env', RUNNING, /^true$/);
      expect(await kubectl.run('exec', 'no-env', '--', 'sh', '-c', 'echo $COLOUR $two')).toBe('blue red\n');
    });

    test('missing ConfigMap of a volume: ContainerCreating with FailedMount, until it comes', async () => {
      const volumes = [{ name: 'v', configMap: { name: 'volume-colours' } }];
      const containers = [{ ...pod('x').spec!.containers[0]!, volumeMounts: [{ name: 'v', mountPath: '/v' }] }];
      await kubectl.apply(pod('no-volume', SLEEP, { containers, volumes }));
      await untilEvent(
        'no-volume',
        /Warning\s+FailedMount\s.*MountVolume\.SetUp failed for volume "v" : configmap "volume-colours" not found/,
      );
      await kubectl.until('pod/no-volume', WAITING, /^ContainerCreating$/);
      await kubectl.run('create', 'configmap', 'volume-colours', '--from-literal=one=green');
      await kubectl.until('pod/no-volume', RUNNING, /^true$/);
      expect(await kubectl.run('exec', 'no-volume', '--', 'cat', '/v/one')).toBe('green');
    });

    test('bad command: RunContainerError and CrashLoopBackOff', async () => {
      await using seen = kubectl.follow('get', 'pods', '--watch', '--field-selector=metadata.name=no-command');
      await kubectl.apply(pod('no-command', ['/nonesuch']));
      await seen.untilLine(/\sRunContainerError\s/);
      await untilEvent(
        'no-command',
        /Warning\s+Failed\s.*exec: "\/nonesuch": stat \/nonesuch: no such file or directory/,
      );
      await kubectl.until('pod/no-command', WAITING, /^CrashLoopBackOff$/);
      expect(await kubectl.run('get', 'pod', 'no-command')).toMatch(/\s0\/1\s+(CrashLoopBackOff|RunContainerError)\s/);
    });

    test('bad image name: InvalidImageName, until it is mended', async () => {
      const containers = [{ ...pod('x').spec!.containers[0]!, image: 'Bad//Image' }];
      await kubectl.apply(pod('bad-image', SLEEP, { containers }));
      await kubectl.until('pod/bad-image', WAITING, /^InvalidImageName$/);
      await untilEvent('bad-image', /Warning\s+InspectFailed\s.*Failed to apply default image tag "Bad\/\/Image"/);
      await kubectl.run('set', 'image', 'pod/bad-image', `main=${IMAGE}`);
      await kubectl.until('pod/bad-image', RUNNING, /^true$/);
    });

    test('missing image: ErrImagePull and ImagePullBackOff, until it is mended', async () => {
      // Nobody listens there: the registry's refusal comes at once, without a name to look up.
      const image = '127.0.0.1:1/nothing:1';
      const containers = [{ ...pod('x').spec!.containers[0]!, image }];
      await using seen = kubectl.follow('get', 'pods', '--watch', '--field-selector=metadata.name=no-image');
      await kubectl.apply(pod('no-image', SLEEP, { containers }));
      await seen.untilLine(/\sErrImagePull\s/);
      await seen.untilLine(/\sImagePullBackOff\s/);
      await untilEvent('no-image', /Warning\s+Failed\s.*Failed to pull image "127\.0\.0\.1:1\/nothing:1": /);
      await untilEvent('no-image', /Normal\s+BackOff\s.*Back-off pulling image "127\.0\.0\.1:1\/nothing:1"/);
      await kubectl.run('set', 'image', 'pod/no-image', `main=${IMAGE}`);
      await kubectl.until('pod/no-image', RUNNING, /^true$/);
    });

    test('runtime class whose handler the runtime lacks: FailedCreatePodSandBox, until it has one', async () => {
      const runtimeClass = { apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name: 'absent' } };
      await kubectl.apply({ ...runtimeClass, handler: 'absent' });
      await kubectl.apply(pod('no-runtime', SLEEP, { runtimeClassName: 'absent' }));
      await untilEvent('no-runtime', /Warning\s+FailedCreatePodSandBox\s.*no runtime for "absent" is configured/);
      await kubectl.until('pod/no-runtime', WAITING, /^ContainerCreating$/);
      await kubectl.run('delete', 'runtimeclass', 'absent');
      await kubectl.apply({ ...runtimeClass, handler: 'runc' });
      await kubectl.until('pod/no-runtime', RUNNING, /^true$/);
    });
  });

  describe.concurrent('a command that cannot run says why in one line', () => {
    const expectFailure = async (args: readonly string[], text: RegExp) => {
      const r = await nodelet(args, cluster.dir);
      expect(r.stderr).toMatch(text);
      expect(r.code).toBe(1);
      expect(r.stderr).not.toMatch(/^\s+at /m);
      const told = r.stderr
        .trimEnd()
        .split('\n')
        .filter((line) => !line.startsWith('{')); // less what is logged
      expect(told.length).toBeLessThanOrEqual(2); // the fault, and what to do
    };
    const agent = (...more: readonly string[]) => [
      'agent',
      `--kubeconfig=${cluster.kubeconfig}`,
      '--cluster-cidr=10.244.0.0/16',
      '--fail-cgroupv1=false', // else that is what is said on such hosts
      `--root-dir=${path.join(scratch, 'kubelet')}`,
      ...more,
    ];

    test('unknown flag', () => expectFailure(agent('--no-such-flag'), /unknown (option|flag).*--no-such-flag/));
    test('unknown flag of lab', () => expectFailure(['lab', 'up', '--nods=2'], /unknown option '--nods=2'/));
    test('value out of range', () =>
      expectFailure(['lab', 'up', '--nodes=0'], /--nodes.*expected a whole number from 1/));

    test('kubeconfig that is not there', () =>
      expectFailure(agent('--kubeconfig=/nonesuch/kubeconfig'), /\/nonesuch\/kubeconfig/));

    test('kubeconfig that is not one', async () => {
      const file = path.join(scratch, 'kubeconfig');
      await writeFile(file, 'apiVersion: v1\nclusters: [oops');
      await expectFailure(agent(`--kubeconfig=${file}`), new RegExp(file));
    });

    test('runtime socket that is not there: nothing was changed', async () => {
      const before = await snapshotHost();
      const socket = '/nonesuch/containerd.sock';
      const args = [`--container-runtime-endpoint=unix://${socket}`, '--hostname-override=ghost'];
      await expectFailure(agent(...args), new RegExp(socket));
      expect(await findLeaks(before, path.join(scratch, 'kubelet'))).toEqual([]);
    });

    test('lab that is not there', () =>
      expectFailure(['lab', 'status', `--dir=${scratch}/nolab`], /there is no lab in .*\/nolab/));

    test('node that is not there', () =>
      expectFailure(['lab', 'node', 'stop', 'node-9', `--dir=${cluster.dir}`], /the lab has no node node-9/));

    test('a second lab in the same directory', async () => {
      await expectFailure(
        ['lab', 'up', '--detach', `--port=${await freePort()}`, `--dir=${cluster.dir}`],
        /a lab is running in/,
      );
      expect((await cluster.status()).nodes[0]?.ready).toBe(true);
    });

    test('port in use: nothing was changed', async () => {
      const server = createServer();
      const dir = path.join(scratch, 'port');
      await new Promise<void>((resolve) => server.listen(0, resolve));
      const { port } = server.address() as { port: number };
      const before = await snapshotHost();
      await expectFailure(
        ['lab', 'up', '--detach', `--port=${port}`, `--dir=${dir}`],
        new RegExp(`port ${port} is in use`),
      );
      await new Promise<void>((resolve) => server.close(() => resolve()));
      expect(await readdir(scratch)).not.toContain('port');
      expect(await findLeaks(before, dir)).toEqual([]);
    });

    test.each(['lab up', 'agent'])('no root for %s: nothing was changed', async (command) => {
      const dir = path.join(scratch, 'rootless');
      // Another user cannot read the checkout everywhere: it keeps the right to read, and nothing else of root's.
      const drop = [
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        '--inh-caps=-all,+dac_read_search',
        '--ambient-caps=-all,+dac_read_search',
      ];
      const args = command === 'agent' ? agent() : ['lab', 'up', `--dir=${dir}`];
      const r = await systemExec('setpriv', [...drop, NODELET, ...args], { timeoutMs: 60_000 });
      expect(r.stderr).toMatch(/root/);
      expect(r.stderr).toContain('nothing was changed');
      expect(r.stderr).not.toMatch(/^\s+at /m);
      expect(r.code).toBe(1);
      expect(await readdir(scratch)).not.toContain('rootless');
    });
  });

  test('none of it reached the node: it is Ready and has no pod of a refused manifest', async () => {
    expect(await kubectl.run('get', 'pods', 'refused', '--ignore-not-found')).toBe('');
    expect(await kubectl.run('get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}')).toBe('node-1');
  });
});
