// What of one kind can be seen: an object, pages of a list, changes. After apiserver
// pkg/registry/generic/registry/store.go and pkg/storage/cacher.
import { expired, type GroupResource, notFound } from '../status-error.ts';
import { CompactedError, type Store, type StoreEvent } from '../store/store.ts';
import { StoredItem } from '../store/stored-item.ts';
import { decodeContinue, encodeContinue } from './continue-token.ts';
import type { KindDefinition } from './definition.ts';
import type { ItemFilter } from './selectors.ts';

export interface ListQuery {
  /** '' for all. */
  readonly namespace: string;
  readonly filter: ItemFilter;
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
  /** Show the state at exactly this revision. */
  readonly exactRevision?: number | undefined;
}

export interface ListPage {
  readonly items: readonly StoredItem[];
  readonly revision: number;
  readonly continue: string;
  /** Items after this page; undefined when it is the last or a selector hides how many would match. */
  readonly remaining: number | undefined;
}

export type Change = { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly item: StoredItem };

export class ResourceReads {
  readonly definition: KindDefinition;
  readonly #store: Store;
  readonly #resource: GroupResource;

  constructor(definition: KindDefinition, store: Store) {
    this.definition = definition;
    this.#store = store;
    this.#resource = { group: definition.type.group, resource: definition.type.plural };
  }

  get revision(): number {
    return this.#store.revision;
  }

  /** @throws {StatusError} 404 */
  get(namespace: string, name: string): StoredItem {
    const item = this.find(namespace, name);
    if (item === undefined) throw notFound(this.#resource, name);
    return item;
  }

  find(namespace: string, name: string): StoredItem | undefined {
    return this.#store.get(this.definition.root, keyOf(this.definition, namespace, name));
  }

  /** @throws {StatusError} 400 for a bad continue token, 410 when its revision is gone. */
  list(query: ListQuery): ListPage {
    const store = this.#store;
    const token = query.continue ? decodeContinue(query.continue) : undefined;
    const revision =
      (token !== undefined && token.revision > 0 ? token.revision : query.exactRevision) ?? store.revision;
    const candidates = this.#candidates(query, revision, token?.start);
    const start = token === undefined ? 0 : firstFrom(candidates, token.start);
    const limit = query.limit !== undefined && query.limit > 0 ? query.limit : Number.POSITIVE_INFINITY;
    const items: StoredItem[] = [];
    let at = start;
    for (; at < candidates.length && items.length < limit; at++) {
      if (query.filter.matches(candidates[at]!)) items.push(candidates[at]!);
    }
    const more = at < candidates.length;
    const next = more ? encodeContinue({ revision, start: `${items.at(-1)!.key}\u0000` }) : '';
    return {
      items,
      revision,
      continue: next,
      remaining: more && query.filter.empty ? candidates.length - at : undefined,
    };
  }

  #candidates(query: ListQuery, revision: number, start: string | undefined): readonly StoredItem[] {
    const store = this.#store;
    const { root, type } = this.definition;
    const prefix = type.namespaced && query.namespace !== '' ? `${query.namespace}/` : '';
    const name = query.filter.name;
    if (revision >= store.revision && name !== undefined && (!type.namespaced || prefix !== '')) {
      const item = store.get(root, `${prefix}${name}`);
      return item === undefined ? [] : [item];
    }
    try {
      return store.listAt(revision, root, prefix);
    } catch (err) {
      if (!(err instanceof CompactedError)) throw err;
      if (start === undefined) throw expired(err.message);
      const inconsistent = encodeContinue({ revision: -1, start });
      throw expired(
        'The provided continue parameter is too old to display a consistent list result. You can start a new list ' +
          'without the continue parameter, or use the continue token in this response to retrieve the remainder of ' +
          'the results. Continuing with the provided token results in an inconsistent list - objects that were ' +
          'created, modified, or deleted between the time the first chunk was returned and now may show up in the list.',
        { continue: inconsistent },
      );
    }
  }

  /** Changes after `from` as one who sees only what `filter` lets through meets them. @throws {CompactedError} */
  watch(namespace: string, filter: ItemFilter, from: number, listener: (change: Change) => void): Disposable {
    const prefix = this.definition.type.namespaced && namespace !== '' ? `${namespace}/` : '';
    return this.#store.watch(this.definition.root, from, (event) => {
      if (!event.item.key.startsWith(prefix)) return;
      const change = filter.empty ? plainChange(event) : filteredChange(event, filter);
      if (change !== undefined) listener(change);
    });
  }
}

/** Below the kind's root: `namespace/name`, or the name alone. */
export function keyOf({ type }: KindDefinition, namespace: string, name: string): string {
  return type.namespaced ? `${namespace}/${name}` : name;
}

function firstFrom(items: readonly StoredItem[], start: string): number {
  const at = items.findIndex((item) => item.key >= start);
  return at < 0 ? items.length : at;
}

function plainChange(event: StoreEvent): Change {
  if (event.type === 'delete') return { type: 'DELETED', item: event.item };
  return { type: event.previous === undefined ? 'ADDED' : 'MODIFIED', item: event.item };
}

/** Entering the selection is an addition, leaving it a deletion. */
function filteredChange(event: StoreEvent, filter: ItemFilter): Change | undefined {
  const before = event.previous !== undefined && filter.matches(event.previous);
  if (event.type === 'delete') return before ? { type: 'DELETED', item: event.item } : undefined;
  const after = filter.matches(event.item);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', item: event.item };
  if (!before) return undefined;
  const { root, key, revision } = event.item;
  return { type: 'DELETED', item: new StoredItem(root, key, revision, event.previous!.body) };
}
