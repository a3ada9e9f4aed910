// The worked example of upstream's mode, line by line, and when what is sent to the tool.
import { expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { systemClock } from '../../core/clock.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { RULES } from '../fake-rule-options.ts';
import { FamilyProxier } from '../family-proxier.ts';
import type { NodeAddresses } from '../options.ts';
import { FakeNft } from './fake-nft.ts';
import { NftablesBackend } from './nftables.ts';
import type { NftOptions } from './table.ts';

const signal = new AbortController().signal;
const options: NftOptions = {
  ...RULES,
  localhostNodePorts: false,
  nodePortIps: ['192.0.2.10'],
  serviceCidrs: ['10.96.0.0/16'],
  hasObjectComments: true,
};

/** A host without our table that takes whatever is written to it. */
function setUp(opts: Partial<NftOptions> = {}, addresses?: () => NodeAddresses) {
  const written: string[] = [];
  const exec: Exec = async (_program, args, { input = '' } = {}) => {
    if (args.includes('-f')) written.push(String(input));
    const isListing = args.includes('list');
    return {
      code: isListing ? 1 : 0,
      signal: undefined,
      stdout: '',
      stderr: isListing ? 'No such file or directory' : '',
    };
  };
  const deps = { exec, clock: systemClock, log: silentLog };
  const backend = new NftablesBackend({ ...options, ...opts }, { ...deps, ...(addresses && { addresses }) });
  const proxier = new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, { ...deps, backend });
  /** Lines written by one sync, without what all of them say of the table. */
  const sync = async () => {
    written.length = 0;
    await proxier.sync(signal);
    return written.flatMap((text) => text.trimEnd().split('\n')).map((line) => line.replace(' ip kube-proxy ', ' '));
  };
  return { backend, proxier, written, sync };
}

function put(
  proxier: FamilyProxier,
  key: string,
  spec: Service['spec'],
  endpoints: readonly string[],
  vip?: string,
): void {
  const [namespace, name] = key.split('/') as [string, string];
  const ingress = vip === undefined ? [] : [{ ip: vip }];
  proxier.handleService(key, { metadata: { namespace, name }, spec: spec!, status: { loadBalancer: { ingress } } });
  const slice: EndpointSlice = {
    metadata: { namespace, name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: spec?.ports?.[0]?.name ?? '', port: Number(endpoints[0]?.split(':')[1] ?? 1), protocol: 'TCP' }],
    endpoints: endpoints.map((e) => ({
      addresses: [e.split(':')[0]!],
      nodeName: e.startsWith('10.244.1.') ? 'node-a' : 'node-b',
    })),
  };
  proxier.handleSlice(slice);
}

test('a NodePort Service', async () => {
  const { proxier, sync } = setUp();
  const ports = [{ name: 'http', port: 80, nodePort: 30_080 }];
  put(proxier, 'default/web', { type: 'NodePort', clusterIP: '10.96.0.50', ports }, [
    '10.244.1.5:8080',
    '10.244.2.7:8080',
  ]);
  const lines = await sync();
  const own = lines.filter((line) => /SUSTUHLJ|10\.96\.0\.50|10\.244\.1\.5/.test(line));
  expect(new Set(own)).toEqual(
    new Set([
      'add chain service-SUSTUHLJ-default/web/tcp/http',
      'flush chain service-SUSTUHLJ-default/web/tcp/http',
      'add chain external-SUSTUHLJ-default/web/tcp/http',
      'flush chain external-SUSTUHLJ-default/web/tcp/http',
      'add element hairpin-connections { 10.244.1.5 . 10.244.1.5 . tcp . 8080 }',
      'add element cluster-ips { 10.96.0.50 }',
      'add element service-ips { 10.96.0.50 . tcp . 80 : goto service-SUSTUHLJ-default/web/tcp/http }',
      'add element service-nodeports { tcp . 30080 : goto external-SUSTUHLJ-default/web/tcp/http }',
      'add rule external-SUSTUHLJ-default/web/tcp/http mark set mark or 0x004000 comment "masquerade"',
      'add rule external-SUSTUHLJ-default/web/tcp/http goto service-SUSTUHLJ-default/web/tcp/http',
      'add rule service-SUSTUHLJ-default/web/tcp/http meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.1.5 . 8080 , 1 : 10.244.2.7 . 8080 }',
    ]),
  );
});

