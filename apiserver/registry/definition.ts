// What the generic registry must know about a kind: one table entry. Functions are pure but for the objects they are
// told to change.
import type { KubeObject, ObjectMeta } from '../../api/meta.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { UserInfo } from '../request.ts';
import type { FieldError } from './field-errors.ts';
import type { ObjectReader } from './reader.ts';

/** kubernetes-types marks what only the server writes as read-only; here is the server. */
export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A stored object as strategies handle it: its parts are checked against the schema before they come here. */
export interface AnyObject extends Omit<KubeObject, 'metadata'> {
  metadata?: Mutable<ObjectMeta>;
  // biome-ignore lint/suspicious/noExplicitAny: the parts of all kinds; strategies cast to the kind they serve.
  spec?: any;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  status?: any;
}

export interface StrategyContext {
  /** Wall ms. */
  readonly nowMs: number;
  readonly user: UserInfo;
  readonly reader: ObjectReader;
  readonly dryRun: boolean;
  warn(text: string): void;
}

/** How a PUT or PATCH of one subresource changes the stored object. */
export interface UpdateSubresource {
  /** `next` came from the client: put back in it, from `old`, whatever this subresource may not change. */
  reset(next: AnyObject, old: AnyObject): void;
  validate?(next: AnyObject, old: AnyObject): FieldError[];
}

export interface ScaleFields {
  /** Text form of the selector for status.selector. */
  selector(object: AnyObject): string;
  statusReplicas(object: AnyObject): number;
}

export interface TableColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly wide: boolean;
}

export type Cell = string | number | boolean;

export interface TableLayout {
  readonly columns: readonly TableColumn[];
  /** One cell per column. */
  cells(object: AnyObject, nowMs: number): Cell[];
}

/** Reserves what lives outside the object (addresses, ports). */
export interface Reservation {
  /** The object was stored: what it no longer uses becomes free. */
  commit(): void;
  /** It was not: what was taken for it becomes free. */
  release(): void;
}

export interface KindDefinition {
  readonly type: ResourceType;
  /** Key prefix in the store, `/registry/pods/`. */
  readonly root: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly singular?: string;
  /** Without deletecollection for Namespace. */
  readonly verbs?: readonly string[];
  /** Key of the type in the schema table. */
  readonly schema?: string;
  /** Has /status: its content comes only from there. */
  readonly status?: boolean;
  /** The kubelet registers with a full status. */
  readonly keepStatusOnCreate?: boolean;
  /** /status leaves labels, annotations, finalizers and owners as stored. */
  readonly statusKeepsMetadata?: boolean;
  readonly generation?: boolean;
  /** PUT of a missing object creates it. */
  readonly createOnUpdate?: boolean;
  /** PUT without resourceVersion is refused. */
  readonly versionedUpdate?: boolean;
  readonly ttlSeconds?: number;
  readonly nameRule?: 'subdomain' | 'label' | 'path-segment';
  /** Dependents are orphaned when a DELETE gives no policy. */
  readonly orphansByDefault?: boolean;
  /** Sent as a Warning header with every answer. */
  readonly deprecation?: string;
  /** Field selectors besides metadata.name and metadata.namespace. */
  readonly fields?: Readonly<Record<string, (object: AnyObject) => string>>;
  /** Fills in absent fields. Must give the same when run again. */
  defaults?(object: AnyObject): void;
  prepareCreate?(object: AnyObject, context: StrategyContext): void;
  prepareUpdate?(next: AnyObject, old: AnyObject, context: StrategyContext): void;
  validate?(object: AnyObject): FieldError[];
  validateCreate?(object: AnyObject): FieldError[];
  validateUpdate?(next: AnyObject, old: AnyObject): FieldError[];
  /** Grace of a DELETE in seconds, given what was asked for; 0: remove at once. */
  grace?(object: AnyObject, asked: number | undefined): number;
  /** Changes `object` when deletion starts; true in answer: the object stays until `finished`. */
  startDeletion?(object: AnyObject): void;
  /** Whether a terminating object without metadata.finalizers may go. */
  finished?(object: AnyObject): boolean;
  /** @throws {StatusError} when nothing is free. */
  reserve?(next: AnyObject, old: AnyObject | undefined): Reservation;
  /** After the object is gone. */
  onDeleted?(object: AnyObject): void;
  readonly subresources?: Readonly<Record<string, UpdateSubresource>>;
  readonly scale?: ScaleFields;
  readonly table?: TableLayout;
}
