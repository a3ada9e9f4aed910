// Two nodes as namespaces joined by a wire, a pod on each: real VXLAN, real iptables, real packets.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { EndpointSlice, Node, Service } from '../../api/kinds.ts';
import type { ApiClient, Patch } from '../../client/api-client.ts';
import { Store } from '../../client/store.ts';
import { KubeSubnets } from '../../cni/kube-subnets.ts';
import { PodNetwork } from '../../cni/network.ts';
import { annotation } from '../../cni/subnet-manager.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { type Exec, systemExec } from '../../host/exec.ts';
import { ipBatch } from '../../host/ip-batch.ts';
import { networkFollower } from '../../host/ip-monitor.ts';
import { SliMetrics } from '../../kubelet/metrics/sli-metrics.ts';
import { RULES } from '../../proxy/fake-rule-options.ts';
import { cleanupIptables, IptablesBackend } from '../../proxy/iptables/iptables.ts';
import { ServiceProxy } from '../../proxy/proxy.ts';
import { createBridge, createVeth, sysctlInNetns, TestNamespaces } from '../harness/netns.ts';

const namespaces = new TestNamespaces('net');
const stop = new AbortController();
const running: Promise<void>[] = [];
const children: ChildProcess[] = [];
const nodes = new Store<Node>();
const services = new Store<Service>();
const slices = new Store<EndpointSlice>();
let version = 0;
let dir: string;
let a: TestNode;
let b: TestNode;
let client: string;

interface TestNode {
  readonly name: string;
  readonly netns: string;
  readonly pod: string;
  readonly podIp: string;
  readonly network: PodNetwork;
  readonly proxy: ServiceProxy;
  readonly exec: Exec;
}

/** Merges annotations and conditions into the stored Node, as a strategic merge patch does. */
const api = {
  async patch(_type: unknown, { name }: { name: string }, patch: Patch) {
    const node = nodes.get(name)!;
    const body = patch.body as Node;
    const next: Node = {
      ...node,
      metadata: {
        ...node.metadata,
        resourceVersion: String(++version),
        annotations: { ...node.metadata?.annotations, ...body.metadata?.annotations },
      },
      status: { ...node.status, conditions: [...(body.status?.conditions ?? node.status?.conditions ?? [])] },
    };
    nodes.set(next);
    return next;
  },
} as unknown as ApiClient;

async function startNode(index: number, wire: string): Promise<TestNode> {
  const name = `node-${index}`;
  const netns = await namespaces.create(name);
  const pod = await namespaces.create(`pod-${index}`);
  const ip = `192.0.2.${index}`;
  await createVeth(
    systemExec,
    { netns: wire, device: `port${index}`, master: 'br0' },
    { netns, device: 'eth0', address: `${ip}/24` },
  );
  await ipBatch(systemExec, ['route add default via 192.0.2.9'], { netns });
  await createBridge(systemExec, netns, 'cni0', `10.244.${index}.1/24`);
  const podIp = `10.244.${index}.10`;
  await createVeth(
    systemExec,
    { netns, device: 'veth0', master: 'cni0' },
    { netns: pod, device: 'eth0', address: `${podIp}/24` },
  );
  await ipBatch(systemExec, [`route add default via 10.244.${index}.1`], { netns: pod });
  await ipBatch(systemExec, ['link set cni0 mtu 1450', 'link set veth0 mtu 1450'], { netns });
  await ipBatch(systemExec, ['link set eth0 mtu 1450'], { netns: pod });
  const exec = namespaces.exec(netns);
  const shared = { exec, clock: systemClock, log: silentLog, sysctl: sysctlInNetns(netns) };
  const networks = { v4: '10.244.0.0/16' };
  const source = new KubeSubnets(
    { nodeName: name, networks, annotations: annotation, setCondition: true },
    { client: api, nodes, clock: systemClock },
  );
  const network = new PodNetwork(
    {
      networks,
      backend: { type: 'vxlan', vni: 1, port: 8472, mtu: undefined, directRouting: false },
      external: { device: 'eth0', v4: ip, mtu: 1500 },
      publicIps: { v4: ip },
      rules: { form: 'iptables', masquerade: true, forward: true, randomFully: true },
      cniConfDir: path.join(dir, name, 'net.d'),
      subnetFile: path.join(dir, name, 'subnet.env'),
      bridge: 'cni0',
    },
    { ...shared, source, follow: networkFollower(netns) },
  );
  const backend = new IptablesBackend({ ...RULES, nodeIps: [ip] }, { exec });
  const proxy = new ServiceProxy(
    {
      nodeName: name,
      mode: 'iptables',
      routeLocalnet: true,
      minSyncPeriodMs: 50,
      syncPeriodMs: 1_000,
      fullSyncIntervalMs: 3_600_000,
    },
    {
      ...shared,
      backends: [backend],
      events: { event: () => {} },
      services,
      endpointSlices: slices,
      nodes,
      registry: new Registry(),
      slis: new SliMetrics(),
    },
  );
  running.push(network.run(stop.signal), proxy.run(stop.signal));
  return { name, netns, exec, pod, podIp, network, proxy };
}