test('a LoadBalancer Service with the Local policy and source ranges, none of whose endpoints is here', async () => {
  const { proxier, sync } = setUp();
  const spec: Service['spec'] = {
    type: 'LoadBalancer',
    clusterIP: '10.96.1.2',
    externalTrafficPolicy: 'Local',
    loadBalancerSourceRanges: ['192.0.2.0/24'],
    ports: [{ name: 'https', port: 443, nodePort: 31_443 }],
  };
  put(proxier, 'shop/edge', spec, ['10.244.3.8:8443'], '203.0.113.9');
  const rules = (await sync()).filter((line) => /Y3PDBKDA|203\.0\.113\.9|31443/.test(line) && !/ chain /.test(line));
  const base = 'Y3PDBKDA-shop/edge/tcp/https';
  expect(new Set(rules)).toEqual(
    new Set([
      `add element service-ips { 10.96.1.2 . tcp . 443 : goto service-${base} , 203.0.113.9 . tcp . 443 : goto external-${base} }`,
      'add element no-endpoint-services { 203.0.113.9 . tcp . 443 comment "shop/edge:https" : drop }',
      `add element firewall-ips { 203.0.113.9 . tcp . 443 : goto firewall-${base} }`,
      `add element service-nodeports { tcp . 31443 : goto external-${base} }`,
      'add element no-endpoint-nodeports { tcp . 31443 comment "shop/edge:https" : drop }',
      `add rule service-${base} meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.244.3.8 . 8443 }`,
      `add rule external-${base} ip saddr 10.244.0.0/16 goto service-${base} comment "short-circuit pod traffic"`,
      `add rule external-${base} fib saddr type local mark set mark or 0x004000 comment "masquerade local traffic"`,
      `add rule external-${base} fib saddr type local goto service-${base} comment "short-circuit local traffic"`,
      `add rule firewall-${base} ip saddr != { 192.0.2.0/24 , 203.0.113.9 } drop`,
    ]),
  );
});

test('a Service with session affinity, and one without endpoints', async () => {
  const { proxier, sync } = setUp();
  const sticky: Service['spec'] = {
    clusterIP: '10.96.1.4',
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } },
    ports: [{ name: 'http', port: 80 }],
  };
  put(proxier, 'shop/sticky', sticky, ['10.244.1.21:80', '10.244.2.21:80']);
  put(proxier, 'default/api', { clusterIP: '10.96.0.60', ports: [{ port: 443 }] }, []);
  const lines = await sync();
  const [one, two] = ['XH2MWM4M-shop/sticky/tcp/http__10.244.1.21/80', '7KURBDDN-shop/sticky/tcp/http__10.244.2.21/80'];
  expect(lines).toEqual(
    expect.arrayContaining([
      `add set affinity-${one} { type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; }`,
      `add rule endpoint-${one} update @affinity-${one} { ip saddr }`,
      `add rule endpoint-${one} meta l4proto tcp dnat to 10.244.1.21:80`,
      `add rule service-G5HJIGAW-shop/sticky/tcp/http ip saddr @affinity-${one} goto endpoint-${one}`,
      `add rule service-G5HJIGAW-shop/sticky/tcp/http ip saddr @affinity-${two} goto endpoint-${two}`,
      `add rule service-G5HJIGAW-shop/sticky/tcp/http numgen random mod 2 vmap { 0 : goto endpoint-${one} , 1 : goto endpoint-${two} }`,
      'add element no-endpoint-services { 10.96.0.60 . tcp . 443 comment "default/api" : goto reject-chain }',
    ]),
  );
  expect(lines.filter((line) => line.includes('default/api')).length).toBe(1); // no chain for nothing
});

