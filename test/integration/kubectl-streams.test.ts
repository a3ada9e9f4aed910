// Real kubectl of three versions through the API server to a node: exec, cp, port-forward, logs. The node is a stand-in
// that runs commands on this host and speaks only SPDY, as containerd does; what it does with them is tested elsewhere.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { finished } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCa, issueClientCert, issueServerCert } from '../../api/pki.ts';
import { nodes, pods, serviceAccounts } from '../../api/resources.ts';
import { FakeRuntimeServer, type ServedCommand } from '../../api/streaming/fake-runtime-server.ts';
import type { SpdyStream } from '../../api/streaming/spdy-session.ts';
import type { ApiServer } from '../../apiserver/apiserver.ts';
import { alwaysAllow } from '../../apiserver/auth/authorizer.ts';
import { ClientCertificateAuthenticator } from '../../apiserver/auth/client-certificate.ts';
import { decodeProtobuf } from '../../apiserver/protobuf/decoder.ts';
import { proxyingSubresources } from '../../apiserver/proxying/subresources.ts';
import { createApiServer } from '../harness/api-server.ts';
import { fetchDebianPackage } from '../harness/debian-packages.ts';

const VERSIONS = [
  { version: '1.20', suite: 'bookworm', name: 'kubernetes-client' },
  { version: '1.32', suite: 'trixie', name: 'kubectl' },
  { version: '1.36', suite: 'sid', name: 'kubectl' },
] as const;

const validity = { nowMs: Date.now(), lifetimeMs: 3600_000 };
const ca = createCa('cluster', validity);
const loopback = { ipAddresses: ['127.0.0.1'] };

let dir: string;
let server: ApiServer;
let kubelet: FakeRuntimeServer;
let echo: Server;
const upgrades: string[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'kubectl-streams-'));
  const tls = { ...issueServerCert(ca, { commonName: 'n1' }, loopback, validity), ca: ca.cert, requestCert: true };
  kubelet = new FakeRuntimeServer(((handler: never) => createHttpsServer(tls, handler)) as never);
  kubelet.expected = ({ url }) =>
    [...new URL(url!, 'https://n1').searchParams].filter(([k]) => k !== 'command').length + 1;
  kubelet.onCommand = runHere;
  kubelet.onStream = undefined;
  kubelet.server.prependListener('upgrade', (request) => {
    upgrades.push(request.headers.upgrade ?? '');
    kubelet.onStream = request.url!.startsWith('/portForward/') ? forwardHere : undefined;
  });
  kubelet.server.removeAllListeners('request').on('request', (_request, response) => response.end('line 1\nline 2\n'));
  echo = createServer((socket) => void socket.pipe(socket).on('error', () => {})).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  await startServer(await kubelet.listen());
});

afterAll(async () => {
  await server?.close();
  await kubelet?.close();
  echo?.close();
  await rm(dir, { recursive: true, force: true });
});

async function startServer(kubeletPort: number): Promise<void> {
  const serving = issueServerCert(ca, { commonName: 'apiserver' }, loopback, validity);
  server = createApiServer(path.join(dir, 'store'), { ...serving, clientCa: ca.cert });
  const kubeletTls = { ...issueClientCert(ca, { commonName: 'apiserver' }, validity), ca: ca.cert };
  await server.start({
    authenticators: [new ClientCertificateAuthenticator(() => Date.now())],
    authorizer: alwaysAllow,
    protobuf: decodeProtobuf,
    subresources: proxyingSubresources({ kubeletTls }, server.registry),
  });
  const client = server.client();
  const status = {
    addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
    daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
  };
  await client.create(nodes, {}, { metadata: { name: 'n1' } });
  await client.patch(nodes, { name: 'n1' }, { type: 'merge', body: { status } }, { subresource: 'status' });
  await client.create(serviceAccounts, { namespace: 'default' }, { metadata: { name: 'default' } });
  const spec = { nodeName: 'n1', containers: [{ name: 'c', image: 'busybox' }] };
  await client.create(pods, { namespace: 'default' }, { metadata: { name: 'p' }, spec } as never);
  const running = { phase: 'Running', podIP: '10.244.0.2' };
  await client.patch(
    pods,
    { namespace: 'default', name: 'p' },
    { type: 'merge', body: { status: running } },
    { subresource: 'status' },
  );
  await writeKubeconfig();
}

async function writeKubeconfig(): Promise<void> {
  const admin = issueClientCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, validity);
  const base64 = (pem: string): string => Buffer.from(pem).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'lab',
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'admin' } }],
    clusters: [
      {
        name: 'lab',
        cluster: { server: `https://127.0.0.1:${server.port}`, 'certificate-authority-data': base64(ca.cert) },
      },
    ],
    users: [
      { name: 'admin', user: { 'client-certificate-data': base64(admin.cert), 'client-key-data': base64(admin.key) } },
    ],
  };
  await writeFile(path.join(dir, 'kubeconfig'), JSON.stringify(config));
}

