// Objects as the rows of a metav1.Table.
import type { AnyObject, Cell, TableLayout } from '../definition.ts';
import { nameOf, table } from './format.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

const defaultLayout = table(['Name', 'Created At'], (o: AnyObject) => [nameOf(o), o.metadata?.creationTimestamp ?? '']);

interface Row {
  readonly cells: readonly Cell[];
  readonly object?: unknown;
}

export function columnDefinitions(layout: TableLayout = defaultLayout) {
  return layout.columns.map((column) => ({
    name: column.name,
    type: column.type,
    format: column.name === 'Name' ? 'name' : '',
    description: '',
    priority: column.wide ? 1 : 0,
  }));
}

export function tableRow(
  object: AnyObject,
  layout: TableLayout | undefined,
  include: IncludeObject,
  nowMs: number,
  /** apiVersion of the Table and of the metadata in it. */
  apiVersion: string,
): Row {
  const cells = (layout ?? defaultLayout).cells(object, nowMs);
  if (include === 'None') return { cells };
  return { cells, object: include === 'Object' ? object : partialMetadata(object, apiVersion) };
}

export function partialMetadata(object: AnyObject, apiVersion: string) {
  return { kind: 'PartialObjectMetadata', apiVersion, metadata: object.metadata ?? {} };
}
