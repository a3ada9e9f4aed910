// All kinds this server stores, and the paths under which they are served. Some kinds are served under two versions:
// then the second endpoint converts.
import type { KubeObject, ObjectName } from '../../api/meta.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { Clock } from '../../core/clock.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { Store } from '../store/store.ts';
import type { StoredItem } from '../store/stored-item.ts';
import type { AnyObject, KindDefinition } from './definition.ts';
import type { ObjectReader } from './reader.ts';
import { ResourceStore } from './resource-store.ts';

/** One served group, version and plural. */
export interface Endpoint {
  readonly type: ResourceType;
  readonly resource: ResourceStore;
  /** Absent where the stored version is served as it is. */
  readonly conversion?: Conversion;
}

export interface Conversion {
  toStored(object: AnyObject): AnyObject;
  fromStored(object: AnyObject): AnyObject;
  /** Key of the served version's schema. */
  readonly schema: string;
  /** Field selectors of the served version, on the stored object. */
  readonly fields?: KindDefinition['fields'];
}

/** A further version under which a stored kind is served. */
export interface ServedVersion extends Conversion {
  readonly type: ResourceType;
  /** Plural and group of the stored kind. */
  readonly of: { readonly group: string; readonly plural: string };
}

export class Registry implements ObjectReader {
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #store: Store;

  constructor(
    kinds: readonly KindDefinition[],
    versions: readonly ServedVersion[],
    deps: { readonly store: Store; readonly clock: Clock; readonly admission: readonly AdmissionPlugin[] },
  ) {
    this.#store = deps.store;
    for (const definition of kinds) {
      const resource = new ResourceStore(definition, { ...deps, reader: this });
      this.#endpoints.set(pathKey(definition.type), { type: definition.type, resource });
    }
    for (const version of versions) {
      const stored = [...this.#endpoints.values()].find(
        (e) => e.type.group === version.of.group && e.type.plural === version.of.plural,
      );
      if (stored === undefined) throw new Error(`no stored kind for ${pathKey(version.type)}`);
      this.#endpoints.set(pathKey(version.type), {
        type: version.type,
        resource: stored.resource,
        conversion: version,
      });
    }
  }

  get store(): Store {
    return this.#store;
  }

  get endpoints(): Iterable<Endpoint> {
    return this.#endpoints.values();
  }

  find(group: string, version: string, plural: string): Endpoint | undefined {
    return this.#endpoints.get(pathKey({ group, version, plural }));
  }

  /** @throws {Error} for a kind that is not served: a mistake of the caller's. */
  endpoint(type: ResourceType): Endpoint {
    const endpoint = this.find(type.group, type.version, type.plural);
    if (endpoint === undefined) throw new Error(`${pathKey(type)} is not served`);
    return endpoint;
  }

  get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName): T | undefined {
    return this.endpoint(type).resource.find(name.namespace ?? '', name.name)?.object as T | undefined;
  }

  list<T extends KubeObject>(type: ResourceType<T>, namespace = ''): readonly T[] {
    const { root } = this.endpoint(type).resource.definition;
    return this.#store.list(root, namespace === '' ? '' : `${namespace}/`).map((item) => item.object as T);
  }
}

function pathKey(type: { group: string; version: string; plural: string }): string {
  return `${type.group}/${type.version}/${type.plural}`;
}

/** JSON of the item as this endpoint serves it. */
export function servedText(endpoint: Endpoint, item: StoredItem): string {
  return endpoint.conversion === undefined ? item.text : JSON.stringify(servedObject(endpoint, item));
}

export function servedObject(endpoint: Endpoint, item: StoredItem): AnyObject {
  if (endpoint.conversion === undefined) return item.object;
  return endpoint.conversion.fromStored(JSON.parse(item.text) as AnyObject);
}
