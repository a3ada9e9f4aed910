// exec, attach, cp, logs and port-forward by real kubectl, old and new, through API server and node to containerd: both
// when the node translates new clients' WebSockets itself and when the API server has to.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCa, issueClientCert, issueServerCert } from '../../api/pki.ts';
import { nodes, pods as podResource, serviceAccounts } from '../../api/resources.ts';
import type { ApiServer } from '../../apiserver/apiserver.ts';
import { alwaysAllow } from '../../apiserver/auth/authorizer.ts';
import { ClientCertificateAuthenticator } from '../../apiserver/auth/client-certificate.ts';
import { proxyingSubresources } from '../../apiserver/proxying/subresources.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { KubeletServer } from '../../kubelet/server/server.ts';
import { createApiServer } from '../harness/api-server.ts';
import { containerdMissing, TestContainerd } from '../harness/containerd.ts';
import { type DebianSuite, fetchDebianPackage } from '../harness/debian-packages.ts';
import { RealPods } from '../harness/real-pods.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`kubectl against a node is skipped: ${missing}`);

const KUBECTLS: readonly (readonly [string, DebianSuite, string])[] = [
  ['1.20', 'bookworm', 'kubernetes-client'],
  ['1.32', 'trixie', 'kubectl'],
  ['1.36', 'sid', 'kubectl'],
];
const COPY_MB = 8;
const validity = { nowMs: Date.now(), lifetimeMs: 3600_000 };
const ca = createCa('ca', validity);
const serving = issueServerCert(ca, { commonName: 'server' }, { ipAddresses: ['127.0.0.1'] }, validity);
const user = issueClientCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, validity);
const towardsKubelet = issueClientCert(ca, { commonName: 'kube-apiserver-kubelet-client' }, validity);

