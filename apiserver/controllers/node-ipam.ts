// A block of the cluster's pod network for every Node (pkg/controller/nodeipam, RangeAllocator).
import { type Cidr, cidrsOverlap, formatCidr, nthSubnet, parseCidr, subnetCount } from '../../api/cidr.ts';
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
  /** Blocks that overlap the Service range are not handed out. */
  readonly serviceCidr?: string;
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
    await waitForStores([stores.nodes], signal);
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
    const cidrs = node.spec?.podCIDRs ?? (node.spec?.podCIDR ? [node.spec.podCIDR] : []);
    if (cidrs.length > 0) this.#free(node); // somebody else may have given it another block than we wanted to
    for (const cidr of cidrs) this.#taken.set(cidr, objectKey(node));
  }

  #release(node: Node): void {
    this.#free(node);
    for (const other of this.#ctx.stores.nodes.list()) if (!other.spec?.podCIDR) this.#work.request(objectKey(other));
  }

  #free(node: Node): void {
    for (const [cidr, owner] of this.#taken) if (owner === objectKey(node)) this.#taken.delete(cidr);
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
    // uid: a node made again under this name meanwhile gets its own turn, for its block may be another's by then.
    const body = { metadata: { uid: node.metadata?.uid }, spec: { podCIDR: block, podCIDRs: [block] } };
    await this.#ctx.client.patch(nodes, { name }, { type: 'strategic', body });
  }

  /** The Service range, and blocks of nodes that were given out with another mask size. */
  #rangesOfOtherSizes(): Cidr[] {
    const { serviceCidr, nodeMaskSize } = this.#opts;
    const blocks = [...this.#taken.keys()].map(parseCidr).filter((c) => c.prefixLength !== nodeMaskSize);
    return serviceCidr === undefined ? blocks : [parseCidr(serviceCidr), ...blocks];
  }

  #lowestFree(): string | undefined {
    const cluster = parseCidr(this.#opts.clusterCidr);
    const count = subnetCount(cluster, this.#opts.nodeMaskSize);
    const inUse = this.#rangesOfOtherSizes();
    for (let i = 0n; i < count; i++) {
      const block = nthSubnet(cluster, this.#opts.nodeMaskSize, i);
      const text = formatCidr(block);
      if (!this.#taken.has(text) && !inUse.some((range) => cidrsOverlap(range, block))) return text;
    }
    return undefined;
  }
}
