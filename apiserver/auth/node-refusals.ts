// Which refusals tell of a defect of a node's agent: it knows the rules, and breaks them.
import type { RequestInfo } from '../request.ts';
import { StatusError } from '../status-error.ts';
import { nodeNameOf } from './node-authorizer.ts';

/** Refusals that another state of the cluster would not have spared the writer, as 404, 409 and 410 may be. */
const DEFECTS: ReadonlySet<number> = new Set([400, 403, 405, 406, 413, 415, 422]);

/** What to log of a request that was authorized and then refused with `err`; undefined for what may happen to anybody. */
export function nodeRefusal(info: RequestInfo, err: unknown): Record<string, unknown> | undefined {
  const node = nodeNameOf(info.user);
  if (node === undefined || !(err instanceof StatusError) || !DEFECTS.has(err.code)) return undefined;
  // An Event about a pod of a namespace that is going away: nobody can know in time.
  if (err.details?.causes?.some((c) => c.reason === 'NamespaceTerminating')) return undefined;
  const { verb, resource, subresource, namespace, name } = info;
  return { node, verb, resource, subresource, namespace, name, code: err.code, reason: err.message };
}
