import { expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { FakeIptables } from '../../host/fake-iptables.ts';
import { RULES } from '../fake-rule-options.ts';
import { FamilyProxier } from '../family-proxier.ts';
import { LOCALHOST_NODE_PORTS } from './counter-match.ts';
import { cleanupIptables, IptablesBackend, type IptablesDeps } from './iptables.ts';
import { chainHash } from './names.ts';

const signal = new AbortController().signal;

function setUp(): { kernel: FakeIptables; clock: FakeClock; proxier: FamilyProxier } {
  const kernel = new FakeIptables(['192.0.2.10']);
  const clock = new FakeClock();
  const { exec } = kernel;
  const backend = new IptablesBackend(RULES, { exec });
  const opts = { nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 };
  return { kernel, clock, proxier: new FamilyProxier(opts, { backend, exec, clock, log: silentLog }) };
}

const NAMES = ['a', 'b', 'c'];

interface State {
  readonly service?: { readonly nodePort: boolean; readonly local: boolean; readonly affinity: boolean };
  readonly hosts: readonly number[];
}

function serviceOf(name: string, s: NonNullable<State['service']>): Service {
  const at = NAMES.indexOf(name);
  return {
    metadata: { namespace: 'ns', name },
    spec: {
      type: s.nodePort ? 'NodePort' : 'ClusterIP',
      clusterIP: `10.96.0.${at + 1}`,
      externalTrafficPolicy: s.local ? 'Local' : 'Cluster',
      sessionAffinity: s.affinity ? 'ClientIP' : 'None',
      ports: [{ name: 'p', port: 80, ...(s.nodePort ? { nodePort: 30000 + at } : {}) }],
    },
  };
}

function sliceOf(name: string, hosts: readonly number[]): EndpointSlice {
  return {
    metadata: { namespace: 'ns', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 8080, protocol: 'TCP' }],
    endpoints: hosts.map((h) => ({ addresses: [`10.244.1.${h}`], nodeName: h % 2 ? 'node-a' : 'node-b' })),
  };
}

function put(proxier: FamilyProxier, name: string, state: State): void {
  proxier.handleService(`ns/${name}`, state.service === undefined ? undefined : serviceOf(name, state.service));
  const slice = sliceOf(name, state.hosts);
  if (state.hosts.length === 0) proxier.endpoints.handleGone(slice);
  else proxier.handleSlice(slice);
}

/** Rules by chain; where the order of rules cannot matter it is left out of account. */
function stateOf(kernel: FakeIptables): unknown {
  return ['filter', 'nat'].map((table) =>
    Object.fromEntries(
      [...kernel.chains(table)].sort().map((chain) => {
        const list = [...kernel.rules(table, chain)];
        const top = /^KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS)$/.test(chain);
        return [chain, top ? list.sort() : list];
      }),
    ),
  );
}

test('many Services are written in several documents, and none is out of reach between them', async () => {
  const names = Array.from({ length: 600 }, (_, i) => `s${i}`);
  const shapeOf = (i: number): Service => ({
    metadata: { namespace: 'ns', name: names[i]! },
    spec: { clusterIP: `10.96.${i >> 8}.${i & 255}`, ports: [{ name: 'p', port: 80 }] },
  });
  const { kernel, clock, proxier } = setUp();
  const load = (to: FamilyProxier) =>
    names.forEach((name, i) => {
      to.handleService(`ns/${name}`, shapeOf(i));
      to.handleSlice(sliceOf(name, [(i % 6) + 1, ((i + 1) % 6) + 1, ((i + 2) % 6) + 1]));
    });
  load(proxier);
  await proxier.sync(signal);
  const before = stateOf(kernel);
  expect(kernel.rules('nat', 'KUBE-SERVICES')).toHaveLength(601);

  // A new process with the same Services and one that is gone: after each of its documents the others still answer.
  let documents = 0;
  const watching: Exec = async (program, args, opts) => {
    const result = await kernel.exec(program, args, opts);
    if (opts?.input === undefined) return result;
    documents++;
    for (const i of [0, 299, 598]) {
      const [hop] = kernel.trace({ src: '10.244.1.9', dst: `10.96.${i >> 8}.${i & 255}`, proto: 'tcp', dport: 80 });
      expect(hop).toMatchObject({ to: expect.stringMatching(/^10\.244\.1\./), verdict: 'accept' });
    }
    return result;
  };
  const backend = new IptablesBackend(RULES, { exec: watching });
  const restarted = new FamilyProxier(
    { nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 },
    { backend, exec: watching, clock, log: silentLog },
  );
  load(restarted);
  await restarted.sync(signal);
  expect(documents).toBeGreaterThan(3);
  expect(stateOf(kernel)).toEqual(before);
  restarted.handleService('ns/s599', undefined);
  restarted.forceFull();
  await restarted.sync(signal);
  expect(kernel.rules('nat', 'KUBE-SERVICES')).toHaveLength(600);
  expect(kernel.chains('nat').filter((c) => c === `KUBE-SVC-${chainHash('ns/s599:ptcp')}`)).toEqual([]);
});

