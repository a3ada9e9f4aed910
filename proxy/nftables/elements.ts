// Elements of the shared containers and who wants them. Two Services may want the same key: pods behind both (hairpin),
// or a node port that one gives up as the other takes it. The kernel holds one; the Service first by name has it.

import type { Element } from './service-rules.ts';
import type { Container } from './table.ts';

interface Claim {
  readonly owner: string;
  readonly element: Element;
}

export interface ElementDelta {
  readonly removed: readonly Element[];
  readonly added: readonly Element[];
}

export class Elements {
  readonly #claims = new Map<Container, Map<string, Claim[]>>();

  clear(): void {
    this.#claims.clear();
  }

  /** Every element that the kernel should hold. */
  *all(): Generator<Element> {
    for (const keys of this.#claims.values()) for (const [first] of keys.values()) if (first) yield first.element;
  }

  /** Services want other elements than before: what differs in the kernel. */
  update(changes: Iterable<{ owner: string; before: readonly Element[]; after: readonly Element[] }>): ElementDelta {
    const touched = new Map<string, { readonly at: Element; readonly before: Element | undefined }>();
    const touch = (element: Element) => {
      const id = `${element.container} ${element.key}`;
      if (!touched.has(id)) touched.set(id, { at: element, before: this.#holder(element) });
    };
    for (const { owner, before, after } of changes) {
      for (const element of before) {
        touch(element);
        this.#unclaim(owner, element);
      }
      for (const element of after) {
        touch(element);
        this.#claim(owner, element);
      }
    }
    const removed: Element[] = [];
    const added: Element[] = [];
    for (const { at, before } of touched.values()) {
      const after = this.#holder(at);
      if (before?.value === after?.value && before?.comment === after?.comment) continue;
      if (before !== undefined) removed.push(before);
      if (after !== undefined) added.push(after);
    }
    return { removed, added };
  }

  #holder({ container, key }: Element): Element | undefined {
    return this.#claims.get(container)?.get(key)?.[0]?.element;
  }

  #claim(owner: string, element: Element): void {
    let keys = this.#claims.get(element.container);
    if (keys === undefined) {
      keys = new Map();
      this.#claims.set(element.container, keys);
    }
    const claims = keys.get(element.key);
    if (claims === undefined) {
      keys.set(element.key, [{ owner, element }]);
      return;
    }
    if (claims.some((c) => c.owner === owner)) return; // another port of the same Service
    claims.push({ owner, element });
    claims.sort((a, b) => (a.owner < b.owner ? -1 : 1));
  }

  #unclaim(owner: string, { container, key }: Element): void {
    const keys = this.#claims.get(container);
    const claims = keys?.get(key);
    if (keys === undefined || claims === undefined) return;
    const left = claims.filter((c) => c.owner !== owner);
    if (left.length === 0) keys.delete(key);
    else keys.set(key, left);
  }
}
