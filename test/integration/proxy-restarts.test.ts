// A proxy that is killed in the middle of a sync, one that is started again, and one that changes its mode, while
// connections go on: none of them breaks, and what the kernel holds in the end is what the last proxy wants. On the real
// kernel, with more Services than one document takes.
import { afterAll, expect, test, vi } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { removeOtherMode } from '../../cmd/agent/proxy-removal.ts';
import type { AgentContext } from '../../cmd/agent/shared.ts';
import { silentLog } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { trace } from '../../proxy/trace/evaluate.ts';
import { readLiveState } from '../../proxy/trace/live.ts';
import { RunningProxy } from '../harness/running-proxy.ts';
import { ADDRESSES, type Mode, type Place } from '../harness/service-matrix.ts';
import { ECHO_PORT, ServiceNet } from '../harness/service-net.ts';

const FAMILY = 4;
const A = ADDRESSES[FAMILY];
const NODE_PORT = 30_001;
/** Enough for three documents of iptables, and for two transactions of nft. */
const OTHERS = { iptables: 400, nftables: 510 } as const;
const places = ['pod', 'node', 'outside'] as const satisfies readonly Place[];
const signal = new AbortController().signal;

const nets: ServiceNet[] = [];
afterAll(async () => {
  for (const net of nets) await net[Symbol.asyncDispose]();
});

const clusterIp = (i: number) => `10.96.${Math.floor(i / 250)}.${(i % 250) + 1}`;

/** The first one is in use, the others are there for their number. */
function serviceOf(i: number): Service {
  const ports = [{ name: 'p', port: 80, ...(i === 0 ? { nodePort: NODE_PORT } : {}) }];
  return {
    metadata: { namespace: 'restart', name: `s${i}` },
    spec: { type: 'NodePort', clusterIP: clusterIp(i), ports },
  };
}

/** `turn` moves the endpoints of all but the first Service. */
function sliceOf(i: number, turn: number): EndpointSlice {
  const ips = i === 0 ? [A.localEndpoint, A.remoteEndpoint] : [`10.244.3.${1 + ((i + turn) % 250)}`];
  return {
    metadata: { namespace: 'restart', name: `s${i}-1`, labels: { 'kubernetes.io/service-name': `s${i}` } },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: ECHO_PORT, protocol: 'TCP' }],
    endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: ip === A.localEndpoint ? 'node-a' : 'node-b' })),
  };
}

const objects = (mode: Mode, turn: number) => {
  const numbers = Array.from({ length: OTHERS[mode] }, (_, i) => i);
  return [numbers.map(serviceOf), numbers.map((i) => sliceOf(i, turn))] as const;
};

/** Dies at its `at`th write: the tool gets half of what it should, and nobody waits for it. */
function dyingAt(exec: Exec, at: number): { readonly exec: Exec; readonly died: Promise<void> } {
  const died = Promise.withResolvers<void>();
  let writes = 0;
  const dying: Exec = async (program, args, opts) => {
    const isWrite = program.endsWith('-restore') || (program === 'nft' && args.includes('-f'));
    if (!isWrite || ++writes < at) return await exec(program, args, opts);
    if (writes === at) {
      const document = String(opts?.input);
      await exec(program, args, { ...opts, input: document.slice(0, document.length / 2) });
      died.resolve();
    }
    return await new Promise((_, reject) => opts!.signal!.addEventListener('abort', () => reject(new Error('killed'))));
  };
  return { exec: dying, died: died.promise };
}

/** Endpoints that the rules in the kernel lead a pod to, of some Services. */
async function reached(exec: Exec, numbers: readonly number[]): Promise<string[][]> {
  const { ruleset, facts } = await readLiveState(exec, FAMILY, signal);
  return numbers.map((i) => {
    const { ways } = trace({ from: A.localPod, to: clusterIp(i), port: 80, protocol: 'tcp' }, ruleset, facts);
    return ways.map((w) => (w.isDnat ? w.destination.ip : w.outcome)).sort();
  });
}

async function expectRules(exec: Exec, mode: Mode, turn: number): Promise<void> {
  const some = [0, 1, 2, Math.floor(OTHERS[mode] / 2), OTHERS[mode] - 2, OTHERS[mode] - 1];
  const wanted = some.map((i) =>
    sliceOf(i, turn)
      .endpoints!.flatMap((e) => e.addresses)
      .sort(),
  );
  expect(await reached(exec, some)).toEqual(wanted);
}

