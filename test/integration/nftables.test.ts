// The nftables mode on the real kernel: random changes against the end state at once, and packets through every kind of
// Service from a pod, the node and a client outside.
import { type ChildProcess, spawn } from 'node:child_process';
import { release } from 'node:os';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { type Exec, systemExec } from '../../host/exec.ts';
import { ipBatch } from '../../host/ip-batch.ts';
import { FamilyProxier } from '../../proxy/family-proxier.ts';
import { NftablesBackend } from '../../proxy/nftables/nftables.ts';
import { cleanupNftables, probeNftables } from '../../proxy/nftables/support.ts';
import type { NftOptions } from '../../proxy/nftables/table.ts';
import { createBridge, createVeth, sysctlInNetns, TestNamespaces } from '../harness/netns.ts';
import { tableState } from '../harness/nft-table.ts';

const signal = new AbortController().signal;
const namespaces = new TestNamespaces('nft');
const children: ChildProcess[] = [];

const options: NftOptions = {
  family: 4,
  masqueradeBit: 14,
  masqueradeAll: false,
  localTraffic: { by: 'cidr', cidr: '10.244.0.0/16' },
  localhostNodePorts: false,
  nodePortIps: ['192.0.2.1'],
  nodeIps: ['192.0.2.1'],
  randomFully: true,
  dropInvalid: true,
  serviceCidrs: ['10.96.0.0/16'],
  hasObjectComments: true,
};

function proxierIn(exec: Exec): FamilyProxier {
  const deps = { exec, clock: systemClock, log: silentLog };
  const backend = new NftablesBackend(options, deps);
  return new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, { ...deps, backend });
}

interface ServiceShape {
  readonly clusterIp: string;
  readonly nodePort?: number;
  readonly externalIp?: string;
  readonly vip?: string;
  readonly ranges?: readonly string[];
  readonly local?: boolean;
  readonly affinitySeconds?: number;
}

function serviceOf(name: string, s: ServiceShape): Service {
  return {
    metadata: { namespace: 'ns', name },
    spec: {
      type: s.vip !== undefined ? 'LoadBalancer' : s.nodePort !== undefined ? 'NodePort' : 'ClusterIP',
      clusterIP: s.clusterIp,
      ...(s.externalIp === undefined ? {} : { externalIPs: [s.externalIp] }),
      ...(s.ranges === undefined ? {} : { loadBalancerSourceRanges: [...s.ranges] }),
      externalTrafficPolicy: s.local ? 'Local' : 'Cluster',
      ...(s.affinitySeconds === undefined
        ? {}
        : { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: s.affinitySeconds } } }),
      ports: [{ name: 'p', port: 80, ...(s.nodePort === undefined ? {} : { nodePort: s.nodePort }) }],
    },
    ...(s.vip === undefined ? {} : { status: { loadBalancer: { ingress: [{ ip: s.vip }] } } }),
  };
}

function sliceOf(name: string, ips: readonly string[]): EndpointSlice {
  return {
    metadata: { namespace: 'ns', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 8080, protocol: 'TCP' }],
    endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: ip.startsWith('10.244.1.') ? 'node-a' : 'node-b' })),
  };
}

function put(proxier: FamilyProxier, name: string, shape: ServiceShape | undefined, ips: readonly string[]): void {
  proxier.handleService(`ns/${name}`, shape === undefined ? undefined : serviceOf(name, shape));
  const slice = sliceOf(name, ips);
  if (ips.length === 0) proxier.endpoints.handleGone(slice);
  else proxier.handleSlice(slice);
}

