// What a user does with kubectl, in three versions of it, against a lab of two nodes.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { labMissing, TestCluster } from '../harness/cluster.ts';
import { findKubectl, KUBECTL_VERSIONS, type Kubectl } from '../harness/kubectl.ts';
import { IMAGE, pod, SLEEP } from '../harness/manifests.ts';

const WEB = path.resolve(import.meta.dirname, '../../deploy/examples/web.yaml');
const missing = labMissing();
if (missing !== undefined) console.warn(`kubectl tests are skipped: ${missing}`);
const kubectls = await Promise.all(
  KUBECTL_VERSIONS.map(async (version) => {
    const found = missing === undefined ? await findKubectl(version) : { missing };
    if ('missing' in found) console.warn(`kubectl ${version} is skipped: ${found.missing}`);
    return { version, skip: 'missing' in found };
  }),
);

describe.skipIf(missing !== undefined)('kubectl', () => {
  let cluster: TestCluster;
  let scratch: string;

  beforeAll(async () => {
    scratch = await mkdtemp(path.join(tmpdir(), 'nodelet-kubectl-'));
    cluster = await TestCluster.start();
  });
  afterAll(async () => {
    await rm(scratch, { recursive: true, force: true });
    await cluster?.[Symbol.asyncDispose]();
  });

  for (const { version, skip } of kubectls) {
    const namespace = `v${version.replace('.', '-')}`;

    describe.skipIf(skip).concurrent(version, () => {
      let kubectl: Kubectl;

      beforeAll(async () => {
        kubectl = (await cluster.kubectl(version)).in(namespace);
        await kubectl.run('create', 'namespace', namespace);
      });

      const start = async (name: string, command?: readonly string[]) => {
        await kubectl.apply(pod(name, command));
        await kubectl.run('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s');
      };

      test('get nodes -o wide has the columns of Kubernetes', async () => {
        const [head, ...rows] = (await kubectl.run('get', 'nodes', '-o', 'wide')).trimEnd().split('\n');
        expect(head!.split(/\s{2,}/).map((c) => c.trim())).toEqual([
          ...['NAME', 'STATUS', 'ROLES', 'AGE', 'VERSION', 'INTERNAL-IP', 'EXTERNAL-IP', 'OS-IMAGE'],
          ...['KERNEL-VERSION', 'CONTAINER-RUNTIME'],
        ]);
        expect(rows).toHaveLength(2);
        for (const row of rows) {
          expect(row).toMatch(
            /^node-[12]\s+Ready\s+<none>\s+\d+[sm]\S*\s+v1\.36\.\d+\s+172\.29\.\d+\.\d+\s+<none>\s+\S.*/,
          );
          expect(row).toMatch(/containerd:\/\/\d+\.\d+\.\d+\S*$/);
        }
      });

      test('run, logs and get of a pod that completes', async () => {
        const args = ['--image', IMAGE, '--image-pull-policy=IfNotPresent', '--restart=Never'];
        expect(await kubectl.run('run', 'once', ...args, '--', 'echo', 'done')).toBe('pod/once created\n');
        await kubectl.until('pod/once', '{.status.phase}', /^Succeeded$/);
        expect(await kubectl.run('logs', 'once')).toBe('done\n');
        expect(await kubectl.run('get', 'pod', 'once')).toMatch(
          /^NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\nonce\s+0\/1\s+Completed\s+0\s+\d+s\n$/,
        );
      });

      test('run -i hands input to the container and prints its answer', async () => {
        const args = ['--image', IMAGE, '--image-pull-policy=IfNotPresent', '--restart=Never', '--rm', '--stdin'];
        // Waits for its input: whatever of it is written before kubectl has attached would only be in the log.
        const out = await kubectl.runWith(
          { input: 'hello\n' },
          'run',
          'echo',
          ...args,
          '--',
          'sh',
          '-c',
          'read a; echo "got $a"; sleep 1',
        );
        expect(out).toContain('got hello');
        expect(out).toContain('pod "echo" deleted');
      });

      test('get pods --watch shows a pod from Pending to Terminating', async () => {
        await using watch = kubectl.follow(
          'get',
          'pods',
          '-o',
          'wide',
          '--watch',
          '--field-selector=metadata.name=watched',
        );
        // Each state lasts until the watch has shown it: a pod without anything to wait for is Running at once.
        const volumes = [{ name: 'late', configMap: { name: 'late' } }];
        const label = `watched-${namespace}`; // the other versions do the same at the same time
        const watched = pod('watched', SLEEP, { nodeSelector: { [label]: 'yes' }, volumes });
        watched.spec!.containers[0]!.volumeMounts = [{ name: 'late', mountPath: '/late' }]; // else nobody waits for it
        await kubectl.apply(watched);
        await watch.untilLine(/^watched\s+0\/1\s+Pending\s/);
        await kubectl.run('label', 'node', 'node-1', `${label}=yes`);
        await watch.untilLine(/^watched\s+0\/1\s+ContainerCreating\s/);
        await kubectl.run('create', 'configmap', 'late');
        await watch.untilLine(/^watched\s+1\/1\s+Running\s+0\s+\d+s\s+10\.\d+\.\d+\.\d+\s+node-1\s+<none>\s+<none>/);
        await kubectl.run('label', 'node', 'node-1', `${label}-`);
        await kubectl.run('delete', 'configmap', 'late');
        await kubectl.run('delete', 'pod', 'watched');
        await watch.untilLine(/^watched\s+\S+\s+(Terminating|Completed)/);
        expect(watch.lines[0]).toMatch(
          /^NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\s+IP\s+NODE\s+NOMINATED NODE\s+READINESS GATES/,
        );
      });

      test('describe pod and node, with Events', async () => {
        await start('described');
        await using events = kubectl.follow(
          'get',
          'events',
          '--watch',
          '--field-selector=involvedObject.name=described',
        );
        await events.untilLine(/\sStarted\s/); // they come a moment after the status
        const text = await kubectl.run('describe', 'pod', 'described');
        expect(text).toMatch(/^Status:\s+Running$/m);
        expect(text).toMatch(/^\s+Container ID:\s+containerd:\/\/[0-9a-f]{64}$/m);
        expect(text).toMatch(/^QoS Class:\s+BestEffort$/m);
        const told = text.slice(text.indexOf('\nEvents:'));
        for (const reason of ['Scheduled', 'Pulled', 'Created', 'Started']) {
          expect(told).toMatch(new RegExp(`^\\s+Normal\\s+${reason}\\s`, 'm'));
        }
        const node = await kubectl.run('describe', 'node', 'node-1');
        expect(node).toMatch(/^\s+Ready\s+True\s.*KubeletReady\s+kubelet is posting ready status/m);
        expect(node).toMatch(/^PodCIDR:\s+10\.\d+\.\d+\.0\/24$/m);
        expect(node).toMatch(/^\s+HolderIdentity:\s+node-1$/m);
        expect(node.slice(node.indexOf('\nEvents:'))).toMatch(/NodeReady/);
      });

      test('logs -f ends with the container; --tail, --timestamps and --previous', async () => {
        // Goes on when it is told to: nothing here waits for time to pass.
        // One pipe for each word: a reader of the next could still find the writer of the last, and then its end.
        const script = 'mkfifo /go /end; echo one; echo two; read x < /go; echo three; read x < /end';
        await start('logged', ['sh', '-c', script]);
        await using logs = kubectl.follow('logs', '-f', 'logged');
        await logs.untilLine(/^two$/);
        await kubectl.run('exec', 'logged', '--', 'sh', '-c', 'echo > /go');
        await logs.untilLine(/^three$/);
        expect(await kubectl.run('logs', 'logged', '--tail=1')).toBe('three\n');
        expect(await kubectl.run('logs', 'logged', '--tail=1', '--timestamps')).toMatch(
          /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z three\n$/,
        );
        // This ends the container, which may take the exec with it before it has ended itself.
        await kubectl.result(['exec', 'logged', '--', 'sh', '-c', 'echo > /end']);
        expect((await logs.ended()).code).toBe(0);
        expect(logs.output).toBe('one\ntwo\nthree\n');
        await kubectl.until('pod/logged', '{.status.containerStatuses[0].restartCount}', /^1$/);
        expect(await kubectl.run('logs', 'logged', '--previous')).toBe('one\ntwo\nthree\n');
      });

      test('exec: input, both outputs, exit code, terminal', async () => {
        await start('shell');
        const echoed = await kubectl.runWith({ input: 'over\n' }, 'exec', '-i', 'shell', '--', 'cat');
        expect(echoed).toBe('over\n');
        const failed = await kubectl.result(['exec', 'shell', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
        expect(failed).toMatchObject({ code: 3, stdout: 'out\n' });
        expect(failed.stderr).toBe('err\ncommand terminated with exit code 3\n');
        const big = await kubectl.runWith({ maxOutputBytes: 1 << 23 }, 'exec', 'shell', '--', 'seq', '1', '300000');
        expect(big.length).toBe(Array.from({ length: 300_000 }, (_, i) => `${i + 1}\n`).join('').length);

        await using terminal = kubectl.followOnTerminal('exec', '-it', 'shell', '--', 'sh');
        await terminal.until(() => (terminal.output.includes('#') ? true : undefined), 'a prompt');
        terminal.write('tty; echo $((6*7))\n');
        await terminal.untilLine(/^\/dev\/pts\/\d+\r?$/);
        await terminal.untilLine(/^42\r?$/);
        terminal.write('exit 5\n');
        expect((await terminal.ended()).code).toBe(5);
      });

      test('attach shows what the container writes from now on', async () => {
        await start('attached', ['sh', '-c', 'i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.1; done']);
        await using attached = kubectl.follow('attach', 'attached');
        await attached.untilLine(/^tick \d+$/);
      });

      test('cp copies files both ways', async () => {
        await start('copied');
        const content = 'nodelet\n'.repeat(40_000);
        const local = path.join(scratch, `${namespace}-sent`);
        const back = path.join(scratch, `${namespace}-back`);
        await writeFile(local, content);
        await kubectl.run('cp', local, 'copied:/tmp/file');
        await kubectl.run('cp', 'copied:/tmp/file', back);
        expect(await readFile(back, 'utf8')).toBe(content);
      });

      test('port-forward carries several requests', async () => {
        await start('served', ['sh', '-c', 'mkdir /w; echo hello > /w/index.html; exec httpd -f -p 8080 -h /w']);
        await using forward = kubectl.follow('port-forward', 'pod/served', ':8080');
        const line = await forward.untilLine(/^Forwarding from 127\.0\.0\.1:\d+ -> 8080$/);
        const url = `http://127.0.0.1:${/:(\d+) ->/.exec(line)![1]}/`;
        const answers = await Promise.all(Array.from({ length: 5 }, async () => await (await fetch(url)).text()));
        expect(answers).toEqual(Array.from({ length: 5 }, () => 'hello\n'));
      });

      test('label, annotate, wait, delete', async () => {
        await start('marked');
        expect(await kubectl.run('label', 'pod', 'marked', 'tier=gold')).toBe('pod/marked labeled\n');
        expect(await kubectl.run('get', 'pods', '-l', 'tier=gold', '-o', 'name')).toBe('pod/marked\n');
        expect((await kubectl.result(['label', 'pod', 'marked', 'tier=tin'])).stderr).toContain(
          "'tier' already has a value (gold), and --overwrite is false",
        );
        expect(await kubectl.run('annotate', 'pod', 'marked', 'note=a b')).toBe('pod/marked annotated\n');
        expect(await kubectl.run('get', 'pod', 'marked', '-o', 'jsonpath={.metadata.annotations.note}')).toBe('a b');
        const waiting = kubectl.result(['wait', '--for=delete', 'pod/marked', '--timeout=120s']);
        expect(await kubectl.run('delete', 'pod', 'marked')).toMatch(/^pod "marked" deleted/);
        const gone = await waiting;
        // The pod may be gone before the other program has looked for the first time, which old ones call an error.
        if (gone.code !== 0) expect(gone.stderr).toMatch(/pods "marked" not found|no matching resources found/);
        expect((await kubectl.result(['get', 'pod', 'marked'])).stderr).toBe(
          'Error from server (NotFound): pods "marked" not found\n',
        );
      });

      // Older ones know no subresource resize.
      test.skipIf(version === '1.20')('patch and edit of the subresource resize, and of it alone', async () => {
        const resources = { requests: { cpu: '100m' }, limits: { cpu: '150m' } };
        const waiting = pod('sized', SLEEP, { nodeSelector: { 'no-node': 'has-this' } });
        waiting.spec!.containers[0]!.resources = resources;
        await kubectl.apply(waiting);
        const patch = (wanted: object) =>
          JSON.stringify({ spec: { containers: [{ name: 'main', resources: wanted }] } });
        const resize = ['patch', 'pod', 'sized', '--subresource=resize', '-p'];
        expect(await kubectl.run(...resize, patch({ requests: { cpu: '120m' } }))).toBe('pod/sized patched\n');
        expect(await kubectl.refused(undefined, ...resize, patch({ limits: null }))).toContain(
          'spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed',
        );
        const plain = ['patch', 'pod', 'sized', '-p', patch({ requests: { cpu: '130m' } })];
        expect(await kubectl.refused(undefined, ...plain)).toContain(
          'spec: Forbidden: pod updates may not change fields',
        );
        const env = { KUBE_EDITOR: 'sed -i s/150m/200m/' };
        const edited = await kubectl.runWith({ env }, 'edit', 'pod', 'sized', '--subresource=resize');
        expect(edited).toBe('pod/sized edited\n');
        const shown = 'jsonpath={.metadata.generation} {.spec.containers[0].resources}';
        expect(await kubectl.run('get', 'pod', 'sized', '--subresource=resize', '-o', shown)).toBe(
          '3 {"limits":{"cpu":"200m"},"requests":{"cpu":"120m"}}',
        );
        await kubectl.run('delete', 'pod', 'sized');
      });

      test.skipIf(version !== '1.36')('limits of a namespace: defaults, a quota, a disruption budget', async () => {
        await kubectl.run('create', 'namespace', 'limited');
        const limited = kubectl.in('limited');
        const limits = [{ type: 'Container', default: { cpu: '60m' }, max: { cpu: '100m' } }];
        const range = { apiVersion: 'v1', kind: 'LimitRange', metadata: { name: 'l' }, spec: { limits } };
        await limited.apply(range);
        await limited.run('create', 'quota', 'q', '--hard=limits.cpu=100m,pods=5');
        await limited.until('quota/q', '{.status.used.pods}', /^0$/);
        await limited.run('create', 'poddisruptionbudget', 'b', '--selector=app=kept', '--min-available=1');
        await limited.apply(pod('kept'));
        expect(
          await limited.run('get', 'pod', 'kept', '-o', 'jsonpath={.spec.containers[0].resources.limits.cpu}'),
        ).toBe('60m');
        const second = await limited.refused(JSON.stringify(pod('second')), 'apply', '-f', '-');
        expect(second).toContain(
          'exceeded quota: q, requested: limits.cpu=60m, used: limits.cpu=60m, limited: limits.cpu=100m',
        );
        await limited.run('wait', '--for=condition=Ready', 'pod/kept', '--timeout=120s');
        await limited.until('pdb/b', '{.status.currentHealthy}', /^1$/);
        const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'kept' } };
        const evict = ['create', '--raw', '/api/v1/namespaces/limited/pods/kept/eviction', '-f', '-'];
        expect(await limited.refused(JSON.stringify(eviction), ...evict)).toContain('disruption budget');
        await limited.run('delete', 'pdb', 'b');
        await limited.runWith({ input: JSON.stringify(eviction) }, ...evict);
        await limited.run('wait', '--for=delete', 'pod/kept', '--timeout=120s');
        await limited.until('quota/q', '{.status.used.pods}', /^0$/);
      });

      test('create configmap, secret and deployment; set image, rollout, scale', async () => {
        await kubectl.run('create', 'configmap', 'settings', '--from-literal=colour=green');
        await kubectl.run('create', 'secret', 'generic', 'keys', '--from-literal=token=s3cret');
        expect(await kubectl.run('get', 'configmap', 'settings', '-o', 'jsonpath={.data.colour}')).toBe('green');
        expect(await kubectl.run('get', 'secret', 'keys')).toMatch(/^NAME\s+TYPE\s+DATA\s+AGE\nkeys\s+Opaque\s+1\s/);
        expect(await kubectl.run('get', 'secret', 'keys', '-o', 'jsonpath={.data.token}')).toBe('czNjcmV0');

        // Two commands make it a server; `create deployment -- command` came after 1.18.
        await kubectl.run('create', 'deployment', 'idle', `--image=${IMAGE}:1.36`, '--replicas=2', '--', 'httpd', '-f');
        expect(await kubectl.run('rollout', 'status', 'deployment/idle', '--timeout=120s')).toContain(
          'successfully rolled out',
        );
        const patch =
          '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1,"containers":[{"name":"busybox","imagePullPolicy":"IfNotPresent"}]}}}}';
        await kubectl.run('patch', 'deployment', 'idle', '-p', patch);
        await kubectl.run('set', 'image', 'deployment/idle', `busybox=${IMAGE}`);
        await kubectl.run('rollout', 'status', 'deployment/idle', '--timeout=120s');
        expect(await kubectl.run('get', 'deployment', 'idle', '-o', 'wide')).toMatch(
          /^NAME\s+READY\s+UP-TO-DATE\s+AVAILABLE\s+AGE\s+CONTAINERS\s+IMAGES\s+SELECTOR\nidle\s+2\/2\s+2\s+2\s+\S+\s+busybox\s+busybox\s+app=idle\n$/,
        );
        await kubectl.run('scale', 'deployment/idle', '--replicas=4');
        await kubectl.until('deployment/idle', '{.status.readyReplicas}', /^4$/);
        await kubectl.run('scale', 'deployment/idle', '--replicas=0');
        await kubectl.until('deployment/idle', '{.status.replicas}', /^0?$/);
      });

      test('auth can-i and api-resources', async () => {
        expect(await kubectl.run('auth', 'can-i', 'create', 'pods')).toBe('yes\n');
        const asNobody = await kubectl.result(['auth', 'can-i', 'create', 'pods', '--as=nobody']);
        expect(asNobody).toMatchObject({ code: 1, stdout: 'no\n' });
        expect(await kubectl.run('api-resources', '--namespaced=true', '-o', 'name')).toMatch(/^deployments\.apps$/m);
      });

      test('diff and a dry run show what apply would change, and change nothing', async () => {
        const manifest = (colour: string) =>
          JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'compared' }, data: { colour } });
        await kubectl.apply(manifest('green'));
        const { code, stdout } = await kubectl.result(['diff', '-f', '-'], { input: manifest('blue') });
        expect(code).toBe(1);
        expect(stdout).toMatch(/^-\s+colour: green\n\+\s+colour: blue$/m);
        const dry = ['apply', '--dry-run=server', '-f', '-'];
        expect(await kubectl.runWith({ input: manifest('blue') }, ...dry)).toBe(
          'configmap/compared configured (server dry run)\n',
        );
        expect(await kubectl.run('get', 'configmap', 'compared', '-o', 'jsonpath={.data.colour}')).toBe('green');
      });

      // Older ones ask for definitions in OpenAPI v2, which are left out.
      test.skipIf(version === '1.20')('explain tells the fields of a kind', async () => {
        expect(await kubectl.run('explain', 'deployment')).toMatch(/^ {2}spec\t<DeploymentSpec>$/m);
        const limits = await kubectl.run('explain', 'pod.spec.containers.resources');
        expect(limits).toMatch(/^FIELD: resources <ResourceRequirements>$/m);
        expect(limits).toMatch(/^ {2}limits\t<map\[string\]Quantity>$/m);
      });
    });
  }

  // One Service may have the node port, so one version after the other.
  test.for(kubectls)(
    'apply, rollout status and delete of deploy/examples/web.yaml with $version',
    async (each, ctx) => {
      if (each.skip) ctx.skip();
      const kubectl = await cluster.kubectl(each.version);
      expect(await kubectl.run('apply', '-f', WEB)).toBe('deployment.apps/web created\nservice/web created\n');
      const status = await kubectl.run('rollout', 'status', 'deployment/web', '--timeout=120s');
      expect(status).toMatch(/deployment "web" successfully rolled out\n$/);
      expect(await kubectl.run('apply', '-f', WEB)).toBe('deployment.apps/web unchanged\nservice/web unchanged\n');
      const placed = await kubectl.run('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].spec.nodeName}');
      expect(placed.split(' ').sort()).toEqual(['node-1', 'node-1', 'node-2', 'node-2']);
      await using gone = kubectl.follow('wait', '--for=delete', 'pod', '-l', 'app=web', '--timeout=120s');
      await kubectl.run('delete', '-f', WEB);
      expect((await gone.ended()).code).toBe(0);
    },
  );
});
