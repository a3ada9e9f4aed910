import { expect, test } from 'vitest';
import { FakeIptables } from '../../host/fake-iptables.ts';
import { renderDelta, type ServiceChange, slices } from './delta.ts';
import { type KeptRules, keptOf, packRules, unpackRules } from './kept-rules.ts';
import type { ServiceRules } from './service-rules.ts';

const TAIL = '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS';

const named = (i: number) => `A${i}`;

/** A Service with an entry, a chain of its own and one for each of two endpoints. */
function rules(i: number, host = 1): ServiceRules & { readonly kept: KeptRules } {
  const seps = [host, host + 1].map((h) => `KUBE-SEP-${named(i)}X${h}`);
  const own: ServiceRules = {
    dispatch: [
      {
        chain: 'nat/KUBE-SERVICES',
        spec: `-m tcp -p tcp -d 10.96.${i >> 8}.${i & 255} --dport 80 -j KUBE-SVC-${named(i)}`,
      },
    ],
    chains: new Map<string, readonly string[]>([
      [`KUBE-SVC-${named(i)}`, seps.map((sep) => `-j ${sep}`)],
      ...seps.map((sep) => [sep, [`-m tcp -p tcp -j DNAT --to-destination 10.244.0.${host}:80`]] as const),
    ]),
  };
  return { ...own, kept: keptOf(own) };
}

const kept = (i: number) => unpackRules(packRules(rules(i).kept));

const added = (count: number): ServiceChange[] =>
  Array.from({ length: count }, (_, i) => ({ before: undefined, after: rules(i) }));

function kernelWith(count: number): FakeIptables {
  const kernel = new FakeIptables();
  kernel.restore(`*nat\n:KUBE-NODEPORTS - [0:0]\n:KUBE-SERVICES - [0:0]\n${TAIL}\nCOMMIT\n`);
  for (const document of renderDelta(added(count), contextOf([], 1000))) kernel.restore(document);
  return kernel;
}

function contextOf(all: readonly ServiceRules[], linesPerDocument: number) {
  return { dispatch: () => all.flatMap((r) => r.dispatch), tail: [TAIL], linesPerDocument };
}

test.each([1, 8, 1000])('in documents of %i lines, each is accepted and the end is the same', (linesPerDocument) => {
  // Some change, some go, some come: no document may refer to a chain that a later one makes or an earlier one took.
  const changes: ServiceChange[] = [
    ...[0, 1, 2].map((i) => ({ before: kept(i), after: rules(i, 2) })),
    ...[3, 4].map((i) => ({ before: kept(i), after: undefined })),
    ...[7, 8].map((i) => ({ before: undefined, after: rules(i) })),
  ];
  const kernel = kernelWith(6);
  for (const document of renderDelta(changes, contextOf([], linesPerDocument))) kernel.restore(document);
  const wanted = [rules(0, 2), rules(1, 2), rules(2, 2), rules(5), rules(7), rules(8)];
  const chains = wanted.flatMap((w) => [...w.chains.keys()]);
  expect(
    kernel
      .chains('nat')
      .filter((c) => /^KUBE-(SVC|SEP)-/.test(c))
      .sort(),
  ).toEqual(chains.sort());
  for (const w of wanted) for (const [chain, list] of w.chains) expect(kernel.rules('nat', chain)).toEqual(list);
  const top = kernel.rules('nat', 'KUBE-SERVICES');
  expect(top.at(-1)).toBe(TAIL.replace('-A KUBE-SERVICES ', ''));
  expect([...top.slice(0, -1)].sort()).toEqual(wanted.map((w) => w.dispatch[0]!.spec).sort());
});

test('a top-level chain that loses many rules is written anew, its last rule last; one that loses few is not', () => {
  const gone = (count: number): ServiceChange[] =>
    Array.from({ length: count }, (_, i) => ({ before: kept(i), after: undefined }));
  const rest = [20, 21, 22].map((i) => rules(i));
  const few = [...renderDelta(gone(3), contextOf(rest, 1000))].join('');
  expect(few.match(/^-D KUBE-SERVICES /gm)).toHaveLength(3);
  expect(few).not.toContain(':KUBE-SERVICES');

  const kernel = kernelWith(23);
  const many = [...renderDelta(gone(20), contextOf(rest, 1000))];
  expect(many.join('')).not.toContain('-D ');
  for (const document of many) kernel.restore(document);
  expect(kernel.rules('nat', 'KUBE-SERVICES')).toEqual([
    ...rest.map((r) => r.dispatch[0]!.spec),
    TAIL.replace('-A KUBE-SERVICES ', ''),
  ]);
  expect(kernel.chains('nat')).not.toContain('KUBE-SVC-A0');
});

test('nothing changed: nothing to run', () => {
  const same = { before: kept(1), after: rules(1) };
  expect([...renderDelta([same], contextOf([], 1000))]).toEqual([]);
});

test('parts are as long as they may be, and one item that is longer is a part of its own', () => {
  const parts = (all: readonly number[], size: number) => slices(all, size, (lines) => lines);
  expect(parts([], 5)).toEqual([]);
  expect(parts([2, 3, 1, 9, 1, 4, 1], 5)).toEqual([[2, 3], [1], [9], [1, 4], [1]]);
});
