// One version of one object as the store holds it: its JSON text without resourceVersion (that is the store's own
// number, added when read), and the parsed object on demand. Immutable, so readers and watchers share it.
import type { KubeObject } from '../../api/meta.ts';

const METADATA_START = '"metadata":{';

export class StoredItem {
  /** Collection, e.g. `/registry/pods/`. */
  readonly root: string;
  /** Key inside the collection: `default/web-0` or `node-1`. */
  readonly key: string;
  /** Revision of the write that made this version. */
  readonly revision: number;
  /** JSON without metadata.resourceVersion, as written to disk. */
  readonly body: string;
  /** Wall ms when the item is to vanish; undefined: stays. */
  readonly expiresAtMs: number | undefined;
  #object: KubeObject | undefined;
  #text: string | undefined;

  constructor(
    root: string,
    key: string,
    revision: number,
    body: string,
    options: { readonly expiresAtMs?: number | undefined; readonly object?: KubeObject } = {},
  ) {
    this.root = root;
    this.key = key;
    this.revision = revision;
    this.body = body;
    this.expiresAtMs = options.expiresAtMs;
    this.#object = options.object;
  }

  /** Frozen, with metadata.resourceVersion. */
  get object(): KubeObject {
    this.#object ??= deepFreeze(JSON.parse(this.text) as KubeObject);
    return this.#object;
  }

  /** JSON with metadata.resourceVersion; without one when the revision is 0 (a creation that was only tried). */
  get text(): string {
    this.#text ??= this.revision === 0 ? this.body : insertRevision(this.body, this.revision);
    return this.#text;
  }
}

/**
 * The text to store. kind and apiVersion come first so that the first `"metadata":{` is the object's own: a revision can
 * then be put in without parsing.
 */
export function encodeBody(object: KubeObject): string {
  const { kind, apiVersion, metadata, ...rest } = object;
  const { resourceVersion: _, ...meta } = metadata ?? {};
  return JSON.stringify({ kind, apiVersion, metadata: meta, ...rest });
}

function insertRevision(body: string, revision: number): string {
  const at = body.indexOf(METADATA_START) + METADATA_START.length;
  const comma = body[at] === '}' ? '' : ',';
  return `${body.slice(0, at)}"resourceVersion":"${revision}"${comma}${body.slice(at)}`;
}

export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
