// fieldRef and resourceFieldRef: a pod's own fields as text (pkg/fieldpath, pkg/api/v1/resource ExtractContainerResourceValue).
import type { Pod } from '../../api/pod.ts';
import { amountsOf } from '../../api/pod-resources.ts';
import { parseQuantity } from '../../api/quantity.ts';
import { ContainerConfigError } from './config-error.ts';
import type { AnyContainer } from './labels.ts';

export interface PodFieldFacts {
  /** Of the sandbox just made, or of the node for a pod on the host's network; the primary first. */
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
  /** What limits default to: `cpu`, `memory`, … as quantities. */
  readonly nodeAllocatable: Readonly<Record<string, string>>;
}

/** @throws {ContainerConfigError} for a path that is no field a variable may show. */
export function fieldValue(pod: Pod, path: string, facts: PodFieldFacts): string {
  const mapped = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(path);
  if (mapped !== null) return ownValue(pod.metadata?.[mapped[1] as 'labels' | 'annotations'], mapped[2]!) ?? '';
  switch (path) {
    case 'metadata.name':
      return pod.metadata?.name ?? '';
    case 'metadata.namespace':
      return pod.metadata?.namespace ?? '';
    case 'metadata.uid':
      return pod.metadata?.uid ?? '';
    case 'spec.nodeName':
      return pod.spec?.nodeName ?? '';
    case 'spec.serviceAccountName':
      return pod.spec?.serviceAccountName ?? '';
    case 'status.hostIP':
      return facts.hostIps[0] ?? '';
    case 'status.hostIPs':
      return facts.hostIps.join(',');
    case 'status.podIP':
      return facts.podIps[0] ?? '';
    case 'status.podIPs':
      return facts.podIps.join(',');
    default:
      throw new ContainerConfigError(`unsupported fieldPath: ${path}`);
  }
}

/** Of a key that a user chose, which may be `constructor`: every JSON object has something under that name. */
export function ownValue(map: Readonly<Record<string, string>> | undefined, key: string): string | undefined {
  return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
}

/** The amount divided by the divisor, rounded up; limits that are not set are the node's. */
export function resourceFieldValue(
  pod: Pod,
  self: AnyContainer,
  ref: { readonly resource: string; readonly containerName?: string; readonly divisor?: string },
  facts: PodFieldFacts,
): string {
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const container = ref.containerName ? containers.find((c) => c.name === ref.containerName) : self;
  if (container === undefined) throw new ContainerConfigError(`container ${ref.containerName} not found`);
  const [list, name] = splitResource(ref.resource);
  const own = amountsOf('resources' in container ? container.resources : undefined, list).get(name);
  const fallback =
    list === 'requests'
      ? undefined
      : (ownValue(pod.spec?.resources?.limits, name) ?? ownValue(facts.nodeAllocatable, name));
  const amount = (own !== undefined && own.nanos > 0n ? own : parseQuantity(fallback ?? '0')).nanos;
  const divisor = parseQuantity(ref.divisor ?? '1').nanos;
  const by = divisor > 0n ? divisor : 1_000_000_000n; // an unset divisor is sent as "0"
  return String((amount + by - 1n) / by);
}

function splitResource(resource: string): ['requests' | 'limits', string] {
  const match = /^(requests|limits)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/.exec(resource);
  if (match === null) throw new ContainerConfigError(`unsupported container resource : ${resource}`);
  return [match[1] as 'requests' | 'limits', match[2]!];
}
