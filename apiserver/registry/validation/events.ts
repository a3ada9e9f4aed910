// Events. Source: pkg/apis/core/validation/events.go, legacyValidateEvent: what holds for events of both groups.
import type { AnyObject } from '../definition.ts';
import { type FieldError, invalid, required } from '../field-errors.ts';
import { qualifiedNameFaults, subdomainFaults } from '../metadata.ts';

const MAX_NAMES = 128;
const MAX_MESSAGE = 1024;

interface EventFields {
  readonly metadata?: { readonly namespace?: string };
  readonly eventTime?: string;
  readonly involvedObject?: { readonly namespace?: string };
  readonly reportingComponent?: string;
  readonly reportingInstance?: string;
  readonly action?: string;
  readonly reason?: string;
  readonly message?: string;
}

export function eventFaults(object: AnyObject): FieldError[] {
  const event = object as unknown as EventFields;
  const { namespace = '' } = event.metadata ?? {};
  const own = event.eventTime === undefined ? namespaceFaults(event, ['default']) : newEventFaults(event);
  return [...own, ...subdomainFaults('namespace', namespace)];
}

/** An event lies beside the object that it is about; `forCluster`: where those about objects without one lie. */
function namespaceFaults({ metadata, involvedObject }: EventFields, forCluster: readonly string[]): FieldError[] {
  const { namespace = '' } = metadata ?? {};
  const about = involvedObject?.namespace ?? '';
  const fits = about === '' ? forCluster.includes(namespace) : about === namespace;
  return fits ? [] : [invalid('involvedObject.namespace', about, 'does not match event.namespace')];
}

/** With `eventTime`: as events.k8s.io makes them. */
function newEventFaults(event: EventFields): FieldError[] {
  const { reportingComponent: controller = '', message = '' } = event;
  const faults = event.involvedObject?.namespace ? [] : namespaceFaults(event, ['default', 'kube-system']);
  if (controller === '') faults.push(required('reportingController'));
  faults.push(...qualifiedNameFaults('reportingController', controller));
  for (const member of ['reportingInstance', 'action', 'reason'] as const) {
    const value = event[member] ?? '';
    if (value === '') faults.push(required(member));
    if (value.length > MAX_NAMES) faults.push(invalid(member, '', `can have at most ${MAX_NAMES} characters`));
  }
  if (message.length > MAX_MESSAGE) faults.push(invalid('message', '', `can have at most ${MAX_MESSAGE} characters`));
  return faults;
}
