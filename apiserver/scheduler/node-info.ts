// A node as the scheduler counts it: what it offers, what its pods take, bound and assumed (pkg/scheduler/framework).
import type { Node } from '../../api/kinds.ts';
import { objectKey } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { podAmounts } from '../../api/pod-resources.ts';
import { parseQuantity, type Quantity } from '../../api/quantity.ts';
import { type HostPort, hostPortsOf } from '../../api/scheduling.ts';

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
  readonly requests: Amounts;
  /** With defaults for what is not said, for scoring only. */
  readonly scoredCpu: bigint;
  readonly scoredMemory: bigint;
  readonly ports: readonly HostPort[];
}

export function podFacts(pod: Pod): PodFacts {
  const requests = new Map([...podAmounts(pod, 'requests')].map(([name, q]) => [name, q.nanos]));
  for (const [name, text] of Object.entries(pod.spec?.overhead ?? {})) {
    requests.set(name, (requests.get(name) ?? 0n) + parseQuantity(text as string).nanos);
  }
  return {
    key: objectKey(pod),
    uid: pod.metadata?.uid ?? '',
    pod,
    requests,
    scoredCpu: requests.get('cpu') || DEFAULT_CPU,
    scoredMemory: requests.get('memory') || DEFAULT_MEMORY,
    ports: hostPortsOf(pod),
  };
}

export class NodeInfo {
  readonly name: string;
  node: Node | undefined;
  allocatable: Amounts = new Map();
  readonly pods = new Map<string, PodFacts>();
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
    this.#count(facts, 1n);
  }

  remove(uid: string): void {
    const facts = this.pods.get(uid);
    if (facts === undefined) return;
    this.pods.delete(uid);
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