/** An HTTP server in `netns` that answers with `text` and the client's address. Resolves when it listens. */
async function serve(netns: string, port: number, text: string): Promise<void> {
  const script = `require('http').createServer((q,r)=>r.end(q.url==='/big'?'x'.repeat(2e5):'${text} '+q.socket.remoteAddress)).listen(${port},'0.0.0.0',()=>console.log('up'))`;
  await new Promise((resolve) => spawnIn(netns, script).stdout!.once('data', resolve));
}

/** Answers every datagram with `text`. */
async function echoUdp(netns: string, port: number, text: string): Promise<void> {
  const script = `const s=require('dgram').createSocket('udp4');s.on('message',(_,r)=>s.send('${text}',r.port,r.address));s.bind(${port},()=>console.log('up'))`;
  await new Promise((resolve) => spawnIn(netns, script).stdout!.once('data', resolve));
}

/** Runs a script in `netns` until the suite ends. */
function spawnIn(netns: string, script: string): ChildProcess {
  const child = spawn('ip', ['netns', 'exec', netns, process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return child;
}

async function get(netns: string, url: string): Promise<string> {
  const r = await namespaces.exec(netns)('curl', ['-s', '-m', '5', url]);
  return r.code === 0 ? r.stdout : `curl ${r.code}`;
}

function put(node: Node): void {
  nodes.set({ ...node, metadata: { ...node.metadata, resourceVersion: String(++version) } });
}

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-net-'));
  const wire = await namespaces.create('wire');
  await createBridge(systemExec, wire, 'br0');
  for (const i of [1, 2]) put({ metadata: { name: `node-${i}` }, spec: { podCIDR: `10.244.${i}.0/24` } });
  nodes.replace(nodes.list());
  services.replace([
    {
      metadata: { namespace: 'default', name: 'web', resourceVersion: '1' },
      spec: { type: 'NodePort', clusterIP: '10.96.0.10', ports: [{ port: 80, nodePort: 30080 }] },
    },
    {
      metadata: { namespace: 'default', name: 'empty', resourceVersion: '1' },
      spec: { clusterIP: '10.96.0.11', ports: [{ port: 80 }] },
    },
  ]);
  slices.replace([
    {
      metadata: {
        namespace: 'default',
        name: 'web-1',
        resourceVersion: '1',
        labels: { 'kubernetes.io/service-name': 'web' },
      },
      addressType: 'IPv4',
      ports: [{ name: '', port: 8080, protocol: 'TCP' }],
      endpoints: [{ addresses: ['10.244.2.10'], nodeName: 'node-2' }],
    },
  ]);
  a = await startNode(1, wire);
  b = await startNode(2, wire);
  client = await namespaces.create('client');
  await createVeth(
    systemExec,
    { netns: wire, device: 'port9', master: 'br0' },
    { netns: client, device: 'eth0', address: '192.0.2.9/24' },
  );
  await serve(b.pod, 8080, 'pod-2');
  await Promise.all([a.network.ready, b.network.ready, a.proxy.synced, b.proxy.synced]);
  // The second node's lease reaches the first one after it was ready.
  await vi.waitFor(
    async () => expect(await routes(a)).toContain('10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink'),
    60_000,
  );
  await vi.waitFor(
    async () => expect(await routes(b)).toContain('10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink'),
    60_000,
  );
});

