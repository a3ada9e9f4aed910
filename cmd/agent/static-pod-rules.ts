// The rules of the API for pods, for those that do not come through it. Read only when a node has static pods.
import type { Pod } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import schemaTable from '../../apiserver/gen/schema.json' with { type: 'json' };
import { defaultPod } from '../../apiserver/registry/defaults/pod.ts';
import { metadataFaults } from '../../apiserver/registry/metadata.ts';
import { podCreateFaults, podFaults } from '../../apiserver/registry/validation/pod.ts';
import { SchemaChecker, type TypeTable } from '../../apiserver/schema-check.ts';
import type { PodRules } from '../../kubelet/sources/static-pod.ts';

const types = new SchemaChecker(schemaTable as TypeTable);

export const staticPodRules: PodRules = {
  checkTypes: (pod) => void types.normalise(pod, 'core/v1.Pod', pods),
  setDefaults: (pod) => defaultPod(pod.spec!),
  faultsOf: (pod: Pod) => {
    const faults = [...metadataFaults(pod.metadata ?? {}, {}), ...podCreateFaults(pod), ...podFaults(pod)];
    return faults.map(({ field, message }) => `${field}: ${message}`);
  },
};
