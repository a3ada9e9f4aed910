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
    for (const [container, keys] of this.#owners) {
      for (const [key, owners] of keys) {
        if (left-- > 0) continue;
        const element = find(this.#elementsOf(firstOf(owners)), { container, key });
        if (element !== undefined) yield element;
      }
    }
  }

  /** Services want other elements than before: what differs in the kernel. `elementsOf` already tells of the new state. */
  update(changes: readonly OwnerChange[]): ElementDelta {
    const former = new Map(changes.map((c) => [c.owner, c.before]));
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
      const after = this.#holder(at);
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

  #holder(at: Place, former?: ReadonlyMap<string, readonly Element[]>): Element | undefined {
    const owners = this.#owners.get(at.container)?.get(at.key);
    if (owners === undefined) return undefined;
    const first = firstOf(owners);
    return find(former?.get(first) ?? this.#elementsOf(first), at);
  }

  #claim(owner: string, { container, key }: Place): void {
    let keys = this.#owners.get(container);
    if (keys === undefined) {
      keys = new Map();
      this.#owners.set(container, keys);
    }
    const owners = keys.get(key);
    if (owners === undefined) keys.set(flatText(key), owner);
    else if (owners !== owner && !owners.includes(owner)) keys.set(key, [...listOf(owners), owner].sort());
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

function find(elements: readonly Element[], { container, key }: Place): Element | undefined {
  return elements.find((e) => e.container === container && e.key === key);
}
