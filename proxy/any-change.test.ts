// Whatever becomes of Services from one sync to the next (other types, ports and protocols, addresses that one gives up as
// another takes them, endpoints that change slices), however syncs fail and whoever meddles between them, both modes end
// where the last state alone would have led them, in either family.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../api/kinds.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import { FakeIptables } from '../host/fake-iptables.ts';
import { RULES } from './fake-rule-options.ts';
import { FamilyProxier } from './family-proxier.ts';
import { IptablesBackend } from './iptables/iptables.ts';
import { FakeNft } from './nftables/fake-nft.ts';
import { NftablesBackend } from './nftables/nftables.ts';
import type { RuleBackend } from './rule-backend.ts';

const signal = new AbortController().signal;
const NAMES = ['a', 'ab', 'c'.repeat(63)];

type Family = 4 | 6;

const rulesOf = (family: Family) => ({
  ...RULES,
  family,
  serviceCidrs: ['10.96.0.0/16', 'fd00:96::/112'],
  hasObjectComments: true,
  ...(family === 4 ? {} : { localTraffic: { by: 'cidr', cidr: 'fd00:244::/56' } as const, localhostNodePorts: false }),
});

/** A host whose tools are in `exec`, and a new proxy on it. */
interface Host {
  readonly exec: Exec;
  readonly state: () => unknown;
  readonly backend: (exec: Exec, clock: FakeClock) => RuleBackend;
  /** Somebody empties everything, or the nth chain. */
  readonly meddle: (n: number | 'everything') => Promise<void>;
}

function iptables(family: Family): Host {
  const fake = new FakeIptables(['192.0.2.10', '2001:db8::10']);
  const top = /^KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|PROXY-FIREWALL)$/; // where the order cannot matter
  const state = () =>
    ['filter', 'nat'].map((table) =>
      [...fake.chains(table)].sort().map((chain) => {
        const list = [...fake.rules(table, chain)];
        return [chain, top.test(chain) ? list.sort() : list];
      }),
    );
  const meddle: Host['meddle'] = async (n) => {
    const own = fake.chains('nat').filter((chain) => chain.startsWith('KUBE-'));
    if (n === 'everything') fake.flush('nat');
    else if (own.length > 0) fake.restore(`*nat\n:${own[n % own.length]} - [0:0]\nCOMMIT\n`);
  };
  return { exec: fake.exec, state, backend: (exec) => new IptablesBackend(rulesOf(family), { exec }), meddle };
}

function nftables(family: Family): Host {
  const fake = new FakeNft(family);
  const backend: Host['backend'] = (exec, clock) => new NftablesBackend(rulesOf(family), { exec, clock });
  const meddle: Host['meddle'] = async (n) => {
    const at = `${family === 4 ? 'ip' : 'ip6'} kube-proxy`;
    const chains = fake.chains();
    const command = n === 'everything' ? `delete table ${at}` : `flush chain ${at} ${chains[n % chains.length]}`;
    if (chains.length > 0) await fake.exec('nft', ['-f', '-'], { input: `${command}\n` });
  };
  return { exec: fake.exec, state: () => fake.state(), backend, meddle };
}

const FAULTS = ['refused', 'first table only', 'killed when done', 'hangs', 'unreadable', 'garbled'] as const;
type Fault = (typeof FAULTS)[number];

/** A proxy on `host`, whose tools have the `fault` of the moment. */
function start(host: Host, fault: () => Fault | undefined = () => undefined): FamilyProxier {
  const clock = new FakeClock();
  const failed = { code: 1, signal: undefined, stdout: '', stderr: 'line 3 failed' };
  const exec: Exec = async (program, args, opts) => {
    const isList = opts?.input === undefined;
    switch (fault()) {
      case 'refused':
        return isList ? await host.exec(program, args, opts) : failed;
      case 'first table only':
        if (isList) break;
        await host.exec(program, args, { ...opts, input: String(opts.input).replace(/(?<=^COMMIT\n)[\s\S]*/m, '') });
        return failed;
      case 'killed when done':
        return { ...(await host.exec(program, args, opts)), code: -1, signal: 'SIGKILL' };
      case 'hangs':
        throw new Error(`${program} took too long`);
      case 'unreadable':
        if (isList) return failed;
        break;
      case 'garbled':
        if (isList) return { ...failed, code: 0, stdout: 'table {{\n*nat\n-A' };
        break;
    }
    return await host.exec(program, args, opts);
  };
  const options = { nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 };
  const proxier = new FamilyProxier(options, { backend: host.backend(exec, clock), exec, clock, log: silentLog });
  proxier.setZone('z1');
  return proxier;
}

