// Many managers' hints become one: of every combination of one hint from each, the nodes that all of them name; of those
// the best. Pure. After pkg/kubelet/cm/topologymanager policy.go, policy_*.go and numa_info.go.
import type { NumaMask, ResourceHints, TopologyHint } from './hint-provider.ts';
import { countNodes, isNarrower, maskOf, nodesIn } from './numa-mask.ts';

export type TopologyPolicy = 'best-effort' | 'restricted' | 'single-numa-node';

export interface MergeOptions {
  readonly policy: TopologyPolicy;
  /** Of the machine, with their distances to each other in the order of the ids. */
  readonly nodes: readonly { readonly id: number; readonly distances: readonly number[] }[];
  /** Of equally many nodes those that are close to each other rather than the first ones. */
  readonly preferClosest: boolean;
}

interface Merged {
  readonly nodes: NumaMask;
  readonly preferred: boolean;
}

/** `admitted`: the policy lets the pod in with it. */
export function mergeHints(
  managers: readonly ResourceHints[],
  opts: MergeOptions,
): { readonly hint: TopologyHint; readonly admitted: boolean } {
  const lists = managers.flatMap(listsOf);
  const all = maskOf(opts.nodes.map(({ id }) => id));
  if (opts.policy !== 'single-numa-node') {
    const hint = best(lists, all, opts);
    return { hint, admitted: opts.policy === 'best-effort' || hint.preferred };
  }
  const single = lists.map((hints) =>
    hints.filter(({ nodes, preferred }) => preferred && (nodes === undefined || countNodes(nodes) === 1)),
  );
  const hint = best(single, all, opts);
  // All nodes: nobody minds where.
  return { hint: hint.nodes === all ? { ...hint, nodes: undefined } : hint, admitted: hint.preferred };
}

/** One list for each resource that is asked for. */
function listsOf(hints: ResourceHints): (readonly TopologyHint[])[] {
  if (hints.size === 0) return [[{ nodes: undefined, preferred: true }]];
  return [...hints.values()].map((list) => {
    if (list === 'any') return [{ nodes: undefined, preferred: true }];
    return list.length === 0 ? [{ nodes: undefined, preferred: false }] : list;
  });
}

function best(lists: readonly (readonly TopologyHint[])[], all: NumaMask, opts: MergeOptions): Merged {
  const widest = Math.max(0, ...lists.map(narrowestCount));
  let found: Merged | undefined;
  for (const combination of product(lists)) {
    const candidate = merged(combination, all);
    if (candidate.nodes === 0n) continue;
    found = found === undefined ? candidate : better(found, candidate, widest, opts);
  }
  return found ?? { nodes: all, preferred: false };
}

function* product(lists: readonly (readonly TopologyHint[])[], from = 0): Generator<readonly TopologyHint[]> {
  if (from === lists.length) {
    yield [];
    return;
  }
  for (const hint of lists[from]!) for (const rest of product(lists, from + 1)) yield [hint, ...rest];
}

/** Preferred only when every one is, and all of them name the same nodes. */
function merged(hints: readonly TopologyHint[], all: NumaMask): Merged {
  const masks = hints.flatMap(({ nodes }) => (nodes === undefined ? [] : [nodes]));
  return {
    nodes: masks.reduce((both, mask) => both & mask, all),
    preferred: hints.every((hint) => hint.preferred) && masks.every((mask) => mask === masks[0]),
  };
}

/** How many nodes the most modest hint of a resource names; 0 where none names any. */
function narrowestCount(hints: readonly TopologyHint[]): number {
  const counts = hints.flatMap(({ nodes }) => (nodes === undefined ? [] : [countNodes(nodes)]));
  return counts.length === 0 ? 0 : Math.min(...counts);
}

/**
 * Preferred before others, then as few nodes as possible. What nobody prefers had better have the nodes of whoever needs
 * the most of them (`widest`): fewer would serve that one badly, more nobody asked for.
 */
function better(current: Merged, candidate: Merged, widest: number, opts: MergeOptions): Merged {
  if (current.preferred !== candidate.preferred) return current.preferred ? current : candidate;
  const fitter = () => (isFitter(candidate.nodes, current.nodes, opts) ? candidate : current);
  if (current.preferred) return fitter();
  const [now, then] = [countNodes(current.nodes), countNodes(candidate.nodes)];
  if (now > widest || now === then) return fitter();
  if (now === widest || then > widest) return current;
  return then > now ? candidate : current;
}

function isFitter(a: NumaMask, b: NumaMask, opts: MergeOptions): boolean {
  const byDistance = opts.preferClosest && opts.policy !== 'single-numa-node' && countNodes(a) === countNodes(b);
  if (!byDistance) return isNarrower(a, b);
  const [left, right] = [averageDistance(a, opts), averageDistance(b, opts)];
  return left === right ? a < b : left < right;
}

function averageDistance(mask: NumaMask, { nodes }: MergeOptions): number {
  const ids = nodesIn(mask);
  const place = new Map(nodes.map(({ id }, i) => [id, i]));
  const distance = (from: number, to: number) => nodes[place.get(from)!]?.distances[place.get(to)!] ?? 0;
  const sum = ids.reduce((total, from) => total + ids.reduce((part, to) => part + distance(from, to), 0), 0);
  return sum / (ids.length * ids.length);
}
