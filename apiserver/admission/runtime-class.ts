// Overhead and placement that come with a RuntimeClass. Source: plugin/pkg/admission/runtimeclass.
import { isDeepStrictEqual } from 'node:util';
import type { Pod } from '../../api/pod.ts';
import { runtimeClasses } from '../../api/resources.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { forbidden } from '../status-error.ts';

export function runtimeClass(reader: ObjectReader): AdmissionPlugin {
  return {
    name: 'RuntimeClass',
    mutate({ operation, group, resource, subresource, object, name }) {
      if (operation !== 'CREATE' || group !== '' || resource !== 'pods' || subresource !== '') return;
      const spec = (object as Pod).spec;
      const wanted = spec?.runtimeClassName;
      if (spec === undefined || !wanted) return;
      const found = reader.get(runtimeClasses, { name: wanted });
      if (found === undefined) {
        throw forbidden({ group, resource }, name, `pod rejected: RuntimeClass "${wanted}" not found`);
      }
      const overhead = found.overhead?.podFixed;
      if (overhead !== undefined) {
        if (spec.overhead !== undefined && !isDeepStrictEqual(spec.overhead, overhead)) {
          const why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
          throw forbidden({ group, resource }, name, why);
        }
        spec.overhead = { ...overhead };
      }
      const { nodeSelector, tolerations } = found.scheduling ?? {};
      if (nodeSelector !== undefined) {
        const clash = Object.entries(nodeSelector).find(([k, v]) => (spec.nodeSelector?.[k] ?? v) !== v);
        if (clash !== undefined)
          throw forbidden(
            { group, resource },
            name,
            `pod rejected: conflict: runtimeClass.scheduling.nodeSelector[${clash[0]}]`,
          );
        spec.nodeSelector = { ...spec.nodeSelector, ...nodeSelector };
      }
      const known = spec.tolerations ?? [];
      const added = (tolerations ?? []).filter((t) => !known.some((k) => isDeepStrictEqual(k, t)));
      if (added.length > 0) spec.tolerations = [...known, ...structuredClone(added)];
    },
  };
}
