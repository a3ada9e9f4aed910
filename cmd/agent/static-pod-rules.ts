// The rules of the API for pods, for those that do not come through it. Read only when a node has static pods.
import type { Pod } from '../../api/pod.ts';
import { defaultPod } from '../../apiserver/registry/defaults/pod.ts';
import { podFaults } from '../../apiserver/registry/validation/pod.ts';
import type { PodRules } from '../../kubelet/sources/static-pod.ts';

export const staticPodRules: PodRules = {
  setDefaults: (pod) => defaultPod(pod.spec!),
  faultsOf: (pod: Pod) => podFaults(pod).map(({ field, message }) => `${field}: ${message}`),
};