/** What a runtime does, with processes of this host for containers. */
function runHere({ request, streams, session }: ServedCommand): void {
  const query = new URL(request.url!, 'https://n1').searchParams;
  const [program = '', ...args] = query.getAll('command');
  const child = spawn(program, args, { cwd: dir, stdio: 'pipe' });
  const stdin = streams.get('stdin');
  if (stdin === undefined) child.stdin.end();
  else stdin.pipe(child.stdin);
  child.stdin.on('error', () => {}); // a command that does not read its input
  streams.get('resize')?.once('data', (size: Buffer) => streams.get('stdout')!.write(`size ${size}\n`));
  child.stdout.pipe(streams.get('stdout')!);
  if (streams.has('stderr')) child.stderr.pipe(streams.get('stderr')!);
  child.on('close', (code) => {
    const message = `command terminated with non-zero exit code: exit status ${code}`;
    const details = { causes: [{ reason: 'ExitCode', message: String(code) }] };
    const failure = { metadata: {}, status: 'Failure', reason: 'NonZeroExitCode', message, details };
    const error = streams.get('error')!;
    error.end(JSON.stringify(code === 0 ? { metadata: {}, status: 'Success' } : failure));
    void finished(error, { readable: false }).then(() => session.close());
  });
}

function forwardHere(stream: SpdyStream): void {
  if (stream.headers.streamtype === 'error') {
    stream.end();
    return;
  }
  const socket = connect((echo.address() as AddressInfo).port, '127.0.0.1');
  stream.pipe(socket).pipe(stream);
  socket.on('error', () => stream.destroy());
  stream.on('error', () => socket.destroy());
}

describe.each(VERSIONS)('kubectl $version', ({ suite, name, version }) => {
  let kubectl: string;

  beforeAll(async () => {
    kubectl = path.join(await fetchDebianPackage(suite, name), 'usr/bin/kubectl');
    upgrades.length = 0;
  });

  const environment = () => ({ ...process.env, KUBECONFIG: path.join(dir, 'kubeconfig'), HOME: dir });

  const start = (args: readonly string[]): ChildProcess =>
    spawn(kubectl, args, { env: environment(), cwd: dir, stdio: 'pipe' });

  async function run(args: readonly string[], input = ''): Promise<{ out: string; err: string; code: number }> {
    const child = start(args);
    child.stdin!.on('error', () => {});
    child.stdin!.end(input);
    const [out, err, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
    return { out, err, code };
  }

  test('exec: output, error output and exit code', async () => {
    const result = await run(['exec', 'p', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7']);
    expect(result.out).toBe('out\n');
    expect(result.err).toContain('err\n');
    expect(result.err).toContain('command terminated with exit code 7');
    expect(result.code).toBe(7);
    expect(upgrades.at(-1)).toBe('SPDY/3.1'); // whatever kubectl spoke, the node is spoken to in what it knows
  });

  test('exec -i: the end of input reaches the command', async () => {
    const input = 'x'.repeat(3_000_000);
    const result = await run(['exec', '-i', 'p', '--', 'wc', '-c'], input);
    expect(result).toMatchObject({ out: '3000000\n', code: 0 });
  });

  test('exec -it: the terminal’s size arrives', async () => {
    const child = spawn(
      'script',
      ['-qec', `stty rows 33 cols 99; ${kubectl} exec -it p -- sh -c 'read line; echo got $line'`, '/dev/null'],
      { env: environment(), stdio: 'pipe' },
    );
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      if (!out.includes('size') && `${out}${chunk}`.includes('size')) child.stdin.write('hello\n');
      out += chunk;
    });
    await once(child, 'close');
    expect(out).toContain('"Width":99,"Height":33');
    expect(out).toContain('got hello');
  });

  test('cp there and back', async () => {
    const content = Buffer.alloc(2_000_000, 'abc');
    const [source, there, back] = ['source', 'there', 'back'].map((n) => `${n}-${version}`) as [string, string, string];
    await writeFile(path.join(dir, source), content);
    expect(await run(['cp', source, `p:${dir}/${there}`])).toMatchObject({ code: 0 });
    expect(await run(['cp', `p:${dir}/${there}`, back])).toMatchObject({ code: 0 });
    expect((await readFile(path.join(dir, back))).equals(content)).toBe(true);
  });

  test('port-forward: several connections, whole and in order', async () => {
    const child = start(['port-forward', 'pod/p', ':80']);
    const [line] = (await once(child.stdout!, 'data')) as [Buffer];
    const port = Number(/127\.0\.0\.1:(\d+)/.exec(line.toString())![1]);
    const payload = 'ping '.repeat(50_000);
    const answers = await Promise.all(
      [1, 2, 3].map(async () => {
        const socket = connect(port, '127.0.0.1');
        socket.end(payload);
        return await text(socket);
      }),
    );
    expect(answers.map((a) => a === payload)).toEqual([true, true, true]);
    const ended = once(child, 'close');
    child.kill();
    await ended;
  });

  test('logs', async () => {
    expect(await run(['logs', 'p'])).toEqual({ out: 'line 1\nline 2\n', err: '', code: 0 });
  });

  test('create sends a body that the server understands', async () => {
    const name = `c-${version.replace('.', '-')}`;
    expect((await run(['create', 'configmap', name, '--from-literal=k=v'])).out).toBe(`configmap/${name} created\n`);
    expect((await run(['create', 'deployment', name, '--image=busybox', '--replicas=0'])).out).toContain('created');
    expect(
      (
        await run([
          'get',
          'deployment',
          name,
          '-o',
          'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}',
        ])
      ).out,
    ).toBe('0 busybox');
  });
});
