// Predicates on (pod, node) that the scheduler asks before it binds and the node asks again before it admits:
// tolerations, node selectors and affinity, host ports. Pure. After component-helpers scheduling/corev1.
import type { Node, Taint } from './kinds.ts';
import { type LabelRequirement, matchesLabels } from './labels.ts';
import type { Pod, PodSpec, Toleration } from './pod.ts';

/** pkg/apis/core/v1/toleration: effect, key and value must fit; an empty operator means Equal. */
export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  if (!toleration.key && toleration.operator !== 'Exists') return false;
  switch (toleration.operator || 'Equal') {
    case 'Exists':
      return true;
    case 'Equal':
      return (toleration.value ?? '') === (taint.value ?? '');
    default:
      return false; // Lt and Gt are behind a gate that is off
  }
}

/** The first taint with one of `effects` that no toleration covers. */
export function firstUntolerated(
  taints: readonly Taint[] | undefined,
  tolerations: readonly Toleration[] | undefined,
  effects: readonly string[],
): Taint | undefined {
  return taints?.find((t) => effects.includes(t.effect) && !(tolerations ?? []).some((tol) => tolerates(tol, t)));
}

interface NodeSelectorRequirement {
  key: string;
  operator: string;
  values?: string[];
}

export interface NodeSelectorTerm {
  matchExpressions?: NodeSelectorRequirement[];
  matchFields?: NodeSelectorRequirement[];
}

/** True when the node fits `nodeSelector` and one of the required node affinity terms. */
export function matchesNodeSelection(spec: PodSpec | undefined, node: Node): boolean {
  const labels = node.metadata?.labels ?? {};
  for (const [key, value] of Object.entries(spec?.nodeSelector ?? {})) if (labels[key] !== value) return false;
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required === undefined || required.nodeSelectorTerms.some((term) => matchesNodeSelectorTerm(term, node));
}

/** Expressions are about labels, fields about metadata.name. A term with neither matches nothing. */
export function matchesNodeSelectorTerm(term: NodeSelectorTerm, node: Node): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length === 0 && matchFields.length === 0) return false;
  return (
    matchesLabels(matchExpressions.map(toRequirement), node.metadata?.labels) &&
    matchesLabels(matchFields.map(toRequirement), { 'metadata.name': node.metadata?.name ?? '' })
  );
}

function toRequirement({ key, operator, values }: NodeSelectorRequirement): LabelRequirement {
  return { key, operator: operator as LabelRequirement['operator'], values: values ?? [] };
}

export interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

/** Host ports of all containers, sidecars included. With host network a container port is a host port. */
export function hostPortsOf(pod: Pod): HostPort[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always');
  return [...(pod.spec?.containers ?? []), ...sidecars].flatMap((container) =>
    (container.ports ?? [])
      .filter((p) => (p.hostPort ?? 0) > 0)
      .map((p) => ({ ip: p.hostIP || '0.0.0.0', protocol: p.protocol || 'TCP', port: p.hostPort! })),
  );
}

/** Two host ports conflict on equal port and protocol when the addresses are equal or one means all. */
export function hostPortsConflict(a: HostPort, b: HostPort): boolean {
  const wildcard = (ip: string): boolean => ip === '0.0.0.0' || ip === '::';
  return a.port === b.port && a.protocol === b.protocol && (a.ip === b.ip || wildcard(a.ip) || wildcard(b.ip));
}