test.each(['all at once', 'by a new process'])('a Service of very many endpoints goes, %s', async (how) => {
  const { kernel, clock, proxier } = setUp();
  const empty = setUp();
  await empty.proxier.sync(signal);
  const service: Service = {
    metadata: { namespace: 'ns', name: 'big' },
    spec: { type: 'NodePort', clusterIP: '10.96.0.9', ports: [{ name: 'p', port: 80, nodePort: 30_009 }] },
  };
  const hosts = Array.from({ length: 990 }, (_, i) => i);
  const slice = sliceOf('big', []);
  const endpoints = hosts.map((i) => ({ addresses: [`10.244.${i >> 8}.${i & 255}`] }));
  proxier.handleService('ns/big', service);
  proxier.handleSlice({ ...slice, endpoints });
  await proxier.sync(signal);
  expect(kernel.chains('nat').length).toBeGreaterThan(990);
  let last = proxier;
  if (how === 'by a new process') {
    const backend = new IptablesBackend(RULES, { exec: kernel.exec });
    const deps = { backend, exec: kernel.exec, clock, log: silentLog };
    last = new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, deps);
  } else {
    proxier.handleService('ns/big', undefined);
    proxier.endpoints.handleGone(slice);
  }
  expect(await last.sync(signal)).toBe(how === 'by a new process' ? 'full' : 'partial');
  expect(stateOf(kernel)).toEqual(stateOf(empty.kernel));
  // And a cleanup of a host that has it.
  proxier.handleService('ns/big', service);
  proxier.handleSlice({ ...slice, endpoints });
  proxier.forceFull();
  await proxier.sync(signal);
  const documents = kernel.programs.length;
  await cleanupIptables(kernel.exec, 4, { keepShared: false }, signal);
  expect(kernel.programs.length - documents).toBeGreaterThan(2);
  for (const table of ['filter', 'nat', 'mangle'])
    expect(kernel.chains(table).filter((chain) => chain.startsWith('KUBE-'))).toEqual([]);
});

test('a sync without a change starts no process', async () => {
  const { proxier, kernel } = setUp();
  put(proxier, 'a', { service: { nodePort: true, local: false, affinity: false }, hosts: [1, 2] });
  await proxier.sync(signal);
  const ran = kernel.programs.length;
  put(proxier, 'a', { service: { nodePort: true, local: false, affinity: false }, hosts: [1, 2] });
  await proxier.sync(signal);
  expect(kernel.programs.length).toBe(ran);
});

test('rules flushed by somebody else come back with the next full sync', async () => {
  const { proxier, kernel, clock } = setUp();
  put(proxier, 'a', { service: { nodePort: true, local: false, affinity: false }, hosts: [1] });
  await proxier.sync(signal);
  const before = stateOf(kernel);
  kernel.flush('nat');
  kernel.flush('filter');
  await clock.advance(3_600_000);
  expect(await proxier.sync(signal)).toBe('full');
  expect(stateOf(kernel)).toEqual(before);
});

test('chains of an earlier run that no Service uses are removed, other chains are left', async () => {
  const { proxier, kernel } = setUp();
  kernel.restore('*nat\n:KUBE-SVC-OLD - [0:0]\n:MINE - [0:0]\n-A MINE -j ACCEPT\n-A KUBE-SVC-OLD -j ACCEPT\nCOMMIT\n');
  await proxier.sync(signal);
  expect(kernel.chains('nat')).not.toContain('KUBE-SVC-OLD');
  expect(kernel.rules('nat', 'MINE')).toEqual(['-j ACCEPT']);
});

