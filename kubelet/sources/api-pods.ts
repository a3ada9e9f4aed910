// Which objects of the API server are pods that this node can do something with. Servers send no others, but what is at their
// address may: names become paths, and what is not there where everybody looks for it ends a pod's worker again and again.
import type { Pod } from '../../api/pod.ts';

/** One element of a path, as uids and namespaces are. */
const ELEMENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/;

/** Pure. Says nothing of whether the pod may run. */
export function isPod({ metadata, spec }: Pod): boolean {
  if (![metadata?.uid, metadata?.namespace, metadata?.name].every(isElement)) return false;
  if (typeof spec !== 'object' || spec === null || !isNamedList(spec.containers)) return false;
  const others = [spec.initContainers, spec.ephemeralContainers, spec.volumes];
  return others.every((list) => list === undefined || list === null || isNamedList(list));
}

function isElement(value: unknown): boolean {
  return typeof value === 'string' && ELEMENT.test(value);
}

function isNamedList(list: unknown): boolean {
  return (
    Array.isArray(list) && list.every((item: { readonly name?: unknown } | null) => typeof item?.name === 'string')
  );
}
