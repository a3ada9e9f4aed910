// A node as the scheduler counts it: what it offers, what its pods take, bound and assumed (pkg/scheduler/framework).
import type { Node } from '../../api/kinds.ts';
import { objectKey } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { amountsOf, podRequests } from '../../api/pod-resources.ts';
import { parseQuantity, type Quantity } from '../../api/quantity.ts';
import { type HostPort, hostPortsOf } from '../../api/scheduling.ts';
import type { AffinityTerm } from './cluster-view.ts';
import { amountsVersion, withCountedRequests } from './pod-in-resize.ts';

/** Amounts in nano-units: exact for every resource. */
export type Amounts = ReadonlyMap<string, bigint>;

/** Requests that count for scoring when a container names none (100m CPU, 200 MiB). */
const DEFAULT_CPU = 100_000_000n;
const DEFAULT_MEMORY = 200n * 1024n * 1024n * 1_000_000_000n;

/** What the scheduler needs of a pod again and again, worked out once. */
export interface PodFacts {
  readonly key: string;
  readonly uid: string;
  readonly pod: Pod;
  /** As long as it is the same, so are the amounts. */
  readonly version: string;
  readonly requests: Amounts;
  /** With defaults for what is not said, for scoring only. */
  readonly scoredCpu: bigint;
  readonly scoredMemory: bigint;
  readonly ports: readonly HostPort[];
  /** Required anti-affinity: what this pod keeps away from itself. */
  readonly antiAffinity: readonly AffinityTerm[];
}

export function podFacts(pod: Pod): PodFacts {
  const requests = new Map([...podRequests(withCountedRequests(pod))].map(([name, q]) => [name, q.nanos]));
  return {
    version: amountsVersion(pod),
    key: objectKey(pod),
    uid: pod.metadata?.uid ?? '',
    pod,
    requests,
    scoredCpu: (requests.get('cpu') ?? 0n) + silentContainers(pod, 'cpu') * DEFAULT_CPU,
    scoredMemory: (requests.get('memory') ?? 0n) + silentContainers(pod, 'memory') * DEFAULT_MEMORY,
    ports: hostPortsOf(pod),
    antiAffinity: pod.spec?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [],
  };
}

/** Containers that say nothing of `resource`, in a pod that does not say it as a whole. */
function silentContainers(pod: Pod, resource: string): bigint {
  if (amountsOf(pod.spec?.resources, 'requests').has(resource)) return 0n;
  const silent = (pod.spec?.containers ?? []).filter((c) => !amountsOf(c.resources, 'requests').has(resource));
  return BigInt(silent.length);
}

export class NodeInfo {
  readonly name: string;
  node: Node | undefined;
  allocatable: Amounts = new Map();
  readonly pods = new Map<string, PodFacts>();
  /** Those of them with required anti-affinity. */
  readonly refusing = new Map<string, PodFacts>();
  readonly #requested = new Map<string, bigint>();
  scoredCpu = 0n;
  scoredMemory = 0n;

  constructor(name: string) {
    this.name = name;
  }

  setNode(node: Node | undefined): void {
    this.node = node;
    const offered = node?.status?.allocatable ?? node?.status?.capacity ?? {};
    this.allocatable = new Map(Object.entries(offered).map(([name, text]) => [name, nanosOf(text as string)]));
  }

  requested(resource: string): bigint {
    return this.#requested.get(resource) ?? 0n;
  }

  add(facts: PodFacts): void {
    this.remove(facts.uid);
    this.pods.set(facts.uid, facts);
    if (facts.antiAffinity.length > 0) this.refusing.set(facts.uid, facts);
    this.#count(facts, 1n);
  }

  remove(uid: string): void {
    const facts = this.pods.get(uid);
    if (facts === undefined) return;
    this.pods.delete(uid);
    this.refusing.delete(uid);
    this.#count(facts, -1n);
  }

  #count(facts: PodFacts, sign: bigint): void {
    for (const [name, amount] of facts.requests) this.#requested.set(name, this.requested(name) + sign * amount);
    this.scoredCpu += sign * facts.scoredCpu;
    this.scoredMemory += sign * facts.scoredMemory;
  }
}

/** A quantity that does not parse was refused by the API server; a foreign store must not stop the scheduler. */
function nanosOf(text: string): bigint {
  try {
    const quantity: Quantity = parseQuantity(text);
    return quantity.nanos;
  } catch {
    return 0n;
  }
}