test('chains of a kube-proxy before v1.24 go with those that they lead to', async () => {
  const old = [
    '*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-XLB-OLD - [0:0]\n:KUBE-SEP-OLD - [0:0]',
    '-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-XLB-OLD',
    '-A KUBE-XLB-OLD -m comment --comment "masquerade LOCAL traffic" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ',
    '-A KUBE-XLB-OLD -j KUBE-SEP-OLD',
    '-A KUBE-SEP-OLD -p tcp -m tcp -j DNAT --to-destination 10.244.1.9:80\nCOMMIT\n',
  ].join('\n');
  const { proxier, kernel } = setUp();
  kernel.restore(old);
  await proxier.sync(signal);
  expect(kernel.chains('nat').filter((c) => c.endsWith('-OLD'))).toEqual([]);
  kernel.flush('nat');
  kernel.restore(old);
  await cleanupIptables(kernel.exec, 4, { keepShared: false }, signal);
  expect(kernel.chains('nat').filter((c) => c.startsWith('KUBE'))).toEqual([]);
});

test('cleanup leaves what it found before', async () => {
  const { proxier, kernel } = setUp();
  kernel.restore('*nat\n:MINE - [0:0]\n-A MINE -j ACCEPT\n-A POSTROUTING -j MINE\nCOMMIT\n');
  put(proxier, 'a', { service: { nodePort: true, local: true, affinity: true }, hosts: [1, 2] });
  await proxier.sync(signal);
  await cleanupIptables(kernel.exec, 4, { keepShared: true }, signal);
  expect(kernel.chains('nat').filter((c) => c.startsWith('KUBE'))).toEqual([]);
  expect(kernel.rules('nat', 'POSTROUTING')).toEqual(['-j MINE']);
  // KUBE-FIREWALL is the kubelet's too.
  expect(kernel.chains('filter').filter((c) => c.startsWith('KUBE'))).toEqual(['KUBE-FIREWALL']);
  await cleanupIptables(kernel.exec, 4, { keepShared: false }, signal);
  expect(kernel.chains('filter').filter((c) => c.startsWith('KUBE'))).toEqual([]);
});

test('hostile addresses, ports and names never reach the kernel, and their neighbours do', async () => {
  const { proxier, kernel } = setUp();
  put(proxier, 'a', { service: { nodePort: false, local: false, affinity: false }, hosts: [] });
  const evil = ['127.0.0.1', '169.254.169.254', '10.0.0.1 -j ACCEPT', '::1', '300.1.1.1', '0.0.0.0', '224.0.0.1', ''];
  proxier.handleSlice({
    ...sliceOf('a', []),
    ports: [
      { name: 'p', port: 8080 },
      { name: 'p', port: 70000 },
      { name: 'p', port: 1, protocol: 'ICMP\n-A INPUT' },
    ],
    endpoints: [...evil, '010.244.001.007'].map((ip) => ({ addresses: [ip] })),
  });
  proxier.handleService('ns/x', {
    metadata: { namespace: 'ns', name: 'x"\n-A INPUT -j ACCEPT' },
    spec: { clusterIP: '10.96.0.9', ports: [{ port: 80 }] },
  });
  proxier.handleService('ns/y', {
    metadata: { namespace: 'ns', name: 'y' },
    spec: { clusterIP: '10.96.0.8', ports: [{ name: 'a" b', port: 80 }, { port: 99999 }, { name: 'ok', port: 81 }] },
  });
  await proxier.sync(signal);
  expect(kernel.trace({ src: '10.244.1.9', dst: '10.96.0.1', proto: 'tcp', dport: 80 })).toEqual([
    { verdict: 'accept', to: '10.244.1.7:8080', masqueraded: false },
  ]);
  const all = kernel.save();
  for (const text of ['169.254', '-j ACCEPT"', '70000', '99999', 'a" b', '10.96.0.9']) expect(all).not.toContain(text);
  expect(all).toContain('ns/y:ok has no endpoints');
});

test('chain hashes are those of upstream', () => {
  expect(chainHash('ns1/svc1:p80tcp')).toBe('XPGD46QRK7WJZT7O');
  expect(chainHash('ns1/svc1:p80tcp10.180.0.1:80')).toBe('SXIVWICOYRO3J4NJ');
});

test.each([
  ['table nat', (k: FakeIptables) => k.flush('nat')],
  ['table filter', (k: FakeIptables) => k.flush('filter')],
  ['chain KUBE-POSTROUTING', (k: FakeIptables) => k.restore('*nat\n:KUBE-POSTROUTING - [0:0]\nCOMMIT')],
])('rules that somebody flushed (%s) come back at the next look, not after an hour', async (_what, flush) => {
  const { kernel, proxier } = setUp();
  put(proxier, 'a', { service: { nodePort: true, local: true, affinity: true }, hosts: [1, 2] });
  await proxier.sync(signal);
  const before = stateOf(kernel);
  expect(await proxier.detectFlush(signal)).toBe(false);
  flush(kernel);
  expect(await proxier.detectFlush(signal)).toBe(true);
  expect(await proxier.sync(signal)).toBe('full');
  expect(stateOf(kernel)).toEqual(before);
  expect(await proxier.detectFlush(signal)).toBe(false);
});

