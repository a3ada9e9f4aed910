// The present content of the store in memory: a hash map per collection, and the sorted order of its keys, made when a
// list asks for it and kept until a key comes or goes.
import type { StoredItem } from './stored-item.ts';

class Collection {
  readonly items = new Map<string, StoredItem>();
  #sorted: StoredItem[] | undefined;
  /** Position by key in `#sorted`, so that an update need not sort again. */
  readonly #positions = new Map<string, number>();

  set(item: StoredItem): void {
    const known = this.items.has(item.key);
    this.items.set(item.key, item);
    if (!known) this.#sorted = undefined;
    else if (this.#sorted !== undefined) this.#sorted[this.#positions.get(item.key)!] = item;
  }

  delete(key: string): void {
    if (this.items.delete(key)) this.#sorted = undefined;
  }

  sorted(): readonly StoredItem[] {
    if (this.#sorted === undefined) {
      this.#sorted = [...this.items.values()].sort(compareKeys);
      this.#positions.clear();
      this.#sorted.forEach((item, i) => {
        this.#positions.set(item.key, i);
      });
    }
    return this.#sorted;
  }
}

export function compareKeys(a: StoredItem, b: StoredItem): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

export class MemoryIndex {
  readonly #collections = new Map<string, Collection>();

  get(root: string, key: string): StoredItem | undefined {
    return this.#collections.get(root)?.items.get(key);
  }

  set(item: StoredItem): void {
    const collection = this.#collections.get(item.root) ?? new Collection();
    collection.set(item);
    this.#collections.set(item.root, collection);
  }

  delete(root: string, key: string): void {
    this.#collections.get(root)?.delete(key);
  }

  /** A copy: later changes do not show in it. */
  list(root: string, keyPrefix = ''): StoredItem[] {
    const sorted = this.#collections.get(root)?.sorted() ?? [];
    if (keyPrefix === '') return [...sorted];
    const start = lowerBound(sorted, keyPrefix);
    let end = start;
    while (end < sorted.length && sorted[end]!.key.startsWith(keyPrefix)) end++;
    return sorted.slice(start, end);
  }

  *all(): Iterable<StoredItem> {
    for (const collection of this.#collections.values()) yield* collection.items.values();
  }
}

function lowerBound(sorted: readonly StoredItem[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
