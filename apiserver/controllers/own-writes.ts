// What a controller wrote itself and its cache does not show yet. Deciding on the older state would write the same
// once more, or be refused as a conflict.
import { type KubeObject, objectKey } from '../../api/meta.ts';

export class OwnWrites<T extends KubeObject> {
  readonly #written = new Map<string, T>();

  /** Remembers an answer of the server. */
  remember(object: T): T {
    this.#written.set(objectKey(object), object);
    return object;
  }

  /** The newer of what the cache holds and what was written. */
  newest(cached: T): T {
    const key = objectKey(cached);
    const written = this.#written.get(key);
    if (written === undefined) return cached;
    if (written.metadata?.uid === cached.metadata?.uid && versionOf(written) > versionOf(cached)) return written;
    this.#written.delete(key);
    return cached;
  }

  forget(key: string): void {
    this.#written.delete(key);
  }
}

/** Since v1.35 resourceVersions may be compared as integers. */
function versionOf(object: KubeObject): bigint {
  const text = object.metadata?.resourceVersion ?? '';
  return /^\d+$/.test(text) ? BigInt(text) : 0n;
}
