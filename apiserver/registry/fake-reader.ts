import { type KubeObject, objectKey } from '../../api/meta.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { ObjectReader } from './reader.ts';

/** Reads `objects`, by the plural of their kind. */
export function readerOf(objects: Readonly<Record<string, readonly object[]>>): ObjectReader {
  const all = <T extends KubeObject>(type: ResourceType<T>) => (objects[type.plural] ?? []) as readonly T[];
  return {
    get: (type, { namespace, name }) =>
      all(type).find((o) => objectKey(o) === (namespace ? `${namespace}/${name}` : name)),
    list: (type, namespace) => all(type).filter((o) => !namespace || o.metadata?.namespace === namespace),
  };
}
