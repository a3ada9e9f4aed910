// How objects of one kind reach the store, or, in a dry run, only look as if they had.
import type { Store } from '../store/store.ts';
import { encodeBody, StoredItem } from '../store/stored-item.ts';
import type { AnyObject, KindDefinition } from './definition.ts';
import { keyOf } from './resource-reads.ts';

export class ItemWriter {
  readonly #definition: KindDefinition;
  readonly #store: Store;

  constructor(definition: KindDefinition, store: Store) {
    this.#definition = definition;
    this.#store = store;
  }

  /** @returns undefined when the stored revision is another than `expected`; 0: there must be none. */
  async put(
    namespace: string,
    name: string,
    object: AnyObject,
    expected: number,
    dryRun: boolean,
  ): Promise<StoredItem | undefined> {
    const { root, ttlSeconds, type } = this.#definition;
    object.kind = type.kind;
    object.apiVersion = type.group === '' ? type.version : `${type.group}/${type.version}`;
    if (dryRun) return dryRunItem(root, keyOf(this.#definition, namespace, name), object, expected);
    const result = await this.#store.put(root, keyOf(this.#definition, namespace, name), object, {
      expected,
      ttlSeconds,
    });
    return result.ok ? result.item : undefined;
  }

  /** `last` is what the client that removed it sees. */
  async remove(current: StoredItem, last: AnyObject, dryRun: boolean): Promise<StoredItem | undefined> {
    if (dryRun) return dryRunItem(current.root, current.key, last, current.revision);
    const result = await this.#store.delete(current.root, current.key, { expected: current.revision });
    if (!result.ok) {
      // Somebody else removed it meanwhile: to the caller that is as good.
      if (result.current === undefined) return current;
      return undefined;
    }
    this.#definition.onDeleted?.(current.object as AnyObject);
    return dryRunItem(current.root, current.key, last, result.item.revision);
  }
}

function dryRunItem(root: string, key: string, object: AnyObject, revision: number): StoredItem {
  return new StoredItem(root, key, revision, encodeBody(object));
}
