// events.k8s.io/v1: the same stored objects as core events under other names. Source: pkg/apis/events/v1/conversion.go.
import type { AnyObject } from '../definition.ts';
import type { ServedVersion } from '../registry.ts';

/** Name in events.k8s.io → name in core. */
const RENAMED: Readonly<Record<string, string>> = {
  note: 'message',
  regarding: 'involvedObject',
  deprecatedSource: 'source',
  deprecatedFirstTimestamp: 'firstTimestamp',
  deprecatedLastTimestamp: 'lastTimestamp',
  deprecatedCount: 'count',
  reportingController: 'reportingComponent',
};

const BACK = Object.fromEntries(Object.entries(RENAMED).map(([to, from]) => [from, to]));

function rename(object: AnyObject, names: Readonly<Record<string, string>>, apiVersion: string): AnyObject {
  const renamed = Object.entries(object).map(([key, value]) => [names[key] ?? key, value]);
  return { ...Object.fromEntries(renamed), kind: 'Event', apiVersion };
}

type Fields = Record<string, Record<string, string> | string | undefined>;

const text = (o: AnyObject, member: string): string => String((o as unknown as Fields)[member] ?? '');

export const eventsV1: ServedVersion = {
  type: { group: 'events.k8s.io', version: 'v1', plural: 'events', kind: 'Event', namespaced: true },
  of: { group: '', plural: 'events' },
  schema: 'events/v1.Event',
  toStored: (object) => rename(object, RENAMED, 'v1'),
  fromStored: (object) => rename(object, BACK, 'events.k8s.io/v1'),
  fields: {
    ...Object.fromEntries(
      ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map((member) => [
        `regarding.${member}`,
        (o: AnyObject) => {
          const regarding = (o as unknown as Fields).involvedObject;
          return typeof regarding === 'object' ? (regarding[member] ?? '') : '';
        },
      ]),
    ),
    reason: (o) => text(o, 'reason'),
    reportingController: (o) => text(o, 'reportingComponent'),
    type: (o) => text(o, 'type'),
  },
};