test('a jump that another version of a proxy left is no sign of a flush', async () => {
  const { kernel, proxier } = setUp();
  kernel.restore('*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT');
  await proxier.sync(signal);
  expect(await proxier.detectFlush(signal)).toBe(false);
});

test.each([
  ['deleted', (rule: string) => `-D KUBE-SERVICES ${rule}`],
  ['added', () => '-A KUBE-SERVICES -d 10.96.9.9 -j RETURN'],
])('a rule in a chain for all Services that somebody %s shows at the next look', async (_what, change) => {
  const { kernel, proxier } = setUp();
  for (const name of NAMES)
    put(proxier, name, { service: { nodePort: true, local: false, affinity: false }, hosts: [1] });
  await proxier.sync(signal);
  put(proxier, 'b', { hosts: [] });
  put(proxier, 'c', { service: { nodePort: true, local: true, affinity: true }, hosts: [2] });
  expect(await proxier.sync(signal)).toBe('partial');
  expect(await proxier.detectFlush(signal)).toBe(false);
  const before = stateOf(kernel);
  kernel.restore(`*nat\n${change(kernel.rules('nat', 'KUBE-SERVICES')[0]!)}\nCOMMIT`);
  expect(await proxier.detectFlush(signal)).toBe(true);
  expect(await proxier.sync(signal)).toBe('full');
  expect(stateOf(kernel)).toEqual(before);
});

test('each sync tells how many rules there are and how many it wrote', async () => {
  const kernel = new FakeIptables(['192.0.2.10']);
  const told: string[] = [];
  const onWritten: IptablesDeps['onWritten'] = (table, { total, written }) => told.push(`${table} ${total} ${written}`);
  const backend = new IptablesBackend(RULES, { exec: kernel.exec, onWritten });
  const deps = { backend, exec: kernel.exec, clock: new FakeClock(), log: silentLog };
  const proxier = new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, deps);
  const owned = (table: string) =>
    kernel.chains(table).reduce((n, c) => n + (c.startsWith('KUBE-') ? kernel.rules(table, c).length : 0), 0);
  const last = () => told.splice(0).map((t) => t.split(' ').map(Number).slice(1));
  put(proxier, 'a', { service: { nodePort: true, local: false, affinity: false }, hosts: [1, 2] });
  await proxier.sync(signal);
  expect(last().map(([total]) => total)).toEqual([owned('filter'), owned('nat')]);
  put(proxier, 'b', { service: { nodePort: false, local: false, affinity: false }, hosts: [3] });
  await proxier.sync(signal);
  // One dispatch rule, a chain with two rules that leads to one with two.
  expect(last()).toEqual([
    [owned('filter'), 0],
    [owned('nat'), 5],
  ]);
  put(proxier, 'b', { hosts: [] });
  await proxier.sync(signal);
  expect(last()).toEqual([
    [owned('filter'), 0],
    [owned('nat'), 0],
  ]);
});

test('a look that fails because of a held lock writes nothing', async () => {
  const { kernel, proxier } = setUp();
  await proxier.sync(signal);
  kernel.failNext('Another app is currently holding the xtables lock.', 4);
  await expect(proxier.detectFlush(signal)).rejects.toMatchObject({ code: 'RULES_UNREADABLE' });
  expect(await proxier.detectFlush(signal)).toBe(false);
});

test('flows are looked at after a change of a UDP Service, again after a failure, and not otherwise', async () => {
  const { kernel, clock } = setUp();
  let [looks, isFailing] = [0, true];
  const exec: Exec = async (program, args, opts) => {
    if (program !== 'conntrack') return await kernel.exec(program, args, opts);
    looks++;
    return { code: isFailing ? 1 : 0, signal: undefined, stdout: '', stderr: '' };
  };
  const deps = { backend: new IptablesBackend(RULES, { exec }), exec, clock, log: silentLog };
  const proxier = new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, deps);
  put(proxier, 'a', { service: { nodePort: false, local: false, affinity: false }, hosts: [1] });
  await proxier.sync(signal);
  await proxier.removeStaleFlows(signal);
  expect(looks).toBe(0); // TCP only
  const spec = { clusterIP: '10.96.0.9', ports: [{ name: 'p', port: 53, protocol: 'UDP' as const }] };
  proxier.handleService('ns/u', { metadata: { namespace: 'ns', name: 'u' }, spec });
  await proxier.sync(signal);
  await expect(proxier.removeStaleFlows(signal)).rejects.toMatchObject({ code: 'CONNTRACK_FAILED' });
  isFailing = false;
  expect(await proxier.removeStaleFlows(signal)).toBe(0);
  expect(looks).toBe(2);
  put(proxier, 'a', { service: { nodePort: true, local: false, affinity: false }, hosts: [2] });
  await proxier.sync(signal);
  expect(await proxier.removeStaleFlows(signal)).toBeUndefined();
  expect(looks).toBe(2);
});

