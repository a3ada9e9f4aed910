// What a node declares that it can do beyond an older one, so that the scheduler and the API server keep from it what it
// could not honour: Node.status.declaredFeatures (KEP-5328, component-helpers nodedeclaredfeatures).
import type { Pod } from '../../api/pod.ts';

const RESTART_ALL_CONTAINERS = 'RestartAllContainersOnContainerExits';

/** Each is declared under the name of its gate. In the order in which they are reported. */
const DECLARABLE = [
  'ExtendWebSocketsToKubelet',
  'InPlacePodLevelResourcesVerticalScaling',
  'InPlacePodVerticalScalingInitContainers',
  RESTART_ALL_CONTAINERS,
] as const;

/** Sorted, as the API server asks. Undefined when nodes of this configuration declare nothing at all. */
export function declaredFeatures(gates: ReadonlyMap<string, boolean>): readonly string[] | undefined {
  if (gates.get('NodeDeclaredFeatures') !== true) return undefined;
  return DECLARABLE.filter((name) => gates.get(name) === true);
}

/** What a pod needs of those in order to run; the others matter when pods are changed. */
export function requiredFeatures(pod: Pod): string[] {
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
  const restartsAll = containers.some((c) => c.restartPolicyRules?.some((r) => r.action === 'RestartAllContainers'));
  return restartsAll ? [RESTART_ALL_CONTAINERS] : [];
}