afterAll(async () => {
  stop.abort();
  await Promise.all(running);
  for (const child of children) {
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await ended;
  }
  await namespaces[Symbol.asyncDispose]();
  if (dir) await rm(dir, { recursive: true, force: true });
});

async function routes(node: TestNode): Promise<string> {
  return (await namespaces.exec(node.netns)('ip', ['route', 'show', 'dev', 'flannel.1'])).stdout
    .split('\n')
    .map((l) => l.replace(/ via (\S+)/, ' via $1 dev flannel.1').trim())
    .join('\n');
}

test('pods of two nodes reach each other with their own addresses', async () => {
  expect(await get(a.pod, `http://${b.podIp}:8080/`)).toBe('pod-2 10.244.1.10');
});

test('full-size packets cross the tunnel', async () => {
  expect((await get(a.pod, `http://${b.podIp}:8080/big`)).length).toBe(200_000); // TCP sets "don't fragment"
});

test('a pod reaches a Service on the other node without masquerading', async () => {
  expect(await get(a.pod, 'http://10.96.0.10/')).toBe('pod-2 10.244.1.10');
});

test('a node reaches the Service; its address is the one on the tunnel', async () => {
  expect(await get(a.netns, 'http://10.96.0.10/')).toBe('pod-2 10.244.1.0');
});

test('a pod reaches its own Service through itself', async () => {
  await namespaces.exec(b.netns)('bridge', ['link', 'set', 'dev', 'veth0', 'hairpin', 'on']);
  expect(await get(b.pod, 'http://10.96.0.10/')).toBe('pod-2 10.244.2.1');
});

test('a client outside reaches the node port of either node', async () => {
  expect(await get(client, 'http://192.0.2.1:30080/')).toMatch(/^pod-2 10\.244\.1\.0$/);
  expect(await get(client, 'http://192.0.2.2:30080/')).toMatch(/^pod-2 10\.244\.2\.1$/);
});

test('the node reaches the node port on 127.0.0.1', async () => {
  expect(await get(a.netns, 'http://127.0.0.1:30080/')).toBe('pod-2 10.244.1.0');
});

test('a Service without endpoints refuses at once', async () => {
  expect(await get(a.pod, 'http://10.96.0.11/')).toBe('curl 7');
});

test('a changed slice moves the traffic', async () => {
  await serve(a.pod, 8080, 'pod-1');
  const old = slices.list()[0]!;
  slices.set({
    ...old,
    metadata: { ...old.metadata!, resourceVersion: '2' },
    endpoints: [{ addresses: ['10.244.1.10'], nodeName: 'node-1' }],
  });
  await vi.waitFor(async () => expect(await get(client, 'http://192.0.2.2:30080/')).toMatch(/^pod-1/), 60_000);
});

test('a deleted device comes back with its MAC, and so do a deleted route and a flushed chain', async () => {
  const exec = namespaces.exec(a.netns);
  const mac = JSON.parse(nodes.get('node-1')!.metadata!.annotations!['flannel.alpha.coreos.com/backend-data']!).VtepMAC;
  await ipBatch(systemExec, ['link delete flannel.1'], { netns: a.netns });
  await exec('iptables', ['-t', 'nat', '-F', 'FLANNEL-POSTRTG']);
  await vi.waitFor(async () => expect(await get(a.pod, `http://${b.podIp}:8080/`)).toMatch(/^pod-2/), 60_000);
  expect((await exec('ip', ['-o', 'link', 'show', 'flannel.1'])).stdout).toContain(mac);
  await ipBatch(systemExec, ['route delete 10.244.2.0/24'], { netns: a.netns });
  await vi.waitFor(async () => expect(await routes(a)).toContain('10.244.2.0/24'), 60_000);
  await vi.waitFor(
    async () => expect((await exec('iptables', ['-t', 'nat', '-S', 'FLANNEL-POSTRTG'])).stdout).toContain('MASQUERADE'),
    60_000,
  );
});

