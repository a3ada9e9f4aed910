// Reads of stored objects that cannot wait: admission, authorization and validation look things up on the path of
// every request. Answers come from memory and are frozen.
import type { KubeObject, ObjectName } from '../../api/meta.ts';
import type { ResourceType } from '../../api/resources.ts';

export interface ObjectReader {
  /** In the kind's stored version, with metadata.resourceVersion. */
  get<T extends KubeObject>(type: ResourceType<T>, name: ObjectName): T | undefined;
  /** In the order of their keys; of all namespaces when none is given. */
  list<T extends KubeObject>(type: ResourceType<T>, namespace?: string): readonly T[];
}
