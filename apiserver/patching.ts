// Patches on stored objects: the formats are api/patch's; here are their errors as the API reports them.
import { applyJsonPatch } from '../api/patch/json-patch.ts';
import { PatchError } from '../api/patch/json-value.ts';
import { applyMergePatch } from '../api/patch/merge-patch.ts';
import { applyStrategicMerge } from '../api/patch/strategic-merge.ts';
import type { AnyObject } from './registry/definition.ts';
import { StatusError } from './status-error.ts';

export type PatchType = 'json' | 'merge' | 'strategic';

/** The patched object; parts may be shared with `current`. @throws {StatusError} 400, 413 or 422 */
export function applyPatch(type: PatchType, kind: string, current: AnyObject, patch: unknown): AnyObject {
  try {
    if (type === 'json') return applyJsonPatch(current, patch) as AnyObject;
    if (type === 'merge') return applyMergePatch(current, patch) as AnyObject;
    return applyStrategicMerge(kind, current, patch);
  } catch (err) {
    if (!(err instanceof PatchError)) throw err;
    throw statusOfPatchError(err);
  }
}

function statusOfPatchError(err: PatchError): StatusError {
  if (err.fault === 'TooLarge') return new StatusError(413, 'RequestEntityTooLarge', err.message);
  if (err.fault === 'BadPatch') return new StatusError(400, 'BadRequest', err.message);
  const message = `the server rejected our request due to an error in our request: ${err.message}`;
  return new StatusError(422, 'Invalid', message);
}
