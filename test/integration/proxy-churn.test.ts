// Endpoints that come and go 200 times a second for a minute, in both modes at once: connections to the endpoints that stay
// are never broken, new ones are answered all the while, and at the end the rules are those of the last state.
import { afterAll, expect, test, vi } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { systemClock } from '../../core/clock.ts';
import { trace } from '../../proxy/trace/evaluate.ts';
import { readLiveState } from '../../proxy/trace/live.ts';
import { Random } from '../harness/random.ts';
import { RunningProxy } from '../harness/running-proxy.ts';
import { ADDRESSES, ENDPOINT_PORT } from '../harness/service-matrix.ts';
import { ECHO_PORT, ServiceNet } from '../harness/service-net.ts';

const CHANGES_PER_SECOND = 200;
const SECONDS = 60;
const TURN_MS = 50;
const FAMILY = 4;
const A = ADDRESSES[FAMILY];
const STABLE = [A.localEndpoint, A.remoteEndpoint];
/** Nobody is there: who is sent to one of them is not answered. */
const FLEETING = Array.from({ length: 64 }, (_, i) => `10.244.2.${100 + i}`);

interface Served {
  readonly name: string;
  readonly index: number;
  readonly port: number;
}
/** Keeps its stable endpoints while others come and go beside them. */
const HELD: Served = { name: 'held', index: 1, port: ECHO_PORT };
/** Does not change. */
const STEADY: Served = { name: 'steady', index: 2, port: ENDPOINT_PORT };
const OTHERS: readonly Served[] = Array.from({ length: 50 }, (_, i) => ({
  name: `other-${i}`,
  index: 10 + i,
  port: 8080,
}));

function serviceOf({ name, index }: Served): Service {
  const ports = [{ name: 'p', port: 80, nodePort: 30_000 + index }];
  return { metadata: { namespace: 'churn', name }, spec: { type: 'NodePort', clusterIP: A.clusterIp(index), ports } };
}

function sliceOf({ name, port }: Served, ips: readonly string[]): EndpointSlice {
  return {
    metadata: { namespace: 'churn', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port, protocol: 'TCP' }],
    endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: ip === A.localEndpoint ? 'node-a' : 'node-b' })),
  };
}

const frontends = ({ index }: Served) => [
  { ip: A.clusterIp(index), port: 80 },
  { ip: A.node, port: 30_000 + index },
];

/** Changes endpoints at the rate asked for, for as long; more slowly when the machine does not keep up. */
async function churn(proxy: RunningProxy, random: Random): Promise<void> {
  const startMs = systemClock.monotonicMs();
  const perTurn = (CHANGES_PER_SECOND * TURN_MS) / 1000;
  for (let turn = 1; turn <= (SECONDS * 1000) / TURN_MS; turn++) {
    for (let i = 0; i < perTurn; i++) {
      const fleeting = FLEETING.filter(() => random.chance(0.1));
      if (random.chance(0.3)) proxy.setSlice(sliceOf(HELD, [...STABLE, ...fleeting]));
      else proxy.setSlice(sliceOf(random.pick(OTHERS), fleeting));
    }
    await systemClock.sleep(Math.max(0, startMs + turn * TURN_MS - systemClock.monotonicMs()));
  }
}

const nets: ServiceNet[] = [];
afterAll(async () => {
  for (const net of nets) await net[Symbol.asyncDispose]();
});

const places = ['pod', 'node', 'outside'] as const;

test.concurrent.each(['iptables', 'nftables'] as const)(
  'in %s mode no connection to an endpoint that stays is broken while others come and go',
  async (mode) => {
    const net = await ServiceNet.create();
    nets.push(net);
    await using running = new RunningProxy(net.node, { mode, family: FAMILY });
    const services = [HELD, STEADY, ...OTHERS];
    await running.start(
      services.map((s) => serviceOf(s)),
      [sliceOf(HELD, STABLE), sliceOf(STEADY, STABLE), ...OTHERS.map((s) => sliceOf(s, FLEETING.slice(0, 3)))],
    );
    const targets = Array(4).fill(frontends(HELD)).flat();
    const held = await Promise.all(places.map((place) => net.hold(place, targets, FAMILY)));
    const steady = frontends(STEADY).map((at) => ({ ...at, answers: 2 }));
    const connecting = places.map((place) => net.connectOverAndOver(place, steady, FAMILY));
    await churn(running, new Random(200));
    for (const [i, place] of places.entries()) {
      const { count, seen } = await connecting[i]!();
      expect(
        seen.filter((answer) => !/^(local|remote) /.test(answer)),
        `from ${place}`,
      ).toEqual([]);
      expect(count).toBeGreaterThan(SECONDS / 4); // ten each second, on a machine that is not busy
    }
    const reports = await Promise.all(held.map((connections) => connections.close()));
    expect(reports.flatMap((r) => r.broken)).toEqual([]);
    for (const { exchanges } of reports) expect(exchanges).toBeGreaterThan((targets.length * SECONDS) / 4);
    expect(await running.metric('sync_partial_proxy_rules_duration_seconds')).toBeGreaterThan(SECONDS / 10);

    for (const service of OTHERS) running.setSlice(sliceOf(service, [A.remoteEndpoint]));
    running.setSlice(sliceOf(HELD, STABLE));
    const wanted = services.map((s) => (OTHERS.includes(s) ? [A.remoteEndpoint] : STABLE));
    await vi.waitFor(async () => expect(await reached(net, services)).toEqual(wanted), {
      timeout: 120_000,
      interval: 500,
    });
  },
  (SECONDS + 300) * 1000,
);

/** Endpoints that the rules in the kernel lead to, for each Service. */
async function reached(net: ServiceNet, services: readonly Served[]): Promise<string[][]> {
  const { ruleset, facts } = await readLiveState(net.node, FAMILY, new AbortController().signal);
  return services.map(({ index }) => {
    const to = { to: A.clusterIp(index), port: 80, protocol: 'tcp' } as const;
    return trace({ from: A.localPod, ...to }, ruleset, facts)
      .ways.map((w) => w.destination.ip)
      .sort();
  });
}
