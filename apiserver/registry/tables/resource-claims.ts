// Rows of the kinds of resource.k8s.io. Source: pkg/printers/internalversion/printers.go.
import type { AnyObject } from '../definition.ts';
import { age, nameOf, table } from './format.ts';

export const resourceClaim = table(['Name', 'State', 'Age'], (o: AnyObject, now) => [
  nameOf(o),
  claimState(o),
  age(o, now),
]);

function claimState({ metadata, status }: AnyObject): string {
  const isGoing = metadata?.deletionTimestamp !== undefined;
  const states = isGoing ? ['deleted'] : [];
  if (status?.allocation === undefined) return [...states, ...(isGoing ? [] : ['pending'])].join(',');
  states.push('allocated');
  if ((status.reservedFor?.length ?? 0) > 0) states.push('reserved');
  return states.join(',');
}

export const resourceSlice = table(['Name', 'Node', 'Driver', 'Pool', 'Age'], (o: AnyObject, now) => [
  nameOf(o),
  o.spec?.nodeName ?? '<unset>',
  o.spec?.driver,
  o.spec?.pool?.name,
  age(o, now),
]);

export const named = table(['Name', 'Age'], (o: AnyObject, now) => [nameOf(o), age(o, now)]);