describe('any sequence of changes', () => {
  const NAMES = ['a', 'b', 'c'];
  const shape = fc
    .record({
      nodePort: fc.boolean(),
      sharedIp: fc.boolean(),
      vip: fc.boolean(),
      ranges: fc.boolean(),
      local: fc.boolean(),
      affinity: fc.constantFrom(undefined, 10, 10_800),
    })
    .map(
      (s) =>
        (at: number): ServiceShape => ({
          clusterIp: `10.96.0.${at + 1}`,
          ...(s.nodePort ? { nodePort: 30_000 + at } : {}),
          ...(s.sharedIp ? { externalIp: '198.51.100.1' } : {}), // several Services may claim one
          ...(s.vip ? { vip: `203.0.113.${at + 1}` } : {}),
          ...(s.ranges ? { ranges: ['192.0.2.0/24'] } : {}),
          local: s.local,
          ...(s.affinity === undefined ? {} : { affinitySeconds: s.affinity }),
        }),
    );
  const step = fc.record({
    name: fc.constantFrom(...NAMES),
    shape: fc.option(shape, { nil: undefined }),
    ips: fc.uniqueArray(fc.constantFrom('10.244.1.10', '10.244.1.11', '10.244.2.10'), { maxLength: 3 }),
    next: fc.constantFrom('sync', 'nothing', 'fail', 'restart'),
  });

  test('leaves what the end state alone would give, over failures and restarts', async () => {
    const [stepped, direct] = [
      namespaces.exec(await namespaces.create('stepped')),
      namespaces.exec(await namespaces.create('direct')),
    ];
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
        for (const exec of [stepped, direct]) await cleanupNftables(exec, signal);
        let failing = false;
        const exec: Exec = (program, args, opts) =>
          failing && args.includes('-f') ? stepped('false', []) : stepped(program, args, opts);
        let proxier = proxierIn(exec);
        const end = new Map<string, { shape: ServiceShape | undefined; ips: readonly string[] }>();
        for (const { name, shape, ips, next } of steps) {
          const wanted = { shape: shape?.(NAMES.indexOf(name)), ips };
          end.set(name, wanted);
          put(proxier, name, wanted.shape, ips);
          failing = next === 'fail';
          if (next === 'sync' || next === 'fail') await proxier.sync(signal).catch(() => {});
          failing = false;
          if (next !== 'restart') continue;
          proxier = proxierIn(exec);
          for (const [n, w] of end) put(proxier, n, w.shape, w.ips);
        }
        await proxier.sync(signal);
        const reference = proxierIn(direct);
        for (const [n, w] of end) put(reference, n, w.shape, w.ips);
        await reference.sync(signal);
        expect(await tableState(stepped)).toEqual(await tableState(direct));
      }),
      { numRuns: 25 },
    );
  });

  test('takes the longest names that there can be', async () => {
    const proxier = proxierIn(namespaces.exec(await namespaces.create('names')));
    const [namespace, name, port] = ['n', 's', 'p'].map((letter) => letter.repeat(63)) as [string, string, string];
    proxier.handleService(`${namespace}/${name}`, {
      metadata: { namespace, name },
      spec: {
        type: 'NodePort',
        clusterIP: '10.96.0.1',
        sessionAffinity: 'ClientIP',
        externalTrafficPolicy: 'Local',
        ports: [{ name: port, port: 80, nodePort: 30_000 }],
      },
    });
    for (const ip of [undefined, '10.244.2.10', '10.244.1.10']) {
      const slice = sliceOf(name, ip === undefined ? [] : [ip]);
      proxier.handleSlice({
        ...slice,
        metadata: { ...slice.metadata, namespace },
        ports: [{ name: port, port: 8080 }],
      });
      await proxier.sync(signal);
      expect(await proxier.detectFlush(signal)).toBe(false);
    }
  });

  test('takes chains away that it emptied, a while later', async () => {
    const exec = namespaces.exec(await namespaces.create('leftovers'));
    let nowMs = 0;
    const clock = { ...systemClock, monotonicMs: () => nowMs };
    const deps = { exec, clock, log: silentLog };
    const proxier = new FamilyProxier(
      { nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 },
      { ...deps, backend: new NftablesBackend(options, deps) },
    );
    const chains = async () => (await exec('nft', ['list', 'chains', 'ip'])).stdout.match(/\S+\/a\/tcp\/p/g) ?? [];
    put(proxier, 'a', { clusterIp: '10.96.0.1', nodePort: 30_000 }, ['10.244.1.10']);
    await proxier.sync(signal);
    expect(await chains()).toHaveLength(2);
    put(proxier, 'a', undefined, []);
    await proxier.sync(signal);
    expect(proxier.hasLeftovers).toBe(true);
    nowMs = 1_000;
    await proxier.sync(signal);
    expect(await chains()).toEqual([]);
    expect(proxier.hasLeftovers).toBe(false);
  });
});

