// Every kind of Service in both modes and both IP families on the real kernel: what the tracer reads from the kernel, what
// packets really do, and what a model of Services says must all be the same.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cleanupIptables } from '../../proxy/iptables/iptables.ts';
import { cleanupNftables } from '../../proxy/nftables/support.ts';
import { trace } from '../../proxy/trace/evaluate.ts';
import { type LiveState, readLiveState } from '../../proxy/trace/live.ts';
import { matrixProxier, putShapes } from '../harness/matrix-proxier.ts';
import {
  ADDRESSES,
  expectedOutcome,
  type Family,
  type Mode,
  PLACES,
  type Place,
  packetMatrix,
  ruleOptions,
  type Shape,
  sourceOf,
  targetOf,
  type Variant,
  wholeMatrix,
} from '../harness/service-matrix.ts';
import { ServiceNet } from '../harness/service-net.ts';
import { allCases, type Case, differences, describe as inWords, tracedOutcome } from '../harness/traced-matrix.ts';

const signal = new AbortController().signal;
let net: ServiceNet;

beforeAll(async () => {
  net = await ServiceNet.create();
});

afterAll(async () => {
  await net?.[Symbol.asyncDispose]();
});

/** Puts the rules of all Services in place, and nothing else. */
async function load(shapes: readonly Shape[], mode: Mode, family: Family, variant: Variant = 'usual'): Promise<void> {
  const exec = net.node;
  for (const f of [4, 6] as const) await cleanupIptables(exec, f, { keepShared: false }, signal);
  await cleanupNftables(exec, signal);
  const proxier = matrixProxier(exec, { mode, family, options: ruleOptions(mode, family, variant) });
  putShapes(proxier, shapes);
  await proxier.sync(signal);
}

/** What a client sees when the model's outcome comes true: answers of endpoints with its own address or the node's. */
function seenBy(c: Case, mode: Mode, family: Family): { readonly answers: number; readonly sight: string } {
  const outcome = expectedOutcome(c.shape, c.kind, c.place, mode);
  if (outcome === 'rejected') return { answers: 1, sight: 'rejected' };
  if (outcome === 'dropped' || outcome === 'untouched') return { answers: 0, sight: 'dropped' };
  const own = sourceOf(c.place, family);
  const towards = { local: ADDRESSES[family].bridge, remote: ADDRESSES[family].remoteGateway };
  const answers = outcome.split(', ').map((way) => {
    const [where] = way.split(' ') as ['local' | 'remote'];
    return `${where} ${way.includes('masq') ? towards[where].split('/')[0]! : own}`;
  });
  return { answers: answers.length, sight: answers.sort().join(', ') };
}

describe.each<[Mode, Family]>([
  ['iptables', 4],
  ['nftables', 4],
  ['iptables', 6],
  ['nftables', 6],
])('%s, IPv%i', (mode, family) => {
  test('the tracer finds in the kernel what the rules of Services say', async () => {
    const shapes = wholeMatrix();
    await load(shapes, mode, family);
    const { ruleset, facts }: LiveState = await readLiveState(net.node, family, signal);
    expect(differences(shapes, ruleset, facts, { mode, family })).toEqual([]);
  });

  test('and what they say under other settings', async () => {
    const shapes = wholeMatrix().filter((s) => !s.affinity && s.ranges === 'open');
    for (const variant of ['masquerade all', 'no detector'] as const) {
      await load(shapes, mode, family, variant);
      const { ruleset, facts } = await readLiveState(net.node, family, signal);
      expect(differences(shapes, ruleset, facts, { mode, family, variant })).toEqual([]);
    }
  });

  test('packets go where the tracer says', async () => {
    const shapes = packetMatrix();
    await load(shapes, mode, family);
    const { ruleset, facts } = await readLiveState(net.node, family, signal);
    expect(differences(shapes, ruleset, facts, { mode, family })).toEqual([]);
    const wrong = await Promise.all(
      PLACES.map(async (place) => {
        const cases = allCases(shapes).filter((c) => c.place === place);
        const wanted = cases.map((c) => seenBy(c, mode, family));
        const targets = cases.map((c, i) => ({ ...targetOf(c.shape, c.kind, family), answers: wanted[i]!.answers }));
        const seen = await net.connect(place, targets, family);
        return cases.flatMap((c, i) => {
          const sight = seen[i]!.join(', ');
          return sight === wanted[i]!.sight
            ? []
            : [`${inWords(c.shape)}: ${place} → ${c.kind}: ${sight} instead of ${wanted[i]!.sight}`];
        });
      }),
    );
    expect(wrong.flat()).toEqual([]);
  });

  test('a client that session affinity remembers has one way, others have all', async () => {
    const open = { index: 1, externalLocal: false, internalLocal: false, ranges: 'open' } as const;
    const sticky: Shape = { ...open, endpoints: 'both', affinity: true };
    await load([sticky], mode, family);
    const target = targetOf(sticky, 'cluster IP', family);
    const [[answer]] = (await net.connect('pod', [{ ...target, answers: 1 }], family)) as [[string]];
    const { ruleset, facts } = await readLiveState(net.node, family, signal);
    const of = (place: Place) => tracedOutcome(sticky, 'cluster IP', place, family, ruleset, facts);
    expect(of('pod')).toBe(`${answer.split(' ')[0]} 100%`);
    expect(of('node')).toBe('local masq 50%, remote masq 50%');
    const again = await net.connect('pod', Array(8).fill({ ...target, answers: 1 }), family);
    expect(again).toEqual(Array(8).fill([answer]));
  });

  test('addresses and ports that no Service has go on as they are, or nowhere where the mode says so', async () => {
    await load(packetMatrix().slice(0, 1), mode, family);
    const { ruleset, facts } = await readLiveState(net.node, family, signal);
    const a = ADDRESSES[family];
    const outcome = (to: string, port: number) =>
      trace({ from: a.localPod, to, port, protocol: 'tcp' }, ruleset, facts).ways.map((w) => w.outcome);
    expect(outcome(a.clusterIp(1), 81)).toEqual([mode === 'nftables' ? 'rejected' : 'delivered']);
    expect(outcome(a.clusterIp(200), 80)).toEqual([mode === 'nftables' ? 'dropped' : 'delivered']);
    if (mode === 'iptables') return; // there they leave the node, which has nobody to answer here
    const targets = [
      { ip: a.clusterIp(1), port: 81, answers: 1 },
      { ip: a.clusterIp(200), port: 80, answers: 0 },
    ];
    expect(await net.connect('pod', targets, family)).toEqual([['rejected'], ['dropped']]);
  });
});
