import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Service } from '../../api/kinds.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { FakeIptables } from '../../host/fake-iptables.ts';
import { RULES } from '../fake-rule-options.ts';
import { FamilyProxier } from '../family-proxier.ts';
import { IptablesBackend } from './iptables.ts';
import { arranged, chainEdits, LongChains } from './long-chains.ts';

const signal = new AbortController().signal;
const sep = (n: number) => `KUBE-SEP-${n}`;

/** As the rules of a Service are: one for all, perhaps one of each endpoint for clients that came before, one of each. */
function rulesOf(endpoints: readonly number[], affinity: boolean): string[] {
  const left = (i: number) => endpoints.length - i;
  return [
    '! -s 10.244.0.0/16 -j KUBE-MARK-MASQ',
    ...(affinity ? endpoints.map((n) => `-m recent --name ${sep(n)} --rcheck -j ${sep(n)}`) : []),
    ...endpoints.map((n, i) => (left(i) === 1 ? `-j ${sep(n)}` : `--probability 1/${left(i)} -j ${sep(n)}`)),
  ];
}

function apply(edits: readonly string[], to: readonly string[]): string[] {
  const rules = [...to];
  for (const edit of edits) {
    const [, op, place, spec] = /^-([DIA]) C (?:(\d+) ?)?(.*)$/.exec(edit)!;
    if (op === 'A') rules.push(spec!);
    else if (op === 'D') rules.splice(Number(place) - 1, 1);
    else rules.splice(Number(place) - 1, 0, spec!);
  }
  return rules;
}

test('however endpoints come and go, a few commands for each bring the chain to the rules that it must have', () => {
  const some = fc.uniqueArray(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.array(fc.record({ gone: some, come: some }), { maxLength: 5 }), fc.boolean(), (steps, affinity) => {
      let endpoints = Array.from({ length: 300 }, (_, i) => i);
      let kernel = rulesOf(endpoints, affinity);
      for (const { gone, come } of steps) {
        const wanted = [...new Set([...endpoints.filter((n) => !gone.includes(n)), ...come])].sort((a, b) => a - b);
        endpoints = arranged(wanted, sep, kernel);
        expect(endpoints.toSorted((a, b) => a - b)).toEqual(wanted);
        const rules = rulesOf(endpoints, affinity);
        const edits = chainEdits('C', kernel, rules)!;
        // One that goes costs its own rule and, where the first takes its place, that one's twice; affinity doubles it.
        expect(edits.length).toBeLessThanOrEqual((gone.length + come.length) * 3 * (affinity ? 2 : 1));
        kernel = apply(edits, kernel);
        expect(kernel).toEqual(rules);
      }
    }),
    { numRuns: 100 },
  );
});

test('a chain that becomes another one is written anew', () => {
  const before = rulesOf([1, 2, 3, 4, 5, 6, 7, 8], false);
  expect(chainEdits('C', before, rulesOf([11, 12, 13, 14, 15, 16, 17, 18], false))).toBeUndefined();
  expect(chainEdits('C', before, before)).toEqual([]);
});

test('only long chains are remembered, and only while they are long', () => {
  const long = new LongChains();
  const rules = Array.from({ length: 500 }, (_, i) => `-j ${sep(i)}`);
  const chains = new Map([
    ['SVC', rules],
    ['SVL', rules.slice(1)],
  ]);
  long.replace([], chains);
  expect([long.get('SVC'), long.get('SVL')]).toEqual([rules, undefined]);
  long.replace(['SVC', 'SVL'], new Map([['SVL', rules]]));
  expect([long.get('SVC'), long.get('SVL')]).toEqual([undefined, rules]);
  long.replace(['SVL'], undefined);
  expect(long.get('SVL')).toBeUndefined();
});

test.each([
  ['without affinity', 'nft', 'None'],
  ['with affinity', 'nft', 'ClientIP'],
  ['of legacy iptables, written anew', 'legacy', 'None'],
] as const)(
  'of 900 endpoints some change: every other keeps its share, %s',
  async (_what, variant, sessionAffinity) => {
    const kernel = new FakeIptables();
    const backend = new IptablesBackend(RULES, { exec: kernel.exec, variant });
    const deps = { backend, exec: kernel.exec, clock: new FakeClock(), log: silentLog };
    const proxier = new FamilyProxier({ nodeName: 'n', fullSyncIntervalMs: 3_600_000 }, deps);
    const spec = { clusterIP: '10.96.0.9', sessionAffinity, ports: [{ name: 'p', port: 80 }] };
    proxier.handleService('ns/big', { metadata: { namespace: 'ns', name: 'big' }, spec } as Service);
    const put = (hosts: readonly number[]) =>
      proxier.handleSlice({
        metadata: { namespace: 'ns', name: 'big-1', labels: { 'kubernetes.io/service-name': 'big' } },
        addressType: 'IPv4',
        ports: [{ name: 'p', port: 8080, protocol: 'TCP' }],
        endpoints: hosts.map((n) => ({ addresses: [`10.244.${n >> 8}.${n & 255}`] })),
      });
    const chain = () => kernel.chains('nat').find((name) => name.startsWith('KUBE-SVC-'))!;
    const balancing = () =>
      kernel.rules('nat', chain()).filter((rule) => / -> /.test(rule) && !rule.includes('recent'));

    let hosts = Array.from({ length: 900 }, (_, i) => i + 1);
    put(hosts);
    await proxier.sync(signal);
    for (const [gone, come] of [
      [[450], []],
      [[], [2000, 2001]],
      [[1, 2, 700], [2002]],
    ] as const) {
      hosts = [...hosts.filter((n) => !(gone as readonly number[]).includes(n)), ...come];
      put(hosts);
      expect(await proxier.sync(signal)).toBe('partial');
      const document = kernel.applied.at(-1)!;
      if (variant === 'nft') expect(document.split('\n').length).toBeLessThan(40);
      else expect(document).toContain(`:${chain()} - [0:0]`);
      const rules = balancing();
      expect(rules.map((rule) => /-> (\S+):8080/.exec(rule)![1]).sort()).toEqual(
        hosts.map((n) => `10.244.${n >> 8}.${n & 255}`).sort(),
      );
      rules.forEach((rule, i) => {
        const left = rules.length - i;
        expect(rule).toContain(left === 1 ? '" -j KUBE-SEP-' : `--probability ${(1 / left).toFixed(10)} -j`);
      });
      expect(kernel.chains('nat').filter((name) => name.startsWith('KUBE-SEP-'))).toHaveLength(hosts.length);
    }
  },
);
