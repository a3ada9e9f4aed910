import { expect, test } from 'vitest';
import { RuleCounts, writtenRules } from './rule-counts.ts';

test('rules of Services are counted by chain and by table, until they are gone', () => {
  const counts = new RuleCounts();
  const web = { dispatch: [{ chain: 'nat/KUBE-SERVICES' }, { chain: 'nat/KUBE-NODEPORTS' }], ownRules: 7 } as const;
  const empty = { dispatch: [{ chain: 'filter/KUBE-SERVICES' }], ownRules: 0 } as const;
  for (const rules of [web, web, empty]) counts.add(rules);
  expect(counts.in('nat/KUBE-SERVICES')).toBe(2);
  expect(counts.in('filter/KUBE-NODEPORTS')).toBe(0);
  expect([counts.total('nat'), counts.total('filter')]).toEqual([18, 1]);
  counts.remove(web);
  counts.remove(empty);
  expect([counts.total('nat'), counts.total('filter')]).toEqual([9, 0]);
  counts.clear();
  expect(counts.total('nat')).toBe(0);
});

test('of a document, rules are counted that it writes: not chains, nor what it removes', () => {
  const document = [
    '*filter',
    ':KUBE-SERVICES - [0:0]',
    '-A KUBE-SERVICES -j REJECT',
    '-D KUBE-SERVICES -j DROP',
    'COMMIT',
    '*nat',
    ':KUBE-SVC-A - [0:0]',
    '-I KUBE-SERVICES -j KUBE-SVC-A',
    '-A KUBE-SVC-A -j KUBE-SEP-B',
    '-X KUBE-SVC-OLD',
    'COMMIT',
    '',
  ].join('\n');
  expect(writtenRules(document)).toEqual({ filter: 1, nat: 2 });
  expect(writtenRules('')).toEqual({ filter: 0, nat: 0 });
});
