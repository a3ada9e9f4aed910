// Who owns whom, over all kinds: the index behind garbage collection (pkg/controller/garbagecollector/graph.go).
import type { KubeObject, OwnerReference } from '../../api/meta.ts';
import type { ResourceType } from '../../api/resources.ts';

export interface OwnedObject {
  readonly uid: string;
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly resourceVersion: string | undefined;
  readonly owners: readonly OwnerReference[];
  readonly finalizers: readonly string[];
  readonly beingDeleted: boolean;
}

export const FOREGROUND = 'foregroundDeletion';
export const ORPHAN = 'orphan';

export class OwnerGraph {
  readonly #objects = new Map<string, OwnedObject>();
  readonly #dependents = new Map<string, Set<string>>();

  get(uid: string): OwnedObject | undefined {
    return this.#objects.get(uid);
  }

  dependentsOf(uid: string): OwnedObject[] {
    return [...(this.#dependents.get(uid) ?? [])].map((d) => this.#objects.get(d)!);
  }

  set(type: ResourceType, object: KubeObject): OwnedObject {
    const {
      uid = '',
      namespace,
      name = '',
      resourceVersion,
      ownerReferences = [],
      finalizers = [],
      deletionTimestamp,
    } = object.metadata ?? {};
    this.#unlink(uid);
    const entry: OwnedObject = {
      uid,
      type,
      namespace,
      name,
      resourceVersion,
      owners: ownerReferences,
      finalizers,
      beingDeleted: deletionTimestamp !== undefined,
    };
    this.#objects.set(uid, entry);
    for (const owner of ownerReferences) {
      let dependents = this.#dependents.get(owner.uid);
      if (dependents === undefined) {
        dependents = new Set();
        this.#dependents.set(owner.uid, dependents);
      }
      dependents.add(uid);
    }
    return entry;
  }

  delete(uid: string): void {
    this.#unlink(uid);
    this.#objects.delete(uid);
  }

  #unlink(uid: string): void {
    for (const owner of this.#objects.get(uid)?.owners ?? []) {
      const dependents = this.#dependents.get(owner.uid);
      dependents?.delete(uid);
      if (dependents?.size === 0) this.#dependents.delete(owner.uid);
    }
  }
}