describe('packets', () => {
  let node: Exec;
  let outside: Exec;
  let pod: Exec;
  let proxier: FamilyProxier;

  async function serve(netns: string, text: string): Promise<void> {
    const script = `require('http').createServer((q,r)=>r.end('${text} '+q.socket.remoteAddress)).listen(8080,'0.0.0.0',()=>console.log('up'))`;
    const child = spawn('ip', ['netns', 'exec', netns, process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    await new Promise((resolve) => child.stdout!.once('data', resolve));
  }

  /** The answer's body, or curl's exit code: 7 is refused, 28 is silence. */
  async function get(exec: Exec, target: string): Promise<string> {
    const r = await exec('curl', ['-s', '-m', '2', `http://${target}/`]);
    return r.code === 0 ? r.stdout : `curl ${r.code}`;
  }

  async function apply(name: string, shape: ServiceShape | undefined, ips: readonly string[]): Promise<void> {
    put(proxier, name, shape, ips);
    await proxier.sync(signal);
  }

  beforeAll(async () => {
    const [nodeNs, clientNs, one, two] = await Promise.all(
      ['node', 'client', 'pod1', 'pod2'].map((n) => namespaces.create(n)),
    );
    [node, outside, pod] = [namespaces.exec(nodeNs!), namespaces.exec(clientNs!), namespaces.exec(one!)];
    await createVeth(
      systemExec,
      { netns: nodeNs!, device: 'eth0', address: '192.0.2.1/24' },
      { netns: clientNs!, device: 'eth0', address: '192.0.2.9/24' },
    );
    for (const net of ['10.96.0.0/16', '203.0.113.0/24', '198.51.100.0/24']) {
      await ipBatch(systemExec, [`route add ${net} via 192.0.2.1`], { netns: clientNs! });
    }
    await createBridge(systemExec, nodeNs!, 'cni0', '10.244.1.1/24');
    for (const [netns, address] of [
      [one!, '10.244.1.10'],
      [two!, '10.244.1.11'],
    ] as const) {
      const device = `v${address.split('.')[3]}`;
      await createVeth(
        systemExec,
        { netns: nodeNs!, device, master: 'cni0' },
        { netns, device: 'eth0', address: `${address}/24` },
      );
      await ipBatch(systemExec, ['route add default via 10.244.1.1'], { netns });
      await node('bridge', ['link', 'set', 'dev', device, 'hairpin', 'on']);
      await serve(netns, address);
    }
    await ipBatch(systemExec, ['route add default via 192.0.2.9'], { netns: nodeNs! });
    const sysctl = sysctlInNetns(nodeNs!);
    await sysctl.set('net/ipv4/ip_forward', '1');
    await sysctl.set('net/bridge/bridge-nf-call-iptables', '1');
    expect(await probeNftables(node, { release: release(), skipVersionCheck: false }, signal)).toEqual({
      hasObjectComments: true,
    });
    proxier = proxierIn(node);
  });

  test('reach the cluster IP from a pod, the node, the pod itself and outside', async () => {
    await apply('web', { clusterIp: '10.96.0.10', nodePort: 30_080 }, ['10.244.1.11']);
    expect(await get(pod, '10.96.0.10')).toBe('10.244.1.11 10.244.1.10');
    expect(await get(node, '10.96.0.10')).toBe('10.244.1.11 10.244.1.1');
    expect(await get(outside, '10.96.0.10')).toBe('10.244.1.11 10.244.1.1'); // masqueraded
    await apply('web', { clusterIp: '10.96.0.10', nodePort: 30_080 }, ['10.244.1.10']);
    expect(await get(pod, '10.96.0.10')).toBe('10.244.1.10 10.244.1.1'); // hairpin
  });

  test('reach a node port on the node’s own address, not on others', async () => {
    expect(await get(outside, '192.0.2.1:30080')).toBe('10.244.1.10 10.244.1.1');
    expect(await get(node, '10.244.1.1:30080')).toBe('curl 7');
    expect(await get(node, '127.0.0.1:30080')).toBe('curl 7');
  });

  test('keep the address of a client outside under the Local policy, and are dropped without a local endpoint', async () => {
    const shape = { clusterIp: '10.96.0.10', nodePort: 30_080, local: true };
    await apply('web', shape, ['10.244.1.10']);
    expect(await get(outside, '192.0.2.1:30080')).toBe('10.244.1.10 192.0.2.9');
    await apply('web', shape, ['10.244.2.10']);
    expect(await get(outside, '192.0.2.1:30080')).toBe('curl 28');
  });

  test('are refused at once without endpoints, on unknown ports, and dropped on addresses without a Service', async () => {
    await apply('empty', { clusterIp: '10.96.0.11', nodePort: 30_081 }, []);
    expect(await get(pod, '10.96.0.11')).toBe('curl 7');
    expect(await get(node, '10.96.0.11')).toBe('curl 7');
    expect(await get(outside, '192.0.2.1:30081')).toBe('curl 7');
    expect(await get(pod, '10.96.0.11:81')).toBe('curl 7');
    expect(await get(pod, '10.96.0.99')).toBe('curl 28');
  });

  test('pass a load balancer only from its source ranges', async () => {
    const shape = { clusterIp: '10.96.0.12', vip: '203.0.113.1', nodePort: 30_082 };
    await apply('lb', { ...shape, ranges: ['192.0.2.0/24'] }, ['10.244.1.10']);
    expect(await get(outside, '203.0.113.1')).toBe('10.244.1.10 10.244.1.1');
    await apply('lb', { ...shape, ranges: ['198.51.100.0/24'] }, ['10.244.1.10']);
    expect(await get(outside, '203.0.113.1')).toBe('curl 28');
    await apply('lb', { ...shape, externalIp: '198.51.100.7' }, ['10.244.1.10']);
    expect(await get(outside, '203.0.113.1')).toBe('10.244.1.10 10.244.1.1');
    expect(await get(outside, '198.51.100.7')).toBe('10.244.1.10 10.244.1.1');
  });

  test('of one client go to one endpoint under session affinity, also after a full sync and a new timeout', async () => {
    const both = ['10.244.1.10', '10.244.1.11'];
    await apply('sticky', { clusterIp: '10.96.0.13', affinitySeconds: 10_800 }, both);
    const first = (await get(node, '10.96.0.13')).split(' ')[0];
    const again = async () => {
      const answers = await Promise.all(Array.from({ length: 8 }, () => get(node, '10.96.0.13')));
      return new Set(answers.map((a) => a.split(' ')[0]));
    };
    expect(await again()).toEqual(new Set([first]));
    proxier.forceFull();
    await proxier.sync(signal);
    expect(await again()).toEqual(new Set([first]));
    await apply('sticky', { clusterIp: '10.96.0.13', affinitySeconds: 60 }, both);
    expect((await node('nft', ['list', 'sets', 'ip'])).stdout).toContain('timeout 1m');
    const second = (await get(node, '10.96.0.13')).split(' ')[0];
    expect(await again()).toEqual(new Set([second]));
  });

  test('find their way again after somebody flushed the ruleset', async () => {
    expect(await proxier.detectFlush(signal)).toBe(false);
    await node('nft', ['flush', 'ruleset']);
    expect(await proxier.detectFlush(signal)).toBe(true);
    await proxier.sync(signal);
    await vi.waitFor(async () => expect(await get(pod, '10.96.0.12')).toBe('10.244.1.10 10.244.1.1'), 60_000);
  });

  test('meet no table any more after a cleanup, and a second one does nothing', async () => {
    await cleanupNftables(node, signal);
    expect((await node('nft', ['list', 'tables'])).stdout).not.toContain('kube-proxy');
    await cleanupNftables(node, signal);
  });
});

afterAll(async () => {
  for (const child of children) {
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await ended;
  }
  await namespaces[Symbol.asyncDispose]();
});
