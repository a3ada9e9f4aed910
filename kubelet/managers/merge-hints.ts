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
  for (const { nodes, preferred } of combined(lists, all)) {
    const candidate = { nodes, preferred };
    found = found === undefined ? candidate : better(found, candidate, widest, opts);
  }
  return found ?? { nodes: all, preferred: false };
}

interface Combined extends Merged {
  /** What every hint named so far; undefined when none did, or when it does not matter any more. */
  readonly common: NumaMask | undefined;
}

/**
 * What comes of one hint of each list, of every choice of them; choices that come to the same are followed once: there
 * are few such results, and many millions of choices on a machine with eight nodes.
 */
function combined(lists: readonly (readonly TopologyHint[])[], all: NumaMask): Iterable<Combined> {
  let results = new Map<string, Combined>([['', { nodes: all, preferred: true, common: undefined }]]);
  for (const hints of lists) {
    const next = new Map<string, Combined>();
    for (const result of results.values()) {
      for (const hint of hints) {
        const together = combine(result, hint);
        if (together.nodes !== 0n) next.set(`${together.nodes} ${together.preferred} ${together.common}`, together);
      }
    }
    results = next;
  }
  return results.values();
}

/** Preferred only as long as every hint is, and all of them name the same nodes. */
function combine(before: Combined, { nodes, preferred }: TopologyHint): Combined {
  const isPreferred =
    before.preferred && preferred && (nodes === undefined || before.common === undefined || nodes === before.common);
  return {
    nodes: nodes === undefined ? before.nodes : before.nodes & nodes,
    preferred: isPreferred,
    common: isPreferred ? (before.common ?? nodes) : undefined,
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
