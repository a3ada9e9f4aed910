// What a pod's rules ask of all nodes together, counted at most once per pod and only when a rule asks: pods per
// topology domain, for spreading and for affinity between pods.
import { matchesLabels, type Selector, selectorOf } from '../../api/labels.ts';
import type { LabelSelector } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import type { NodeInfo } from './node-info.ts';

export interface AffinityTerm {
  readonly topologyKey: string;
  readonly labelSelector?: LabelSelector;
  readonly namespaces?: readonly string[];
  readonly namespaceSelector?: LabelSelector;
}

/** Labels of a namespace; undefined when it is not known. */
export type NamespaceLabels = (name: string) => Readonly<Record<string, string>> | undefined;

/** Pods per value of a node label. */
export type DomainCounts = ReadonlyMap<string, number>;

export class ClusterView {
  readonly nodes: readonly NodeInfo[];
  readonly #namespaceLabels: NamespaceLabels;
  readonly #counts = new Map<object, DomainCounts>();
  #forbidden: ((node: NodeInfo) => boolean) | undefined;

  constructor(nodes: readonly NodeInfo[], namespaceLabels: NamespaceLabels) {
    this.nodes = nodes;
    this.#namespaceLabels = namespaceLabels;
  }

  /** `count` once per `rule` (an object of the pod's own spec), however many nodes ask. */
  once(rule: object, count: () => DomainCounts): DomainCounts {
    let counts = this.#counts.get(rule);
    if (counts === undefined) {
      counts = count();
      this.#counts.set(rule, counts);
    }
    return counts;
  }

  /** Pods that `term` of `owner` is about, per domain of its topology key; '' holds those on nodes without the key. */
  matchesPerDomain(term: AffinityTerm, owner: Pod): DomainCounts {
    return this.once(term, () => this.#countPerDomain(term, (pod) => this.termMatches(term, owner, pod)));
  }

  /**
   * Pods that all of `terms` of `owner` are about, per domain of the topology key of `term`, which is one of them: only such
   * a pod is one that `owner` may join.
   */
  companionsPerDomain(term: AffinityTerm, terms: readonly AffinityTerm[], owner: Pod): DomainCounts {
    if (terms.length === 1) return this.matchesPerDomain(term, owner);
    return this.once(term, () =>
      this.#countPerDomain(term, (pod) => terms.every((t) => this.termMatches(t, owner, pod))),
    );
  }

  #countPerDomain(term: AffinityTerm, counts: (pod: Pod) => boolean): DomainCounts {
    const perDomain = new Map<string, number>();
    for (const info of this.nodes) {
      const domain = labelOf(info, term.topologyKey) ?? '';
      let matches = 0;
      for (const { pod } of info.pods.values()) if (counts(pod)) matches++;
      if (matches > 0) perDomain.set(domain, (perDomain.get(domain) ?? 0) + matches);
    }
    return perDomain;
  }

  /** True when a pod that runs already refuses `pod` in a domain of this node. */
  isRefusedByOthers(pod: Pod, node: NodeInfo): boolean {
    this.#forbidden ??= this.#refusalsOf(pod);
    return this.#forbidden(node);
  }

  #refusalsOf(pod: Pod): (node: NodeInfo) => boolean {
    const domains = new Map<string, Set<string>>();
    for (const info of this.nodes) {
      for (const { pod: other, antiAffinity } of info.refusing.values()) {
        for (const term of antiAffinity) {
          const domain = labelOf(info, term.topologyKey);
          if (domain === undefined || !this.termMatches(term, other, pod)) continue;
          const values = domains.get(term.topologyKey) ?? new Set();
          domains.set(term.topologyKey, values.add(domain));
        }
      }
    }
    return (node) => [...domains].some(([key, values]) => values.has(labelOf(node, key) ?? ''));
  }

  /** `owner` is the pod whose term it is: its own namespace counts when the term names none. */
  termMatches(term: AffinityTerm, owner: Pod, other: Pod): boolean {
    const namespace = other.metadata?.namespace ?? '';
    const isNamed = term.namespaces?.includes(namespace) ?? false;
    const isOwn =
      !term.namespaces?.length && term.namespaceSelector === undefined && namespace === owner.metadata?.namespace;
    if (!isNamed && !isOwn && !this.#selectsNamespace(term.namespaceSelector, namespace)) return false;
    return matchesLabels(selectorOf(term.labelSelector), other.metadata?.labels);
  }

  #selectsNamespace(selector: LabelSelector | undefined, namespace: string): boolean {
    return selector !== undefined && matchesLabels(selectorOf(selector), this.#namespaceLabels(namespace) ?? {});
  }
}

export function labelOf(info: NodeInfo, key: string): string | undefined {
  return info.node?.metadata?.labels?.[key];
}

/** Pods of `namespace` on this node that `selector` selects and that are to stay. */
export function matchingPods(info: NodeInfo, namespace: string | undefined, selector: Selector): number {
  let count = 0;
  for (const { pod } of info.pods.values()) {
    if (pod.metadata?.namespace !== namespace || pod.metadata?.deletionTimestamp !== undefined) continue;
    if (matchesLabels(selector, pod.metadata?.labels)) count++;
  }
  return count;
}