test('Services answer again after somebody ran iptables -F', async () => {
  const exec = namespaces.exec(a.netns);
  for (const table of ['nat', 'filter']) await exec('iptables', ['-w', '-t', table, '-F']);
  // Not through 127.0.0.1 or a node port alone: the cluster IP needs KUBE-SERVICES and its jumps.
  await vi.waitFor(async () => expect(await get(a.netns, 'http://10.96.0.10/')).toMatch(/^pod-1/), 60_000);
  await vi.waitFor(
    async () => expect((await exec('iptables', ['-S', 'FORWARD'])).stdout).toContain('FLANNEL-FWD'),
    60_000,
  );
}, 240_000);

test('a UDP client that keeps its port follows the endpoint', async () => {
  const service = (hosts: readonly string[], resourceVersion: string): EndpointSlice => ({
    metadata: { namespace: 'default', name: 'udp-1', resourceVersion, labels: { 'kubernetes.io/service-name': 'udp' } },
    addressType: 'IPv4',
    ports: [{ name: '', port: 5353, protocol: 'UDP' }],
    endpoints: hosts.map((ip) => ({ addresses: [ip] })),
  });
  await echoUdp(a.pod, 5353, 'one');
  await echoUdp(b.pod, 5353, 'two');
  slices.set(service([a.podIp], '1'));
  services.set({
    metadata: { namespace: 'default', name: 'udp', resourceVersion: '1' },
    spec: { clusterIP: '10.96.0.12', ports: [{ port: 53, protocol: 'UDP' }] },
  });
  const answers: string[] = [];
  const script = `const s=require('dgram').createSocket('udp4');s.on('message',m=>console.log(''+m));s.bind(4000,()=>setInterval(()=>s.send('x',53,'10.96.0.12'),50))`;
  const child = spawnIn(a.netns, script);
  child.stdout!.on('data', (chunk: Buffer) => answers.push(...chunk.toString().trim().split('\n')));
  await vi.waitFor(() => expect(answers).toContain('one'), 60_000);
  slices.set(service([b.podIp], '2'));
  await vi.waitFor(() => expect(answers.at(-1)).toBe('two'), 60_000);
}, 240_000);

test('files for the runtime say what is there', async () => {
  const conflist = JSON.parse(await readFile(path.join(dir, 'node-1', 'net.d', '10-nodelet.conflist'), 'utf8'));
  expect(conflist.plugins[0]).toMatchObject({ bridge: 'cni0', mtu: 1450, hairpinMode: true });
  expect(await readFile(path.join(dir, 'node-1', 'subnet.env'), 'utf8')).toContain('FLANNEL_SUBNET=10.244.1.1/24\n');
  expect(nodes.get('node-1')!.status!.conditions![0]).toMatchObject({ type: 'NetworkUnavailable', status: 'False' });
});

test('cleanup leaves no device, rule or file', async () => {
  stop.abort();
  await Promise.all(running);
  const signal = AbortSignal.timeout(120_000);
  await cleanupIptables(a.exec, 4, { keepShared: true }, signal);
  await a.network.cleanup(signal);
  const exec = namespaces.exec(a.netns);
  expect((await exec('ip', ['-o', 'link'])).stdout).not.toMatch(/flannel|cni0/);
  expect((await exec('iptables-save', [])).stdout).not.toMatch(/KUBE-SERVICES|KUBE-SEP|KUBE-POSTROUTING|FLANNEL/);
  await expect(readFile(path.join(dir, 'node-1', 'net.d', '10-nodelet.conflist'))).rejects.toThrow('ENOENT');
}, 240_000);
