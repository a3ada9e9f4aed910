// Whatever becomes of Services from one sync to the next (other types, ports and protocols, addresses that one gives up as
// another takes them, endpoints that change slices), both modes end where the last state alone would have led them.
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
const NAMES = ['a', 'b', 'c'];

const rules = { ...RULES, serviceCidrs: ['10.96.0.0/16'], hasObjectComments: true };

/** A host whose tools are in `exec`, and a new proxy on it. */
interface Host {
  readonly exec: Exec;
  readonly state: () => unknown;
  readonly backend: (exec: Exec, clock: FakeClock) => RuleBackend;
}

function iptables(): Host {
  const fake = new FakeIptables(['192.0.2.10']);
  const top = /^KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|PROXY-FIREWALL)$/; // where the order cannot matter
  const state = () =>
    ['filter', 'nat'].map((table) =>
      [...fake.chains(table)].sort().map((chain) => {
        const list = [...fake.rules(table, chain)];
        return [chain, top.test(chain) ? list.sort() : list];
      }),
    );
  return { exec: fake.exec, state, backend: (exec) => new IptablesBackend(rules, { exec }) };
}

function nftables(): Host {
  const fake = new FakeNft();
  const backend: Host['backend'] = (exec, clock) => new NftablesBackend(rules, { exec, clock });
  return { exec: fake.exec, state: () => fake.state(), backend };
}

/** A proxy on `host`, whose tools refuse what is written while `fails`. */
function start(host: Host, fails: () => boolean = () => false): FamilyProxier {
  const clock = new FakeClock();
  const exec: Exec = async (program, args, opts) =>
    fails() && opts?.input !== undefined
      ? { code: 1, signal: undefined, stdout: '', stderr: 'line 3 failed' }
      : await host.exec(program, args, opts);
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
});

const SHARED_IP = '198.51.100.1';

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
  externalIps: fc.constantFrom([], [SHARED_IP], ['198.51.100.2', SHARED_IP]),
  vips: fc.constantFrom([], [SHARED_IP], ['203.0.113.1'], ['203.0.113.1', '203.0.113.2']),
  ranges: fc.constantFrom([], ['192.0.2.0/24'], ['203.0.113.0/24', '198.18.0.0/15']),
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

function sliceOf(name: string, i: number, s: Shape): EndpointSlice {
  return {
    metadata: { namespace: 'ns', name: `${name}-${i}`, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: s.ports.map(([portName, port, protocol]) => ({ name: portName, port: port + 8000, protocol })),
    endpoints: (s.slices[i] ?? []).map(({ host, ready, serving, terminating, zone }) => ({
      addresses: [`10.244.1.${host}`],
      nodeName: host % 2 ? 'node-a' : 'node-b',
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
      const slice = sliceOf(name, i, s);
      if (i < s.slices.length) proxier.handleSlice(slice);
      else proxier.endpoints.handleGone(slice);
    }
  }
}

test.each([
  ['iptables', iptables],
  ['nftables', nftables],
])('%s: any way to a state leaves no trace in it, and each sync what it took itself to leave', async (_mode, host) => {
  const step = fc.record({
    cluster,
    next: fc.constantFrom('sync', 'sync', 'sync', 'nothing', 'fail', 'restart'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      const stepped = host();
      let isFailing = false;
      let proxier = start(stepped, () => isFailing);
      for (const { cluster: wanted, next } of steps) {
        if (next === 'restart') proxier = start(stepped, () => isFailing);
        put(proxier, wanted);
        isFailing = next === 'fail';
        if (isFailing) await proxier.sync(signal).catch(() => {});
        isFailing = false;
        if (next !== 'sync') continue;
        await proxier.sync(signal); // must be taken: nothing else is at work
        expect(await proxier.detectFlush(signal)).toBe(false);
      }
      await proxier.sync(signal);
      const direct = host();
      const reference = start(direct);
      put(reference, steps.at(-1)!.cluster);
      await reference.sync(signal);
      expect(stepped.state()).toEqual(direct.state());
    }),
    { numRuns: 100 },
  );
});
