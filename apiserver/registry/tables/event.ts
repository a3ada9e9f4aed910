// The row of an Event. Source: printEvent in pkg/printers/internalversion/printers.go.
import type { CoreEvent } from '../../../api/kinds.ts';
import { nameOf, since, table } from './format.ts';

export const eventTable = table(
  ['Last Seen', 'Type', 'Reason', 'Object', 'Subobject*', 'Source*', 'Message', 'First Seen*', 'Count*', 'Name*'],
  (event: CoreEvent, nowMs) => {
    const first = since(event.firstTimestamp ?? event.eventTime, nowMs);
    const last = event.series?.lastObservedTime ?? event.lastTimestamp;
    const { kind = '', name, fieldPath } = event.involvedObject;
    return [
      last ? since(last, nowMs) : first,
      event.type,
      event.reason,
      name ? `${kind.toLowerCase()}/${name}` : kind.toLowerCase(),
      fieldPath,
      sourceText(event),
      (event.message ?? '').trim(),
      first,
      event.series?.count ?? event.count ?? 1,
      nameOf(event),
    ];
  },
);

function sourceText(event: CoreEvent): string {
  const component = event.source?.component || event.reportingComponent || '';
  const host = event.source?.host || event.reportingInstance || '';
  return host === '' ? component : `${component}, ${host}`;
}