interface Shape {
  readonly type: 'gone' | 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName' | 'headless' | 'of another proxy';
  readonly ports: readonly (readonly [name: string, port: number, protocol: 'TCP' | 'UDP' | 'SCTP'])[];
  readonly affinitySeconds: number | undefined;
  readonly internalLocal: boolean;
  readonly externalLocal: boolean;
  readonly externalIps: readonly string[];
  readonly vips: readonly string[];
  readonly ranges: readonly string[];
  /** Endpoints by slice. */
  readonly slices: readonly (readonly EndpointShape[])[];
}

interface EndpointShape {
  readonly host: number;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zone: string | undefined;
  /** Instead of one address of the host: none, or what no slice of the family may hold. */
  readonly odd: readonly string[] | undefined;
}

/** Every Service of the cluster, and which of three addresses and ranges of node ports each has. */
interface ClusterState {
  readonly shapes: readonly Shape[];
  readonly numbers: readonly number[];
}

const endpoint: fc.Arbitrary<EndpointShape> = fc.record({
  host: fc.integer({ min: 1, max: 4 }),
  ready: fc.boolean(),
  serving: fc.boolean(),
  terminating: fc.boolean(),
  zone: fc.constantFrom(undefined, 'z1', 'z2'),
  odd: fc.constantFrom(undefined, undefined, undefined, [], ['10.244.1.9'], ['fd00:244::9'], ['127.0.0.1'], ['x']),
});

const SHARED_IP = '198.51.100.1';
const SHARED_IP6 = '2001:db8:1::1';
const LONG = 'l'.repeat(63);

const shape: fc.Arbitrary<Shape> = fc.record({
  type: fc.constantFrom<Shape['type'][]>(
    'gone',
    'ClusterIP',
    'NodePort',
    'NodePort',
    'LoadBalancer',
    'LoadBalancer',
    'ExternalName',
    'headless',
    'of another proxy',
  ),
  ports: fc.constantFrom<Shape['ports'][]>(
    [['p', 80, 'TCP']],
    [['q', 80, 'TCP']],
    [['p', 80, 'UDP']],
    [[LONG, 80, 'TCP']],
    [['p', 81, 'TCP']],
    [
      ['p', 80, 'TCP'],
      ['q', 80, 'UDP'],
      ['r', 80, 'SCTP'],
    ],
    [
      ['q', 80, 'TCP'],
      ['p', 81, 'TCP'],
    ],
  ),
  affinitySeconds: fc.constantFrom(undefined, 10, 20),
  internalLocal: fc.boolean(),
  externalLocal: fc.boolean(),
  externalIps: fc.constantFrom([], [SHARED_IP, SHARED_IP6], ['198.51.100.2', SHARED_IP, SHARED_IP]),
  vips: fc.constantFrom([], [SHARED_IP, SHARED_IP6], ['203.0.113.1'], ['203.0.113.1', '203.0.113.2', '2001:db8:2::1']),
  ranges: fc.constantFrom([], ['192.0.2.0/24'], ['203.0.113.0/24', '198.18.0.0/15', '2001:db8:3::/64']),
  slices: fc.array(fc.array(endpoint, { maxLength: 3 }), { maxLength: 2 }),
});

const cluster: fc.Arbitrary<ClusterState> = fc.record({
  shapes: fc.tuple(shape, shape, shape),
  numbers: fc.shuffledSubarray([1, 2, 3], { minLength: 3 }),
});

