// Subnets that the control plane assigns: Node.spec.podCIDR(s), with flannel's annotations as what nodes tell each other.
import type { Node } from '../api/kinds.ts';
import { nodes as nodeResource } from '../api/resources.ts';
import type { ApiClient, Patch } from '../client/api-client.ts';
import type { ReadonlyStore } from '../client/store.ts';
import { aborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import type { SubnetLease } from './backend.ts';
import {
  type AnnotationNames,
  annotationPrefix,
  hasNetworkUp,
  leasePatch,
  networkUpPatch,
  podSubnetOf,
  publishedMac,
  readLease,
} from './subnet-manager.ts';
import type { Announcement, OwnSubnets, SubnetSource } from './subnet-source.ts';

export interface KubeSubnetOptions {
  readonly nodeName: string;
  /** The whole pod network, by family. */
  readonly networks: OwnSubnets;
  readonly annotations: AnnotationNames;
  /** Set the Node's condition NetworkUnavailable to False when the network works. */
  readonly setCondition: boolean;
}

export interface KubeSubnetDeps {
  readonly client: ApiClient;
  /** All nodes. */
  readonly nodes: ReadonlyStore<Node>;
  readonly clock: Clock;
}

export class KubeSubnets implements SubnetSource {
  readonly #opts: KubeSubnetOptions;
  readonly #deps: KubeSubnetDeps;
  /** What was read of each node: of thousands few change between two syncs. */
  readonly #leases = {
    4: new WeakMap<Node, { readonly lease: SubnetLease | undefined }>(),
    6: new WeakMap<Node, { readonly lease: SubnetLease | undefined }>(),
  };

  constructor(opts: KubeSubnetOptions, deps: KubeSubnetDeps) {
    this.#opts = opts;
    this.#deps = deps;
  }

  async run(changed: () => void, signal: AbortSignal): Promise<void> {
    await this.#deps.nodes.waitForSync(signal); // half a list of peers would take routes away
    using _nodes = this.#deps.nodes.subscribe({
      onAdd: changed,
      onUpdate: (old, node) => {
        if (this.#leaseText(old) !== this.#leaseText(node)) changed(); // heartbeats change nothing here
      },
      onDelete: changed,
    });
    changed();
    await aborted(signal);
  }

  async publishedMac(version: 4 | 6, vni: number): Promise<string | undefined> {
    const node = this.#own();
    return node === undefined ? undefined : publishedMac(node, vni, version, this.#opts.annotations);
  }

  /** @throws {AgentError} POD_CIDR when a family of the pod network has no range on this node. */
  async acquire(): Promise<OwnSubnets | undefined> {
    const node = this.#deps.nodes.hasSynced ? this.#own() : undefined;
    if (node === undefined) return undefined;
    const { networks, nodeName } = this.#opts;
    const [v4, v6] = [podSubnetOf(node, 4), podSubnetOf(node, 6)];
    if (v4 === undefined && v6 === undefined) return undefined; // the node's update will tell
    const own = {
      ...(networks.v4 === undefined || v4 === undefined ? {} : { v4 }),
      ...(networks.v6 === undefined || v6 === undefined ? {} : { v6 }),
    };
    for (const family of ['v4', 'v6'] as const) {
      if (networks[family] === undefined || own[family] !== undefined) continue;
      throw new AgentError(
        `node ${nodeName} has no podCIDR of IP${family}, but the pod network has the range ${networks[family]}`,
        {
          code: 'POD_CIDR',
          retryable: true,
          hint: 'give the control plane both families (--cluster-cidr, --node-cidr-mask-size-ipv6), or this node one',
        },
      );
    }
    return own;
  }

  async publish(announcement: Announcement, signal: AbortSignal): Promise<void> {
    const node = this.#own();
    // One that was registered anew has no range yet: flanneld looks at annotations as they come, and at a range that comes
    // after them never.
    if (node === undefined || (podSubnetOf(node, 4) === undefined && podSubnetOf(node, 6) === undefined)) return;
    const patch = leasePatch(node, announcement, this.#opts.annotations);
    if (patch !== undefined) await this.#patchStatus(patch, signal);
  }

  peers(version: 4 | 6): readonly SubnetLease[] {
    const network = version === 4 ? this.#opts.networks.v4 : this.#opts.networks.v6;
    if (network === undefined) return [];
    const others = this.#deps.nodes.list().filter((node) => node.metadata?.name !== this.#opts.nodeName);
    return others.map((node) => this.#leaseOf(node, version, network)).filter((l) => l !== undefined);
  }

  #leaseOf(node: Node, version: 4 | 6, network: string): SubnetLease | undefined {
    const known = this.#leases[version].get(node);
    if (known !== undefined) return known.lease;
    const lease = readLease(node, network, this.#opts.annotations);
    this.#leases[version].set(node, { lease });
    return lease;
  }

  async markUp(signal: AbortSignal): Promise<void> {
    const node = this.#own();
    if (!this.#opts.setCondition || node === undefined || hasNetworkUp(node)) return;
    await this.#patchStatus(networkUpPatch(this.#deps.clock.now()), signal);
  }

  #own(): Node | undefined {
    return this.#deps.nodes.get(this.#opts.nodeName);
  }

  async #patchStatus(patch: Patch, signal: AbortSignal): Promise<void> {
    const name = { name: this.#opts.nodeName };
    await this.#deps.client.patch(nodeResource, name, patch, { subresource: 'status', signal, timeoutMs: 10_000 });
  }

  /** All of a node that this room depends on. */
  #leaseText(node: Node): string {
    const prefix = annotationPrefix(this.#opts.annotations);
    const flannel = Object.entries(node.metadata?.annotations ?? {}).filter(([key]) => key.startsWith(prefix));
    return JSON.stringify([podSubnetOf(node, 4), podSubnetOf(node, 6), flannel.sort(), hasNetworkUp(node)]);
  }
}
