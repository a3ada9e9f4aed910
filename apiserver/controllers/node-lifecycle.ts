// Watches over Nodes: one that is not heard of becomes Unknown, is tainted, and its pods are marked not ready
// (pkg/controller/nodelifecycle).
import type { Lease, Node } from '../../api/kinds.ts';
import { formatTime, objectKey } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { nodes, pods } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { type Controller, type ControllerContext, referenceTo, waitForStores } from './context.ts';
import { readyStatus, sameTaints, silentConditions, taintsFor } from './node-health.ts';
import { Reconciler } from './reconciler.ts';

export interface NodeLifecycleOptions {
  /** A node not heard of for this long is Unknown. 50 s as upstream since 1.32. */
  readonly gracePeriodMs: number;
  /** The same for a node that never reported. 60 s. */
  readonly startupGracePeriodMs: number;
}

/** When we last saw a sign of life, by our own clock: the times that nodes write are not compared with it. */
interface Sighting {
  seenMs: number;
  everReported: boolean;
}

export class NodeLifecycleController implements Controller {
  readonly name = 'node-controller';
  readonly #ctx: ControllerContext;
  readonly #opts: NodeLifecycleOptions;
  readonly #events: EventRecorder;
  readonly #work: Reconciler;
  readonly #sightings = new Map<string, Sighting>();
  /** Nodes that are not ready and whose pods have been told so. */
  readonly #toldPods = new Set<string>();

  constructor(ctx: ControllerContext, opts: NodeLifecycleOptions) {
    this.#ctx = ctx;
    this.#opts = opts;
    this.#events = ctx.recorder('node-controller');
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.nodes, stores.leases, stores.pods], signal);
    using _nodes = stores.nodes.subscribe({
      onAdd: (node) => this.#onNewNode(node),
      onUpdate: (old, node) => this.#onNodeUpdate(old, node),
      onDelete: (node) => this.#onNodeGone(node),
    });
    using _leases = stores.leases.subscribe({
      onAdd: (lease) => this.#onLease(lease),
      onUpdate: (old, lease) => {
        if (old.spec?.renewTime !== lease.spec?.renewTime) this.#onLease(lease);
      },
    });
    await this.#work.run(signal);
  }

  #onNewNode(node: Node): void {
    const name = objectKey(node);
    this.#see(name, heartbeatOf(node) !== undefined);
    this.#nodeEvent(node, 'RegisteredNode', `Node ${name} event: Registered Node ${name} in Controller`);
    this.#work.request(name);
  }

  #onNodeUpdate(old: Node, node: Node): void {
    const name = objectKey(node);
    if (heartbeatOf(old) !== heartbeatOf(node) && readyStatus(node) !== 'Unknown') this.#see(name, true);
    if (readyStatus(old) === 'True' && readyStatus(node) !== 'True') {
      this.#nodeEvent(node, 'NodeNotReady', `Node ${name} status is now: NodeNotReady`);
    }
    this.#work.request(name);
  }

  #onNodeGone(node: Node): void {
    const name = objectKey(node);
    this.#sightings.delete(name);
    this.#toldPods.delete(name);
    this.#nodeEvent(node, 'RemovingNode', `Node ${name} event: Removing Node ${name} from Controller`);
  }

  #onLease(lease: Lease): void {
    const name = lease.metadata?.name ?? '';
    if (this.#sightings.has(name)) this.#see(name, true);
  }

  /** A sign of life moves the time at which the node will be looked at again. */
  #see(name: string, reported: boolean): void {
    const everReported = reported || (this.#sightings.get(name)?.everReported ?? false);
    this.#sightings.set(name, { seenMs: this.#ctx.clock.monotonicMs(), everReported });
    this.#work.requestAfter(name, everReported ? this.#opts.gracePeriodMs : this.#opts.startupGracePeriodMs);
  }

  async #reconcile(name: string): Promise<void> {
    let node = this.#ctx.stores.nodes.get(name);
    const sighting = this.#sightings.get(name);
    if (node === undefined || sighting === undefined) return;
    const graceMs = sighting.everReported ? this.#opts.gracePeriodMs : this.#opts.startupGracePeriodMs;
    const leftMs = sighting.seenMs + graceMs - this.#ctx.clock.monotonicMs();
    if (leftMs > 0) this.#work.requestAfter(name, leftMs);
    else node = await this.#markSilent(node);
    const current = await this.#syncTaints(node);
    if (readyStatus(current) === 'True') this.#toldPods.delete(name);
    else if (!this.#toldPods.has(name)) {
      await this.#markPodsNotReady(current);
      this.#toldPods.add(name); // once: the node's own agent may still be there, and has the last word on its pods
    }
  }

  async #markSilent(node: Node): Promise<Node> {
    const name = objectKey(node);
    const conditions = silentConditions(node, this.#ctx.clock.now());
    if (conditions.every((c) => node.status?.conditions?.includes(c))) return node; // said before
    // The node may be back this very moment: its own newer write must win.
    const body = { metadata: { resourceVersion: node.metadata?.resourceVersion }, status: { conditions } };
    return await this.#ctx.client.patch(nodes, { name }, { type: 'strategic', body }, { subresource: 'status' });
  }

  async #syncTaints(node: Node): Promise<Node> {
    const taints = taintsFor(node, this.#ctx.clock.now());
    if (sameTaints(node.spec?.taints, taints)) return node;
    const body = { metadata: { resourceVersion: node.metadata?.resourceVersion }, spec: { taints } };
    return await this.#ctx.client.patch(nodes, { name: objectKey(node) }, { type: 'strategic', body });
  }

  async #markPodsNotReady(node: Node): Promise<void> {
    for (const pod of this.#ctx.stores.pods.byIndex('node', objectKey(node))) {
      const ready = pod.status?.conditions?.find((c) => c.type === 'Ready');
      if (ready?.status === 'True') await this.#markPodNotReady(pod);
    }
  }

  async #markPodNotReady(pod: Pod): Promise<void> {
    const condition = {
      type: 'Ready',
      status: 'False',
      reason: 'NodeNotReady',
      message: 'Node is not ready',
      lastTransitionTime: formatTime(this.#ctx.clock.now()),
    };
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
    try {
      const body = { metadata: { uid }, status: { conditions: [condition] } };
      await this.#ctx.client.patch(pods, { name, namespace }, { type: 'strategic', body }, { subresource: 'status' });
      this.#events.event(referenceTo(pod, pods), 'Warning', 'NodeNotReady', 'Node is not ready');
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  #nodeEvent(node: Node, reason: string, message: string): void {
    this.#events.event(referenceTo(node, nodes), 'Normal', reason, message);
  }
}

function heartbeatOf(node: Node): string | undefined {
  return node.status?.conditions?.find((c) => c.type === 'Ready')?.lastHeartbeatTime;
}
