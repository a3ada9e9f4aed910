// The opaque text that carries a paged list from one request to the next, in upstream's form.
import { badRequest } from '../status-error.ts';

export interface ContinueToken {
  /** All pages show the state at this revision; -1: whatever is there now (after an expired token). */
  readonly revision: number;
  /** The next page starts with the first key not below this one. */
  readonly start: string;
}

export function encodeContinue(token: ContinueToken): string {
  const json = { v: 'meta.k8s.io/v1', rv: token.revision, start: token.start };
  return Buffer.from(JSON.stringify(json)).toString('base64url');
}

/** @throws {StatusError} 400 */
export function decodeContinue(text: string): ContinueToken {
  const bad = badRequest('continue key is not valid');
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    throw bad;
  }
  const { v, rv, start } = (value ?? {}) as Record<string, unknown>;
  if (v !== 'meta.k8s.io/v1' || !Number.isSafeInteger(rv) || typeof start !== 'string') throw bad;
  return { revision: rv as number, start };
}
