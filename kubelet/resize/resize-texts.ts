// What Events of a resize say. Pure. After pkg/kubelet/events/pod_resize.go.
import type { Container, Pod, ResourceRequirements } from '../../api/pod.ts';
import { canonicalQuantity, isQuantity } from '../../api/quantity.ts';

/** `Pod resize started: {"containers":[…],"generation":2}`, with what the pod asks for. */
export function resizeText(what: string, pod: Pod, generation: number, error?: string): string {
  const summary = {
    ...listOf('initContainers', pod.spec?.initContainers),
    ...listOf('containers', pod.spec?.containers),
    generation,
    ...(error === undefined || error === '' ? {} : { error }),
  };
  return `Pod resize ${what}: ${JSON.stringify(summary)}`;
}

function listOf(name: string, containers: readonly Container[] = []): Record<string, unknown> {
  if (containers.length === 0) return {};
  return { [name]: containers.map((c) => ({ name: c.name, resources: canonical(c.resources) })) };
}

/** Limits first, names in order: as Go prints them. */
function canonical(resources: ResourceRequirements = {}): ResourceRequirements {
  const lists = (['limits', 'requests'] as const).flatMap((list) => {
    const amounts = Object.entries(resources[list] ?? {}).map(([name, text]) => {
      return [name, isQuantity(text) ? canonicalQuantity(text) : text] as const;
    });
    return amounts.length === 0
      ? []
      : [[list, Object.fromEntries(amounts.sort(([a], [b]) => (a < b ? -1 : 1)))] as const];
  });
  return Object.fromEntries(lists);
}