function agentIn(exec: Exec): AgentContext {
  const ctx: Pick<AgentContext, 'exec' | 'log'> & { config: Pick<AgentContext['config'], 'parts'> } = {
    exec,
    log: silentLog,
    config: { parts: new Set(['kubelet', 'proxy']) },
  };
  return ctx as AgentContext;
}

test.each<[Mode, Mode]>([
  ['iptables', 'nftables'],
  ['nftables', 'iptables'],
])('%s: connections outlive kills in the middle of a sync, and a change to %s and back', async (mode, other) => {
  const net = await ServiceNet.create();
  nets.push(net);
  const choice = { family: FAMILY } as const;
  await using first = new RunningProxy(net.node, { mode, ...choice });
  await first.start(...objects(mode, 0));
  await expectRules(net.node, mode, 0);
  const targets = Array(4).fill([
    { ip: clusterIp(0), port: 80 },
    { ip: A.node, port: NODE_PORT },
  ]);
  const held = await Promise.all(places.map((place) => net.hold(place, targets.flat(), FAMILY)));
  await first[Symbol.asyncDispose]();

  for (const at of [1, 2, 3]) {
    const dying = dyingAt(net.node, at);
    await using victim = new RunningProxy(dying.exec, { mode, ...choice });
    void victim.start(...objects(mode, at)); // it never comes to that
    await dying.died;
    await victim[Symbol.asyncDispose]();
    expect(await reached(net.node, [0])).toEqual([[A.localEndpoint, A.remoteEndpoint].sort()]);
  }
  for (const [turn, next] of ([other, mode] as const).entries()) {
    await using proxy = new RunningProxy(net.node, { mode: next, ...choice });
    await proxy.start(...objects(mode, 10 + turn));
    await removeOtherMode(agentIn(net.node), next, signal); // when the new rules are in place, as the agent does it
    await expectRules(net.node, mode, 10 + turn);
  }
  const reports = await Promise.all(held.map((connections) => connections.close()));
  expect(reports.flatMap((r) => r.broken)).toEqual([]);
  for (const { exchanges } of reports) expect(exchanges).toBeGreaterThan(targets.flat().length);
});

test.each<[Mode, string, readonly string[]]>([
  [
    'iptables',
    'all tables are flushed',
    ['sh', '-c', 'iptables -F; iptables -t nat -F; iptables -X; iptables -t nat -X'],
  ],
  ['nftables', 'the table is deleted', ['nft', 'delete table ip kube-proxy']],
])(
  '%s: when %s in the middle of a sync, all is written anew without waiting for the retry',
  async (mode, _what, [program, ...args]) => {
    const net = await ServiceNet.create();
    nets.push(net);
    let writes = 0;
    let meddleAt = 2;
    let meddled = 0;
    const exec: Exec = async (name, list, opts) => {
      const isWrite = name.endsWith('-restore') || (name === 'nft' && list.includes('-f'));
      if (isWrite && ++writes === meddleAt) {
        meddled++;
        expect((await net.node(program!, args)).stderr).toBe('');
      }
      return await net.node(name, list, opts);
    };
    // Neither a retry nor a look at the rules comes while the test runs.
    await using running = new RunningProxy(exec, {
      mode,
      family: FAMILY,
      minSyncPeriodMs: 10,
      syncPeriodMs: 3_600_000,
    });
    const [services, slices] = objects(mode, 0);
    await running.start(services, slices);
    await expectRules(net.node, mode, 0);
    expect(meddled).toBe(1);
    // And a sync that writes what changed.
    meddleAt = writes + 2;
    for (const slice of slices) running.setSlice({ ...slice, endpoints: sliceOf(1, 0).endpoints! });
    const wanted = sliceOf(1, 0).endpoints!.flatMap((e) => e.addresses);
    await vi.waitFor(
      async () => expect(await reached(net.node, [0, 5, OTHERS[mode] - 1])).toEqual([wanted, wanted, wanted]),
      {
        timeout: 60_000,
        interval: 250,
      },
    );
    expect(meddled).toBe(2);
  },
);