function serviceOf(name: string, s: Shape, number: number): Service | undefined {
  if (s.type === 'gone') return undefined;
  const hasIp = s.type !== 'headless' && s.type !== 'ExternalName';
  const type = s.type === 'headless' || s.type === 'of another proxy' ? 'ClusterIP' : s.type;
  const nodePort = (i: number) =>
    type === 'NodePort' || type === 'LoadBalancer' ? { nodePort: 30_000 + number * 10 + i } : {};
  const labels = s.type === 'of another proxy' ? { labels: { 'service.kubernetes.io/service-proxy-name': 'x' } } : {};
  return {
    metadata: { namespace: 'ns', name, ...labels },
    spec: {
      type,
      clusterIP: hasIp ? `10.96.0.${number}` : 'None',
      ipFamilies: ['IPv4', 'IPv6'],
      clusterIPs: hasIp ? [`10.96.0.${number}`, `fd00:96::${number}`] : ['None'],
      externalIPs: [...s.externalIps],
      externalTrafficPolicy: s.externalLocal ? 'Local' : 'Cluster',
      internalTrafficPolicy: s.internalLocal ? 'Local' : 'Cluster',
      loadBalancerSourceRanges: [...s.ranges],
      ...(type === 'LoadBalancer' && s.externalLocal ? { healthCheckNodePort: 31_000 + number } : {}),
      ...(s.affinitySeconds === undefined
        ? {}
        : { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: s.affinitySeconds } } }),
      ports: s.ports.map(([portName, port, protocol], i) => ({ name: portName, port, protocol, ...nodePort(i) })),
    },
    ...(type === 'LoadBalancer' ? { status: { loadBalancer: { ingress: s.vips.map((ip) => ({ ip })) } } } : {}),
  };
}

function sliceOf(name: string, i: number, s: Shape, family: Family): EndpointSlice {
  return {
    metadata: { namespace: 'ns', name: `${name}-${i}-${family}`, labels: { 'kubernetes.io/service-name': name } },
    addressType: `IPv${family}`,
    ports: s.ports.map(([portName, port, protocol]) => ({ name: portName, port: port + 8000, protocol })),
    endpoints: (s.slices[i] ?? []).map(({ host, ready, serving, terminating, zone, odd }) => ({
      addresses: [...(odd ?? [family === 4 ? `10.244.1.${host}` : `fd00:244::${host}`])],
      nodeName: host % 2 ? 'node-a' : 'a node that nobody knows',
      conditions: { ready, serving, terminating },
      ...(zone === undefined ? {} : { hints: { forZones: [{ name: zone }] } }),
    })),
  };
}

function put(proxier: FamilyProxier, { shapes, numbers }: ClusterState): void {
  for (const [at, s] of shapes.entries()) {
    const name = NAMES[at]!;
    proxier.handleService(`ns/${name}`, serviceOf(name, s, numbers[at]!));
    for (const i of [0, 1]) {
      for (const family of [4, 6] as const) {
        const slice = sliceOf(name, i, s, family);
        if (i < s.slices.length) proxier.handleSlice(slice);
        else proxier.endpoints.handleGone(slice);
      }
    }
  }
}

test.each([
  ['iptables', 4, iptables],
  ['iptables', 6, iptables],
  ['nftables', 4, nftables],
  ['nftables', 6, nftables],
] as const)(
  '%s, IPv%i: any way to a state leaves no trace in it, and each sync what it took itself to leave',
  async (_mode, family, host) => {
    const step = fc.record({
      cluster,
      next: fc.constantFrom('sync', 'sync', 'sync', 'nothing', 'restart', 'meddle', ...FAULTS),
      chain: fc.oneof(fc.nat(40), fc.constant('everything' as const)),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
        const stepped = host(family);
        let fault: Fault | undefined;
        let proxier = start(stepped, () => fault);
        for (const { cluster: wanted, next, chain } of steps) {
          if (next === 'restart') proxier = start(stepped, () => fault);
          put(proxier, wanted);
          if (next === 'meddle') {
            await stepped.meddle(chain);
            await proxier.sync(signal).catch(() => {}); // may meet what is missing
            proxier.forceFull(); // as each hour, for what no look finds
            await proxier.sync(signal);
          }
          fault = FAULTS.find((one) => one === next);
          if (fault !== undefined) await proxier.sync(signal).catch(() => {});
          fault = undefined;
          if (next !== 'sync') continue;
          await proxier.sync(signal); // must be taken: nothing else is at work
          expect(await proxier.detectFlush(signal)).toBe(false);
        }
        await proxier.sync(signal);
        const direct = host(family);
        const reference = start(direct);
        put(reference, steps.at(-1)!.cluster);
        await reference.sync(signal);
        expect(stepped.state()).toEqual(direct.state());
      }),
      { numRuns: 80 },
    );
  },
);