test('a change is one transaction, of what belongs to it alone; no change is none', async () => {
  const { proxier, sync, written } = setUp();
  const spec = (i: number): Service['spec'] => ({ clusterIP: `10.96.2.${i}`, ports: [{ name: 'p', port: 80 }] });
  for (let i = 1; i < 200; i++) put(proxier, `many/s${i}`, spec(i), ['10.244.1.5:80']);
  await sync();
  put(proxier, 'many/s7', spec(7), ['10.244.1.5:80', '10.244.2.5:80']);
  const lines = await sync();
  expect(written.length).toBe(1);
  expect(lines.map((line) => line.replace(/-[A-Z0-9]{8}-/, '-HASH-'))).toEqual([
    'add chain service-HASH-many/s7/tcp/p',
    'flush chain service-HASH-many/s7/tcp/p',
    'add rule service-HASH-many/s7/tcp/p meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.1.5 . 80 , 1 : 10.244.2.5 . 80 }',
  ]);
  expect(await sync()).toEqual([]);
});

test('the first full sync makes base chains anew, later ones leave them', async () => {
  const { proxier, sync } = setUp();
  const deletions = (lines: readonly string[]) => lines.filter((line) => line.startsWith('delete chain ')).length;
  expect(deletions(await sync())).toBe(8);
  proxier.forceFull();
  expect(deletions(await sync())).toBe(0);
});

test('comments on tables, sets and chains are left out where the kernel does not take them, those of rules stay', async () => {
  const { sync } = setUp({ hasObjectComments: false });
  const commented = (await sync()).filter((line) => line.includes('comment'));
  expect(commented.every((line) => line.startsWith('add rule '))).toBe(true);
  expect(commented.length).toBeGreaterThan(0);
});

test('other addresses for node ports make the next sync a full one, and are noticed without a change of a Service', async () => {
  let ip = '192.0.2.10';
  const { proxier, sync } = setUp({}, () => ({ nodePortIps: [ip], nodeIps: [ip] }));
  expect(await sync()).toContain('add element nodeport-ips { 192.0.2.10 }');
  expect(await sync()).toEqual([]);
  expect(proxier.noticeAddresses()).toBe(false);
  ip = '192.0.2.11';
  expect(await sync()).toContain('add element nodeport-ips { 192.0.2.11 }');
  ip = '192.0.2.12';
  expect(proxier.noticeAddresses()).toBe(true);
  expect(proxier.nextSync).toBe('full');
  expect(await sync()).toContain('add element nodeport-ips { 192.0.2.12 }');
  expect(proxier.noticeAddresses()).toBe(false);
});

test('ranges of cluster IPs that become known later are written with the next change, once', async () => {
  const { backend, proxier, sync } = setUp({ serviceCidrs: [] });
  await sync();
  backend.setServiceCidrs(['10.96.128.0/17', 'fd00::/108', '10.96.0.0/16', '10.97.0.0/24']);
  const check = (await sync()).filter((line) => line.includes('cluster-ips-check'));
  expect(check).toEqual([
    'flush chain cluster-ips-check',
    'add rule cluster-ips-check ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"',
    'add rule cluster-ips-check ip daddr { 10.96.0.0/16 , 10.97.0.0/24 } drop comment "Drop traffic to unallocated ClusterIPs"',
  ]);
  backend.setServiceCidrs(['10.97.0.0/24', '10.96.0.0/16']);
  expect(await sync()).toEqual([]);
  proxier.forceFull();
  expect((await sync()).join()).toContain('10.96.0.0/16 , 10.97.0.0/24');
});

/** A proxy on a host that has a table, and what it holds. */
function onFakeHost() {
  const nft = new FakeNft();
  const clock = new FakeClock();
  const told = { failures: 0 };
  const onCleanupFailure = () => told.failures++;
  const backend = new NftablesBackend(options, { exec: nft.exec, clock, onCleanupFailure });
  const deps = { backend, exec: nft.exec, clock, log: silentLog };
  const proxier = new FamilyProxier({ nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 }, deps);
  const chains = () => nft.chains().filter((name) => name.includes('/'));
  return { nft, proxier, clock, told, chains };
}

