// Stored items as the JSON of the form a client asked for.
import { apiVersionOf } from '../api/resources.ts';
import type { ResponseForm } from './negotiation.ts';
import type { Endpoint } from './registry/registry.ts';
import { servedObject, servedText } from './registry/registry.ts';
import type { ListPage } from './registry/resource-reads.ts';
import { columnDefinitions, type IncludeObject, partialMetadata, tableRow } from './registry/tables/table.ts';
import type { StoredItem } from './store/stored-item.ts';

export interface Rendering {
  readonly form: ResponseForm;
  readonly includeObject: IncludeObject;
  /** Wall ms, for ages. */
  readonly nowMs: number;
}

export function renderItem(endpoint: Endpoint, item: StoredItem, how: Rendering): string {
  const { form } = how;
  if (form.transform === 'none') return servedText(endpoint, item);
  if (form.transform === 'partial') {
    return JSON.stringify(partialMetadata(servedObject(endpoint, item), form.metaVersion));
  }
  return JSON.stringify(tableOf(endpoint, [item], { resourceVersion: String(item.revision) }, how));
}

export function renderList(endpoint: Endpoint, page: ListPage, how: Rendering): string {
  const metadata = {
    resourceVersion: String(page.revision),
    ...(page.continue === '' ? {} : { continue: page.continue }),
    ...(page.remaining === undefined ? {} : { remainingItemCount: page.remaining }),
  };
  const { transform, metaVersion } = how.form;
  if (transform === 'table') return JSON.stringify(tableOf(endpoint, page.items, metadata, how));
  const partial = transform === 'partial';
  const kind = partial ? 'PartialObjectMetadataList' : `${endpoint.type.kind}List`;
  const apiVersion = partial ? metaVersion : apiVersionOf(endpoint.type);
  const head = JSON.stringify({ kind, apiVersion, metadata });
  const items = page.items.map((item) => renderItem(endpoint, item, how));
  return `${head.slice(0, -1)},"items":[${items.join(',')}]}`;
}

export function tableOf(
  endpoint: Endpoint,
  items: readonly StoredItem[],
  metadata: object,
  { form, includeObject, nowMs }: Rendering,
) {
  const layout = endpoint.resource.definition.table;
  return {
    kind: 'Table',
    apiVersion: form.metaVersion,
    metadata,
    columnDefinitions: columnDefinitions(layout),
    rows: items.map((item) => tableRow(item.object, layout, includeObject, nowMs, form.metaVersion)),
  };
}
