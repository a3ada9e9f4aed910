// Overhead and placement that come with a RuntimeClass. Source: plugin/pkg/admission/runtimeclass.
import { isDeepStrictEqual } from 'node:util';
import type { RuntimeClass } from '../../api/kinds.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { runtimeClasses } from '../../api/resources.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { forbidden } from '../status-error.ts';

export function runtimeClass(reader: ObjectReader): AdmissionPlugin {
  return {
    name: 'RuntimeClass',
    mutate({ operation, group, resource, subresource, object, name }) {
      if (operation !== 'CREATE' || group !== '' || resource !== 'pods' || subresource !== '') return;
      const { spec } = object as Pod;
      if (spec === undefined) return;
      const refuse = (why: string) => forbidden({ group, resource }, name, why);
      const wanted = spec.runtimeClassName;
      const found = wanted ? reader.get<RuntimeClass>(runtimeClasses, { name: wanted }) : undefined;
      if (wanted && found === undefined) throw refuse(`pod rejected: RuntimeClass "${wanted}" not found`);
      const why = setOverhead(spec, found?.overhead?.podFixed) ?? setScheduling(spec, found?.scheduling ?? {});
      if (why !== undefined) throw refuse(why);
    },
  };
}

/** @returns why not. */
function setOverhead(spec: PodSpec, overhead: Readonly<Record<string, string>> | undefined): string | undefined {
  const own = spec.overhead ?? {};
  if (overhead === undefined) {
    if (Object.keys(own).length === 0) return undefined;
    return 'pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead';
  }
  if (spec.overhead !== undefined && !isDeepStrictEqual(own, overhead)) {
    return "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
  }
  spec.overhead = { ...overhead };
  return undefined;
}

/** @returns why not. */
function setScheduling(
  spec: PodSpec,
  { nodeSelector = {}, tolerations = [] }: NonNullable<RuntimeClass['scheduling']>,
): string | undefined {
  for (const [key, value] of Object.entries(nodeSelector)) {
    const own = spec.nodeSelector?.[key] ?? value;
    if (own === value) continue;
    return `conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${own}`;
  }
  if (Object.keys(nodeSelector).length > 0) spec.nodeSelector = { ...spec.nodeSelector, ...nodeSelector };
  const known = spec.tolerations ?? [];
  const added = tolerations.filter((t) => !known.some((k) => isDeepStrictEqual(k, t)));
  if (added.length > 0) spec.tolerations = [...known, ...structuredClone(added)];
  return undefined;
}