test('a chain goes a second after it was emptied, unless its Service has come back', async () => {
  const { proxier, clock, told, chains } = onFakeHost();
  const spec: Service['spec'] = { clusterIP: '10.96.0.1', ports: [{ name: 'p', port: 80 }] };
  const sync = async (isThere: boolean) => {
    if (isThere) put(proxier, 'ns/a', spec, ['10.244.1.5:80']);
    else proxier.handleService('ns/a', undefined);
    await proxier.sync(signal);
  };
  await sync(true);
  await sync(false);
  await clock.advance(999);
  await proxier.sync(signal);
  expect(chains()).toHaveLength(1); // kernels notice late that nothing leads there
  await sync(true);
  await clock.advance(1_000);
  await proxier.sync(signal);
  expect([chains().length, proxier.hasLeftovers]).toEqual([1, false]);
  await sync(false);
  expect(proxier.hasLeftovers).toBe(true);
  await clock.advance(1_000);
  await proxier.sync(signal);
  expect([chains(), proxier.hasLeftovers, told.failures]).toEqual([[], false, 0]);
});

test('a chain that cannot be deleted is counted, and makes the next sync a full one, which does away with it', async () => {
  const { nft, proxier, clock, told, chains } = onFakeHost();
  put(proxier, 'ns/a', { clusterIP: '10.96.0.1', ports: [{ name: 'p', port: 80 }] }, ['10.244.1.5:80']);
  await proxier.sync(signal);
  const [chain] = chains();
  await nft.exec('nft', ['-f', '-'], { input: `add rule ip kube-proxy services goto ${chain}\n` }); // somebody else
  proxier.handleService('ns/a', undefined);
  await proxier.sync(signal);
  await clock.advance(1_000);
  expect([await proxier.sync(signal), told.failures, chains()]).toEqual(['partial', 1, [chain]]);
  expect(await proxier.sync(signal)).toBe('full');
  await clock.advance(1_000);
  expect([await proxier.sync(signal), told.failures, chains()]).toEqual(['partial', 1, []]);
});

test('sets whose time changes go with the chains that use them, however many Services change beside', async () => {
  const { proxier } = onFakeHost();
  const sticky = (externalTrafficPolicy: 'Local' | 'Cluster', timeoutSeconds: number): Service['spec'] => ({
    type: 'NodePort',
    clusterIP: '10.96.0.1',
    externalTrafficPolicy,
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds } },
    ports: [{ name: 'p', port: 80, nodePort: 30_000 }],
  });
  put(proxier, 'ns/a', sticky('Local', 10), ['10.244.1.5:80']);
  await proxier.sync(signal);
  put(proxier, 'ns/a', sticky('Cluster', 20), ['10.244.1.5:80']); // local-… is emptied with the last transaction
  for (let i = 0; i < 600; i++) {
    const clusterIP = `10.97.${i >> 8}.${i & 255}`;
    put(proxier, `ns/s${i}`, { clusterIP, ports: [{ name: 'p', port: 80 }] }, ['10.244.1.5:80']);
  }
  expect(await proxier.sync(signal)).toBe('partial');
});

test('a Service with the longest names that there can be holds up no other one', async () => {
  const { proxier } = onFakeHost();
  const [namespace, name, port] = ['n', 's', 'p'].map((letter) => letter.repeat(63)) as [string, string, string];
  const ports = [{ name: port, port: 80, nodePort: 30_000 }];
  const spec: Service['spec'] = { type: 'NodePort', clusterIP: '10.96.0.1', externalTrafficPolicy: 'Local', ports };
  for (const endpoints of [[], ['10.244.2.5:80'], ['10.244.1.5:80']]) {
    put(proxier, `${namespace}/${name}`, spec, endpoints);
    await proxier.sync(signal);
    expect(await proxier.detectFlush(signal)).toBe(false);
  }
});