test('more than a thousand endpoints make the next sync a full one, and cost the endpoints their comments', async () => {
  const { kernel, proxier } = setUp();
  const slice = (count: number): EndpointSlice => ({
    ...sliceOf('a', []),
    endpoints: Array.from({ length: count }, (_, i) => ({ addresses: [`10.244.${i >> 8}.${i & 255}`] })),
  });
  put(proxier, 'a', { service: { nodePort: false, local: false, affinity: false }, hosts: [1] });
  await proxier.sync(signal);
  const notes = () => kernel.save().match(/ns\/a:p -> /g)?.length ?? 0;
  for (const [count, sync] of [
    [1_000, 'partial'],
    [1_001, 'full'],
    [1_002, 'partial'],
    [1_000, 'full'],
  ] as const) {
    proxier.handleSlice(slice(count));
    expect([count, await proxier.sync(signal), notes()]).toEqual([count, sync, count > 1_000 ? 0 : 1_000]);
  }
});

test('a rule that counts packets to 127.0.0.1 stands before the one for all, whenever its Service came', async () => {
  const { kernel, clock } = setUp();
  const packetCounters = { ensure: async () => new Set([LOCALHOST_NODE_PORTS]), refuse: () => {} };
  const backend = new IptablesBackend(RULES, { exec: kernel.exec, packetCounters });
  const deps = { backend, exec: kernel.exec, clock, log: silentLog };
  const proxier = new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, deps);
  for (const name of NAMES) {
    put(proxier, name, { service: { nodePort: true, local: false, affinity: false }, hosts: [1] });
    await proxier.sync(signal);
    const ofPort = kernel.rules('nat', 'KUBE-NODEPORTS').filter((rule) => rule.includes(`ns/${name}:p`));
    expect(ofPort.map((rule) => rule.includes('nfacct'))).toEqual([true, false]);
  }
});

test('addresses of the node that come or go make the next sync a full one with the rules for them', async () => {
  const kernel = new FakeIptables(['192.0.2.10']);
  let addresses = { nodePortIps: ['192.0.2.10'], nodeIps: ['192.0.2.10'] };
  const backend = new IptablesBackend(RULES, { exec: kernel.exec, addresses: () => addresses });
  const deps = { backend, exec: kernel.exec, clock: new FakeClock(), log: silentLog };
  const proxier = new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, deps);
  await proxier.sync(signal);
  expect(await proxier.sync(signal)).toBe('partial');
  addresses = { nodePortIps: ['192.0.2.10', '198.51.100.1'], nodeIps: ['192.0.2.10', '198.51.100.1'] };
  expect(await proxier.sync(signal)).toBe('full');
  const jumps = kernel.rules('nat', 'KUBE-SERVICES').filter((rule) => rule.endsWith('-j KUBE-NODEPORTS'));
  expect(jumps.map((rule) => / -d (\S+) /.exec(rule)?.[1])).toEqual(['192.0.2.10', '198.51.100.1']);
  expect(await proxier.sync(signal)).toBe('partial');
});

test('an empty canary stands in each table; a kernel without table mangle gets all the others', async () => {
  const { kernel, proxier } = setUp();
  await proxier.sync(signal);
  for (const table of ['filter', 'nat', 'mangle']) expect(kernel.chains(table)).toContain('KUBE-PROXY-CANARY');

  const poor = new FakeIptables(['192.0.2.10']);
  const exec: Exec = async (program, args, opts) =>
    String(opts?.input ?? '').startsWith('*mangle')
      ? { code: 3, signal: undefined, stdout: '', stderr: 'Table does not exist' }
      : poor.exec(program, args, opts);
  const backend = new IptablesBackend(RULES, { exec });
  await backend.writeAll(new Map(), { endpointCount: 0 }, signal);
  expect(poor.chains('nat')).toContain('KUBE-POSTROUTING');
});