describe.skipIf(missing !== undefined).each([
  ['the node translates', ['ExtendWebSocketsToKubelet']],
  ['the API server translates', []],
])('%s', (_who, declaredFeatures) => {
  const metrics = new Registry();
  const stop = new AbortController();
  let dir: string;
  let containerd: TestContainerd;
  let running: RealPods;
  let api: ApiServer;
  let kubelet: KubeletServer;
  let kubeletEnded: Promise<void>;

  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'nodelet-kubectl-'));
    containerd = await TestContainerd.start();
    running = new RealPods(containerd);
    const listen = { address: '127.0.0.1', port: 0 };
    kubelet = new KubeletServer(
      {
        ...listen,
        nodeName: 'node-1',
        healthzAddress: '',
        healthzPort: 0,
        certificate: serving,
        clientCa: ca.cert,
        anonymous: false,
      },
      { pods: running, runtime: containerd.runtime, metrics, clock: systemClock, log: silentLog },
    );
    await kubelet.listen();
    kubeletEnded = kubelet.run(stop.signal);
    api = createApiServer(path.join(dir, 'store'), { ...serving, clientCa: ca.cert });
    await api.start({
      authenticators: [new ClientCertificateAuthenticator(() => Date.now())],
      authorizer: alwaysAllow,
      subresources: proxyingSubresources({ kubeletTls: { ...towardsKubelet, ca: ca.cert } }, api.registry),
    });
    await makeObjects();
    await writeFile(path.join(dir, 'kubeconfig'), JSON.stringify(kubeconfig(api.port)));
  });

  afterAll(async () => {
    await api?.close();
    stop.abort();
    await kubeletEnded;
    await running?.removeAll();
    await containerd?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  async function makeObjects(): Promise<void> {
    const client = api.client();
    const status = {
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: kubelet.port } },
      declaredFeatures,
    };
    const node = await client.create(nodes, {}, { metadata: { name: 'node-1' } });
    await client.update(nodes, { name: 'node-1' }, { ...node, status }, { subresource: 'status' });
    await client.create(serviceAccounts, { namespace: 'default' }, { metadata: { name: 'default' } });
    await startPod('web', ['sleep', '1000000']);
  }

  async function startPod(name: string, command: string[], more: { stdin?: boolean } = {}): Promise<void> {
    await running.start(name, command, more);
    const client = api.client();
    const spec = { nodeName: 'node-1', containers: [{ name: 'main', image: 'busybox', ...more }] };
    const pod = await client.create(podResource, { namespace: 'default' }, { metadata: { name }, spec });
    const status = { ...running.podByName('default', name)!.status, phase: 'Running' as const };
    const key = { namespace: 'default', name };
    await client.update(podResource, key, { ...pod, status }, { subresource: 'status' });
  }

  describe.each(KUBECTLS)('kubectl %s', (version, suite, pkg) => {
    let program: string;

    beforeAll(async () => {
      program = path.join(await fetchDebianPackage(suite, pkg), 'usr/bin/kubectl');
    });

    function start(...args: string[]): ChildProcessWithoutNullStreams {
      return spawn(program, args, { env: { ...process.env, KUBECONFIG: path.join(dir, 'kubeconfig'), HOME: dir } });
    }

    async function kubectl(args: readonly string[], input = '') {
      const child = start(...args);
      const exited = once(child, 'close');
      child.stdin.end(input);
      const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
      return { code: (await exited)[0] as number, stdout, stderr };
    }

    async function end(child: ChildProcessWithoutNullStreams): Promise<void> {
      const closed = once(child, 'close');
      child.kill('SIGKILL');
      await closed;
    }

    test('exec: outputs apart, and the exit code', async () => {
      const answer = await kubectl(['exec', 'web', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
      expect(answer).toMatchObject({ code: 3, stdout: 'out\n' });
      expect(answer.stderr).toBe('err\ncommand terminated with exit code 3\n');
    });

    test('exec -i: input reaches the command, and its end too', async () => {
      const answer = await kubectl(['exec', '-i', 'web', '--', 'wc', '-c'], 'x'.repeat(300_000));
      expect(answer).toMatchObject({ code: 0, stdout: '300000\n' });
    });

    test('exec of what does not exist says so', async () => {
      const answer = await kubectl(['exec', 'web', '--', 'no-such-program']);
      expect(answer.code).not.toBe(0);
      expect(answer.stderr).toContain('no-such-program');
    });

    test(`cp there and back, ${COPY_MB} MB`, async () => {
      const content = Buffer.alloc(COPY_MB * 1024 ** 2, 'nodelet ');
      await writeFile(path.join(dir, 'there'), content);
      expect(await kubectl(['cp', path.join(dir, 'there'), 'default/web:/tmp/file'])).toMatchObject({ code: 0 });
      expect(await kubectl(['cp', 'default/web:/tmp/file', path.join(dir, 'back')])).toMatchObject({ code: 0 });
      expect((await readFile(path.join(dir, 'back'))).equals(content)).toBe(true);
    });

    test('logs -f, and attach -i to what reads', async () => {
      const name = `cat-${version.replace('.', '-')}`;
      await startPod(name, ['cat'], { stdin: true });
      const follower = start('logs', '-f', name);
      const attached = start('attach', '-i', name);
      const lines = [follower, attached].map((child) => once(createInterface(child.stdout), 'line'));
      attached.stdin.write('hello\n');
      expect(await Promise.all(lines)).toEqual([['hello'], ['hello']]);
      await end(attached);
      await end(follower);
    });

    test('port-forward', async () => {
      const echo = createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket)).listen(0, '127.0.0.1');
      await once(echo, 'listening');
      const child = start('port-forward', 'pod/web', `:${(echo.address() as AddressInfo).port}`);
      const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
      const port = Number(/127\.0\.0\.1:(\d+) ->/.exec(line)![1]);
      const ask = async (question: string) => {
        const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
        socket.end(question);
        return await text(socket);
      };
      expect(await Promise.all(['a', 'b'.repeat(200_000)].map(ask))).toEqual(['a', 'b'.repeat(200_000)]);
      await end(child);
      echo.close();
    });
  });

  test('new clients were translated where that was said', async () => {
    const counted = /websocket_streaming_requests_total\{subresource="exec"\} (\d+)/.exec(await metrics.metrics());
    expect(Number(counted?.[1] ?? 0) > 0).toBe(declaredFeatures.length > 0);
  });
});

function kubeconfig(port: number): object {
  const base64 = (pem: string) => Buffer.from(pem).toString('base64');
  const cluster = { server: `https://127.0.0.1:${port}`, 'certificate-authority-data': base64(ca.cert) };
  const credentials = { 'client-certificate-data': base64(user.cert), 'client-key-data': base64(user.key) };
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user: credentials }],
  };
}
