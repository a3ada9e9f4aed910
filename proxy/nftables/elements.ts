// Elements of the shared containers and who wants them. Two Services may want the same key: pods behind both (hairpin),
// or a node port that one gives up as the other takes it. The kernel holds one; the Service first by name has it.

import { flatText } from '../flat-text.ts';
import type { Element } from './service-rules.ts';
import type { Container } from './table.ts';

/** What a Service wants; of two elements with one key, of two of its ports, the first counts. */
export type ElementsOf = (owner: string) => readonly Element[];

export interface ElementDelta {
  readonly removed: readonly Element[];
  readonly added: readonly Element[];
}

export interface OwnerChange {
  readonly owner: string;
  readonly before: readonly Element[];
  readonly after: readonly Element[];
}

type Place = Pick<Element, 'container' | 'key'>;

/** Knows keys and owners alone: what stands under a key is asked of `elementsOf`, and seldom. */
export class Elements {
  readonly #elementsOf: ElementsOf;
  /** By container and key: the owner, or several in their order. */
  readonly #owners = new Map<Container, Map<string, string | readonly string[]>>();

  constructor(elementsOf: ElementsOf) {
    this.#elementsOf = elementsOf;
  }

  clear(): void {
    this.#owners.clear();
  }

  /** Every element that the kernel should hold, but the first `skipped`. */
  *all(skipped = 0): Generator<Element> {
    let left = skipped;
    const now = new Lookup(this.#elementsOf);
    for (const [container, keys] of this.#owners) {
      for (const [key, owners] of keys) {
        if (left-- > 0) continue;
        const element = now.find(firstOf(owners), { container, key });
        if (element !== undefined) yield element;
      }
    }
  }

  /** Services want other elements than before: what differs in the kernel. `elementsOf` already tells of the new state. */
  update(changes: readonly OwnerChange[]): ElementDelta {
    const befores = new Map(changes.map((c) => [c.owner, c.before]));
    const former = new Lookup((owner) => befores.get(owner) ?? this.#elementsOf(owner));
    const now = new Lookup(this.#elementsOf);
    const touched = new Map<string, { readonly at: Place; readonly before: Element | undefined }>();
    const touch = (at: Place) => {
      const id = `${at.container} ${at.key}`;
      if (!touched.has(id)) touched.set(id, { at, before: this.#holder(at, former) });
    };
    for (const { before, after } of changes) for (const element of [...before, ...after]) touch(element);
    for (const { owner, before, after } of changes) {
      for (const element of before) this.#unclaim(owner, element);
      for (const element of after) this.#claim(owner, element);
    }
    const removed: Element[] = [];
    const added: Element[] = [];
    for (const { at, before } of touched.values()) {
      const after = this.#holder(at, now);
      if (before?.value === after?.value && before?.comment === after?.comment) continue;
      if (before !== undefined) removed.push(before);
      if (after !== undefined) added.push(after);
    }
    return { removed, added };
  }

  /** Adds what a Service wants, without a look at what that changes. */
  claim(owner: string, elements: readonly Element[]): void {
    for (const element of elements) this.#claim(owner, element);
  }

  #holder(at: Place, lookup: Lookup): Element | undefined {
    const owners = this.#owners.get(at.container)?.get(at.key);
    return owners === undefined ? undefined : lookup.find(firstOf(owners), at);
  }

  #claim(owner: string, { container, key }: Place): void {
    let keys = this.#owners.get(container);
    if (keys === undefined) {
      keys = new Map();
      this.#owners.set(container, keys);
    }
    const owners = keys.get(key);
    if (owners === undefined) keys.set(flatText(key), owner);
    else if (!listOf(owners).includes(owner)) keys.set(key, [...listOf(owners), owner].sort());
  }

  #unclaim(owner: string, { container, key }: Place): void {
    const keys = this.#owners.get(container);
    const owners = keys?.get(key);
    if (keys === undefined || owners === undefined) return;
    const left = listOf(owners).filter((o) => o !== owner);
    if (left.length === 0) keys.delete(key);
    else keys.set(key, left.length === 1 ? left[0]! : left);
  }
}

function listOf(owners: string | readonly string[]): readonly string[] {
  return typeof owners === 'string' ? [owners] : owners;
}

function firstOf(owners: string | readonly string[]): string {
  return typeof owners === 'string' ? owners : owners[0]!;
}

/** Finds elements of one owner after another: of one with a thousand ports, each would otherwise be searched for in all. */
class Lookup {
  readonly #elementsOf: ElementsOf;
  #owner: string | undefined;
  #elements: ReadonlyMap<string, Element> = new Map();

  constructor(elementsOf: ElementsOf) {
    this.#elementsOf = elementsOf;
  }

  find(owner: string, { container, key }: Place): Element | undefined {
    if (owner !== this.#owner) {
      this.#owner = owner;
      // Backwards: of two with one key the first counts.
      this.#elements = new Map(
        this.#elementsOf(owner)
          .toReversed()
          .map((e) => [`${e.container} ${e.key}`, e]),
      );
    }
    return this.#elements.get(`${container} ${key}`);
  }
}
