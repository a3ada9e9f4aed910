// A block of the cluster's pod network for every Node (pkg/controller/nodeipam, RangeAllocator).
import { formatCidr, nthSubnet, parseCidr, subnetCount } from '../../api/cidr.ts';
import type { Node } from '../../api/kinds.ts';
import { objectKey } from '../../api/meta.ts';
import { nodes } from '../../api/resources.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { AgentError } from '../../core/errors.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from './context.ts';
import { Reconciler } from './reconciler.ts';

export interface NodeIpamOptions {
  readonly clusterCidr: string;
  /** Prefix length of a node's block; 24 as upstream for IPv4. */
  readonly nodeMaskSize: number;
}

export class NodeIpamController implements Controller {
  readonly name = 'node-ipam-controller';
  readonly #ctx: ControllerContext;
  readonly #opts: NodeIpamOptions;
  readonly #events: EventRecorder;
  readonly #work: Reconciler;
  /** Blocks in use or handed out by us and not yet seen in the cache: block → node name. */
  readonly #taken = new Map<string, string>();

  constructor(ctx: ControllerContext, opts: NodeIpamOptions) {
    this.#ctx = ctx;
    this.#opts = opts;
    this.#events = ctx.recorder('cidrAllocator');
    // One node at a time: two must never look at the same free block.
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name, concurrency: 1 }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.nodes as never], signal);
    for (const node of stores.nodes.list()) this.#occupy(node);
    using _nodes = stores.nodes.subscribe({
      onAdd: (node) => this.#onNode(node),
      onUpdate: (_old, node) => this.#onNode(node),
      onDelete: (node) => this.#release(node),
    });
    await this.#work.run(signal);
  }

  #onNode(node: Node): void {
    this.#occupy(node);
    if (!node.spec?.podCIDR) this.#work.request(objectKey(node));
  }

  #occupy(node: Node): void {
    for (const cidr of node.spec?.podCIDRs ?? (node.spec?.podCIDR ? [node.spec.podCIDR] : [])) {
      this.#taken.set(cidr, node.metadata?.name ?? '');
    }
  }

  #release(node: Node): void {
    for (const [cidr, owner] of this.#taken) if (owner === node.metadata?.name) this.#taken.delete(cidr);
  }

  async #reconcile(name: string): Promise<void> {
    const node = this.#ctx.stores.nodes.get(name);
    if (node === undefined || node.spec?.podCIDR || node.metadata?.deletionTimestamp !== undefined) return;
    const mine = [...this.#taken].find(([, owner]) => owner === name)?.[0];
    const block = mine ?? this.#lowestFree();
    if (block === undefined) {
      const message = `Node ${name} status is now: CIDRNotAvailable`;
      this.#events.event(referenceTo(node, nodes), 'Normal', 'CIDRNotAvailable', message);
      throw new AgentError(`no free pod network block for node ${name} in ${this.#opts.clusterCidr}`, {
        code: 'CIDR_EXHAUSTED',
        retryable: true,
      });
    }
    this.#taken.set(block, name); // before the write: if its answer is lost, the next try asks for the same block
    const body = { spec: { podCIDR: block, podCIDRs: [block] } };
    await this.#ctx.client.patch(nodes, { name }, { type: 'strategic', body });
  }

  #lowestFree(): string | undefined {
    const cluster = parseCidr(this.#opts.clusterCidr);
    const count = subnetCount(cluster, this.#opts.nodeMaskSize);
    for (let i = 0n; i < count; i++) {
      const block = formatCidr(nthSubnet(cluster, this.#opts.nodeMaskSize, i));
      if (!this.#taken.has(block)) return block;
    }
    return undefined;
  }
}
