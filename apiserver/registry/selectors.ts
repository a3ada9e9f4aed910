// Field and label selectors as query parameters carry them, turned into predicates on stored items.
import { parseFieldSelector } from '../../api/field-selector.ts';
import { matchesLabels, parseLabelSelector } from '../../api/labels.ts';
import type { KubeObject } from '../../api/meta.ts';
import { errorMessage } from '../../core/errors.ts';
import { badRequest } from '../status-error.ts';
import type { StoredItem } from '../store/stored-item.ts';
import type { AnyObject, KindDefinition } from './definition.ts';

export interface ItemFilter {
  /** Only an object of this name can match: a lookup instead of a scan. */
  readonly name: string | undefined;
  /** Everything matches. */
  readonly empty: boolean;
  matches(item: StoredItem): boolean;
}

type FieldReader = (object: KubeObject) => string;

/** @throws {StatusError} 400 for bad syntax or a field the kind does not select by. */
export function makeFilter(
  definition: KindDefinition,
  labelSelector: string,
  fieldSelector: string,
  fields: KindDefinition['fields'] = definition.fields,
): ItemFilter {
  const terms = parse(() => parseFieldSelector(fieldSelector));
  const labels = parse(() => parseLabelSelector(labelSelector));
  const tests = terms.map(({ field, operator, value }) => {
    const read = fieldReader(definition, fields ?? {}, field);
    return (object: KubeObject) => (read(object) === value) === (operator === '=');
  });
  const empty = tests.length === 0 && labels.length === 0;
  return {
    name: terms.find((t) => t.field === 'metadata.name' && t.operator === '=')?.value,
    empty,
    matches: (item) =>
      empty || (tests.every((test) => test(item.object)) && matchesLabels(labels, item.object.metadata?.labels)),
  };
}

function parse<T>(parser: () => T): T {
  try {
    return parser();
  } catch (err) {
    throw badRequest(`unable to parse requirement: ${errorMessage(err)}`);
  }
}

function fieldReader(
  definition: KindDefinition,
  fields: Readonly<Record<string, (object: AnyObject) => string>>,
  field: string,
): FieldReader {
  if (field === 'metadata.name') return (o) => o.metadata?.name ?? '';
  if (field === 'metadata.namespace' && definition.type.namespaced) return (o) => o.metadata?.namespace ?? '';
  const read = Object.hasOwn(fields, field) ? fields[field] : undefined;
  if (read === undefined) throw badRequest(`field label not supported: ${field}`);
  return read;
}
