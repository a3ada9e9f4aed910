// What happens to an object between authorization and the store: plugins change it, then plugins look at it. After
// apiserver pkg/admission. Plugins run in the order of the list; the first that throws ends the request.
import type { KubeObject } from '../api/meta.ts';
import type { UserInfo } from './request.ts';

export type AdmissionOperation = 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';

export interface AdmissionRequest {
  readonly operation: AdmissionOperation;
  readonly user: UserInfo;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  /** Kind of `object`; for a subresource its own kind (Eviction, TokenRequest, Binding) where it differs. */
  readonly kind: string;
  readonly namespace: string;
  /** '' while generateName is not yet resolved, and for collections. */
  readonly name: string;
  /** CREATE and UPDATE: the new object, which `mutate` may change in place. Absent for DELETE. CONNECT: options. */
  readonly object?: KubeObject;
  /** UPDATE and DELETE: what is stored. Frozen. */
  readonly oldObject?: KubeObject;
  readonly dryRun: boolean;
  /** Adds a Warning header to the answer. */
  warn(text: string): void;
}

export interface AdmissionPlugin {
  readonly name: string;
  /** @throws {StatusError} to refuse. Must be safe to run twice on one object: patches retry after conflicts. */
  mutate?(request: AdmissionRequest): Promise<void> | void;
  /** Sees the object as it will be stored. @throws {StatusError} to refuse. */
  validate?(request: AdmissionRequest): Promise<void> | void;
}

export async function runMutation(plugins: readonly AdmissionPlugin[], request: AdmissionRequest): Promise<void> {
  for (const plugin of plugins) {
    // Awaiting only what is a promise: most plugins are synchronous and this is on the path of every write.
    const pending = plugin.mutate?.(request);
    if (pending !== undefined) await pending;
  }
}

export async function runValidation(plugins: readonly AdmissionPlugin[], request: AdmissionRequest): Promise<void> {
  for (const plugin of plugins) {
    const pending = plugin.validate?.(request);
    if (pending !== undefined) await pending;
  }
}
