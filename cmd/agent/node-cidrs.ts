// The node's own pod ranges for detectLocalMode NodeCIDR: awaited before rules are written, and held on to.

import type { Node } from '../../api/kinds.ts';
import { podSubnetOf } from '../../cni/subnet-manager.ts';
import { aborted, linkedSignal } from '../../core/abort.ts';
import { AgentError } from '../../core/errors.ts';
import type { NodeFacts } from './proxy-rules.ts';
import type { AgentContext } from './shared.ts';

export type PodRanges = NodeFacts['podRanges'];

/** Upstream's: a node without a range after this long will hardly get one. */
const WAIT_MS = 300_000;

type Context = Pick<AgentContext, 'clock' | 'log' | 'ownNode'>;

/**
 * The ranges of Node.spec.podCIDRs, once there are any; undefined when `signal` aborts first.
 * @throws {AgentError} NODE_CIDR_MISSING after five minutes.
 */
export async function waitForNodeCidrs(ctx: Context, signal: AbortSignal): Promise<PodRanges | undefined> {
  using waiting = linkedSignal(signal);
  const found = Promise.withResolvers<PodRanges | undefined>();
  using _subscription = subscribe(ctx, (ranges) => found.resolve(ranges));
  ctx.log.info('waiting for the node to have a pod range, as detectLocalMode is NodeCIDR');
  const tooLate = ctx.clock.sleep(WAIT_MS, waiting.signal).then(() => undefined);
  const ranges = await Promise.race([found.promise, tooLate]);
  waiting.abort();
  if (ranges !== undefined || signal.aborted) return ranges;
  throw new AgentError(`the Node has no podCIDR after ${WAIT_MS / 60_000} minutes`, {
    code: 'NODE_CIDR_MISSING',
    hint: 'let the control plane assign ranges (--allocate-node-cidrs), or use another detectLocalMode',
  });
}

/**
 * Runs until `signal` aborts. A Node without a range, being made again say, is waited for.
 * @throws {AgentError} NODE_CIDR_CHANGED when it has others than `ranges`: rules hold these everywhere, so that the process
 * must start anew, as kube-proxy does.
 */
export async function watchNodeCidrs(ctx: Context, ranges: PodRanges, signal: AbortSignal): Promise<void> {
  const changed = Promise.withResolvers<PodRanges>();
  using _subscription = subscribe(ctx, (now) => {
    if (now[4] !== ranges[4] || now[6] !== ranges[6]) changed.resolve(now);
  });
  const now = await Promise.race([changed.promise, aborted(signal)]);
  if (now === undefined) return;
  throw new AgentError(`the node's pod ranges changed from ${inWords(ranges)} to ${inWords(now)}`, {
    code: 'NODE_CIDR_CHANGED',
    hint: 'nothing is to be done: started again, the proxy writes its rules for the new ones',
  });
}

/** Calls back with every set of ranges that the node has, the present one among them. */
function subscribe({ ownNode }: Context, onRanges: (ranges: PodRanges) => void): Disposable {
  const look = (node: Node) => {
    const ranges = { 4: podSubnetOf(node, 4) ?? '', 6: podSubnetOf(node, 6) ?? '' };
    if (ranges[4] !== '' || ranges[6] !== '') onRanges(ranges);
  };
  return ownNode.store.subscribe({ onAdd: look, onUpdate: (_old, node) => look(node) });
}

function inWords(ranges: PodRanges): string {
  return [ranges[4], ranges[6]].filter((range) => range !== '').join(' and ');
}
