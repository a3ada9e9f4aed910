// Which one object a list or watch is about: a field selector may name it. After requestinfo.go, which sets the name of
// such requests.
import { parseFieldSelector } from '../../api/field-selector.ts';
import { ParseError } from '../../api/parse-error.ts';
import type { AuthorizationAttributes } from './authorizer.ts';

/** The value that `field` must equal for an object to be selected; undefined when it may have several. */
export function selectedValue(fieldSelector: string | undefined, field: string): string | undefined {
  if (!fieldSelector) return undefined;
  try {
    const term = parseFieldSelector(fieldSelector).find((r) => r.field === field && r.operator === '=');
    return term?.value || undefined;
  } catch (err) {
    if (err instanceof ParseError) return undefined; // the handler will refuse it
    throw err;
  }
}

/** The name in the path, or that of `metadata.name=X`. Only where a selector decides what the answer holds. */
export function objectName(a: AuthorizationAttributes): string | undefined {
  if (a.name !== '' || (a.verb !== 'list' && a.verb !== 'watch')) return a.name || undefined;
  return selectedValue(a.fieldSelector, 'metadata.name');
}
