import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Elements } from './elements.ts';
import type { Element } from './service-rules.ts';

const OWNERS = ['ns/a', 'ns/ab', 'ns/c']; // one's name may begin with another's

const elementArbitrary: fc.Arbitrary<Element> = fc.record({
  container: fc.constantFrom('service-ips' as const, 'service-nodeports' as const),
  key: fc.constantFrom('k1', 'k2', 'k3'),
  value: fc.constantFrom('goto x', 'goto y'),
  comment: fc.constantFrom('', 'why'),
});

const id = (e: Element) => `${e.container} ${e.key}`;

/** The Service first by name has a key, and of its elements the first. */
function wantedOf(wishes: ReadonlyMap<string, readonly Element[]>): Map<string, Element> {
  const wanted = new Map<string, Element>();
  for (const owner of OWNERS) for (const e of wishes.get(owner) ?? []) if (!wanted.has(id(e))) wanted.set(id(e), e);
  return wanted;
}

const sorted = (elements: Iterable<Element>) => [...elements].sort((a, b) => (id(a) < id(b) ? -1 : 1));

test('whoever comes, changes and goes, the kernel holds what the Service first by name wants', () => {
  const wish = fc.tuple(fc.constantFrom(...OWNERS), fc.array(elementArbitrary, { maxLength: 4 }));
  const step = fc.uniqueArray(wish, { selector: ([owner]) => owner, maxLength: 3 });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
      const wishes = new Map<string, readonly Element[]>();
      const elements = new Elements((owner) => wishes.get(owner) ?? []);
      const kernel = new Map<string, Element>();
      for (const changes of steps) {
        const former = new Map(wishes);
        for (const [owner, after] of changes) wishes.set(owner, after);
        const { removed, added } = elements.update(
          changes.map(([owner, after]) => ({ owner, before: former.get(owner) ?? [], after })),
        );
        for (const e of removed) {
          expect(kernel.get(id(e))).toEqual(e); // nft refuses what is not there
          kernel.delete(id(e));
        }
        for (const e of added) {
          expect(kernel.has(id(e))).toBe(false); // nft refuses another verdict for a key
          kernel.set(id(e), e);
        }
        expect(sorted(kernel.values())).toEqual(sorted(wantedOf(wishes).values()));
        expect(sorted(elements.all())).toEqual(sorted(wantedOf(wishes).values()));
      }
    }),
  );
});

test('a Service of a thousand ports is looked into a few times, not once for each element', () => {
  let looks = 0;
  const wishes = (value: string): Element[] =>
    Array.from({ length: 2_000 }, (_, i) => ({ container: 'service-ips', key: `k${i}`, value, comment: '' }));
  let now = wishes('goto x');
  const elements = new Elements(() => {
    looks++;
    return now;
  });
  elements.claim('ns/a', now);
  const before = now;
  now = wishes('goto y');
  expect(elements.update([{ owner: 'ns/a', before, after: now }]).added).toEqual(now);
  expect([...elements.all()]).toEqual(now);
  expect(looks).toBeLessThan(5);
});

test('elements can be gone through in parts', () => {
  const wishes = new Map<string, Element[]>();
  const elements = new Elements((owner) => wishes.get(owner) ?? []);
  for (const [i, owner] of OWNERS.entries()) {
    wishes.set(owner, [{ container: 'cluster-ips', key: `10.96.0.${i}`, value: '', comment: '' }]);
    elements.claim(owner, wishes.get(owner)!);
  }
  const all = [...elements.all()];
  expect(all).toHaveLength(3);
  expect([...elements.all(2)]).toEqual(all.slice(2));
  expect([...elements.all(3)]).toEqual([]);
});
