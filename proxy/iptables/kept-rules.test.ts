import fc from 'fast-check';
import { expect, test } from 'vitest';
import { keptOf, packRules, unpackRules } from './kept-rules.ts';
import type { DispatchRule } from './service-rules.ts';

const text = fc.stringMatching(/^[-a-zA-Z0-9"/:. ]{1,40}$/).map((s) => `-m ${s}`);
const chain = fc.stringMatching(/^KUBE-SEP-[A-Z2-7]{4}$/);
const rulesArbitrary = fc.record({
  dispatch: fc.array(
    fc.record({ chain: fc.constantFrom('nat/KUBE-SERVICES' as const, 'filter/KUBE-NODEPORTS' as const), spec: text }),
    { maxLength: 4 },
  ) as fc.Arbitrary<DispatchRule[]>,
  chains: fc.array(fc.tuple(chain, fc.array(text, { maxLength: 4 })), { maxLength: 6 }).map((all) => new Map(all)),
});

test('what is remembered of a Service tells its dispatch rules, its chains, and whether the rules of one differ', () => {
  fc.assert(
    fc.property(rulesArbitrary, rulesArbitrary, (rules, others) => {
      const kept = unpackRules(packRules(keptOf(rules)));
      expect(kept.dispatch).toEqual(rules.dispatch);
      expect([...kept.chains.keys()]).toEqual([...rules.chains.keys()]);
      expect(kept.ownRules).toBe([...rules.chains.values()].flat().length);
      const other = unpackRules(packRules(keptOf(others)));
      for (const [name, list] of rules.chains) {
        const otherList = others.chains.get(name);
        if (otherList === undefined) continue;
        const isSame = JSON.stringify(list) === JSON.stringify(otherList);
        expect(kept.chains.get(name) === other.chains.get(name)).toBe(isSame);
      }
    }),
  );
});

test('a rule that moves to the next line of its chain makes another chain', () => {
  const of = (rules: readonly string[]) =>
    unpackRules(packRules(keptOf({ dispatch: [], chains: new Map([['A', rules]]) }))).chains.get('A');
  expect(of(['-j B', '-j C'])).not.toBe(of(['-j C', '-j B']));
  expect(of(['-j B'])).not.toBe(of(['-j B', '-j B']));
  expect(of([])).not.toBe(of(['-j B']));
});
