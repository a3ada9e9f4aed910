// Keeps Node.status true on the API server: registers once, computes every 10 s and on request, sends when something
// changed or the last report is old. After pkg/kubelet/kubelet_node_status.go.
import type { Node, ObjectReference } from '../../api/kinds.ts';
import { compareVersions } from '../../api/meta.ts';
import { nodes } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isNotFound } from '../../client/errors.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { ReadonlyStore } from '../../client/store.ts';
import { linkedSignal } from '../../core/abort.ts';
import { Backoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { SyncRunner } from '../../core/sync-runner.ts';
import type { StartupObserver } from '../metrics/node-startup.ts';
import { computeNodeStatus, isStatusChanged, type NodeFacts } from './node-status.ts';
import { initialNode, type NodeIdentity, nodePatch, registerOnce, withKeptMetadata } from './registration.ts';

export interface StatusLoopOptions {
  readonly identity: NodeIdentity;
  readonly registerNode: boolean;
  /** nodeStatusUpdateFrequency, ms; default 10,000. Also the deadline of one call. */
  readonly updateMs: number;
  /** nodeStatusReportFrequency, ms; default 300,000. */
  readonly reportMs: number;
}

export interface StatusLoopDeps {
  readonly client: ApiClient;
  /** The informer on the own Node (`metadata.name=<name>`); read on the first try of a round. */
  readonly ownNode: ReadonlyStore<Node>;
  readonly events: EventRecorder;
  readonly startup?: StartupObserver;
  readonly clock: Clock;
  readonly log: Logger;
  /** Gathers what is known now. */
  readonly facts: () => Promise<NodeFacts>;
  /** Resolves once the runtime has been asked how it is. */
  readonly looked?: Promise<void>;
  readonly random?: () => number;
}

const TRIES_PER_ROUND = 5;
const REGISTER_FIRST_WAIT_MS = 100;
const REGISTER_MAX_WAIT_MS = 7000;
/** A runtime that answers takes some ms; for one that does not the node is soon told not to be ready, ms. */
const FIRST_LOOK_MS = 2_000;

export class NodeStatusLoop {
  readonly #opts: StatusLoopOptions;
  readonly #deps: StatusLoopDeps;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #runner: SyncRunner;
  readonly #about: ObjectReference;
  readonly #registered = Promise.withResolvers<void>();
  #isRegistered = false;
  #signal = AbortSignal.abort();
  #lastReportMs: number | undefined;
  #reportDelayMs = 0;
  /** The Node as our own last write left it: newer than what the informer may still hold. */
  #lastWritten: Node | undefined;
  #lastWrittenMs = 0;
  #rebootReported = false;
  #unschedulable: boolean | undefined;

  constructor(opts: StatusLoopOptions, deps: StatusLoopDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'node-status' });
    this.#random = deps.random ?? Math.random;
    this.#about = { kind: 'Node', name: opts.identity.nodeName, uid: opts.identity.nodeName };
    const jitter = 1 + 0.04 * this.#random();
    this.#runner = new SyncRunner(
      () => this.#sync(),
      {
        name: 'node-status',
        minIntervalMs: 50,
        retryIntervalMs: opts.updateMs * jitter,
        maxIntervalMs: opts.updateMs * jitter,
      },
      deps,
    );
  }

  /** Computes and, when something changed, sends now: call it when readiness or pressure may have changed. */
  request(): void {
    this.#runner.request();
  }

  /** Resolves once the Node exists. */
  get registered(): Promise<void> {
    return this.#registered.promise;
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.#deps.events.event(this.#about, 'Normal', 'Starting', 'Starting kubelet.');
    await this.#runner.run(signal);
  }

  async #sync(): Promise<void> {
    if (this.#opts.registerNode && !this.#isRegistered) await this.#register();
    if (this.#signal.aborted) return;
    this.#isRegistered = true;
    this.#registered.resolve();
    for (let attempt = 0; attempt < TRIES_PER_ROUND && !this.#signal.aborted; attempt++) {
      try {
        await this.#trySync(attempt);
        return;
      } catch (err) {
        if (isNotFound(err)) throw nodeGone(this.#opts.identity.nodeName, err);
        // A dead connection would hold up every further try.
        if (attempt > 0) this.#deps.client.closeIdleConnections();
        this.#log.warn({ err, attempt }, 'node status not updated, will retry');
      }
    }
    if (!this.#signal.aborted) {
      throw new AgentError('update node status exceeds retry count', { code: 'NODE_STATUS_FAILED', retryable: true });
    }
  }

  async #register(): Promise<void> {
    const backoff = new Backoff({ initialMs: REGISTER_FIRST_WAIT_MS * 2, maxMs: REGISTER_MAX_WAIT_MS });
    for (let attempt = 0; !this.#signal.aborted; attempt++) {
      try {
        const { status, eventReasons } = computeNodeStatus({}, await this.#deps.facts(), this.#deps.clock.now());
        const initial: Node = { ...initialNode(this.#opts.identity), status };
        this.#deps.startup?.registering();
        const written = await registerOnce(this.#deps.client, initial, this.#signal, {
          timeoutMs: this.#opts.updateMs,
          onCreated: () => this.#deps.startup?.registered(),
          isFresh: this.#opts.identity.isFresh ?? false,
        });
        this.#keepWritten(written);
        this.#noticeReady(status);
        this.#log.info({ node: this.#opts.identity.nodeName }, 'node registered');
        for (const reason of eventReasons) this.#statusEvent(reason);
        return;
      } catch (err) {
        if (this.#signal.aborted) return;
        if (attempt > 0) this.#deps.client.closeIdleConnections();
        this.#log.warn({ err, attempt }, 'node not registered, will retry');
        await this.#deps.clock.sleep(attempt === 0 ? REGISTER_FIRST_WAIT_MS : backoff.next(), this.#signal);
      }
    }
  }

  async #trySync(attempt: number): Promise<void> {
    const { client, clock } = this.#deps;
    const { nodeName } = this.#opts.identity;
    const call = { signal: this.#signal, timeoutMs: this.#opts.updateMs };
    const cached = attempt === 0 ? this.#newestKnown() : undefined;
    const node = cached ?? (await client.get(nodes, { name: nodeName }, call));
    if (isReady(node.status)) await this.#firstLook();
    const facts = await this.#deps.facts();
    const computed = computeNodeStatus(node.status ?? {}, facts, clock.now());
    const changed = withKeptMetadata({ ...node, status: computed.status }, this.#opts.identity);
    this.#noticeSchedulability(node);
    const isChanged = isStatusChanged(node.status ?? {}, computed.status) || changed.metadata !== node.metadata;
    if (!isChanged && !this.#isReportDue()) return;
    this.#noticeReboot(node, facts);
    const patch = nodePatch(node, changed);
    if (patch !== undefined) {
      const opts = { ...call, subresource: 'status' };
      this.#keepWritten(await client.patch(nodes, { name: nodeName }, { type: 'strategic', body: patch }, opts));
    }
    // The spread keeps a cluster that came up at once from reporting in step for ever.
    const spread = isChanged || this.#lastReportMs === undefined;
    this.#reportDelayMs = spread ? (this.#random() - 0.5) * this.#opts.reportMs : 0;
    this.#lastReportMs = clock.monotonicMs();
    this.#noticeReady(computed.status);
    for (const reason of computed.eventReasons) this.#statusEvent(reason);
  }

  /**
   * What an earlier agent told is not taken back for want of a look: a node that is not ready for a moment makes all of its
   * pods unready, and its Services without endpoints.
   */
  async #firstLook(): Promise<void> {
    using limit = linkedSignal(this.#signal);
    await Promise.race([this.#deps.looked, this.#deps.clock.sleep(FIRST_LOOK_MS, limit.signal)]);
    limit.abort();
  }

  #noticeReady(status: NonNullable<Node['status']>): void {
    if (isReady(status)) this.#deps.startup?.ready();
  }

  #keepWritten(node: Node | undefined): void {
    this.#lastWritten = node;
    this.#lastWrittenMs = this.#deps.clock.monotonicMs();
  }

  /**
   * What the informer holds, unless our own last answer is newer. Versions of one object only grow, unless the server came
   * back with an older store: whoever is behind our write for longer than a round may well be right. Undefined: ask.
   */
  #newestKnown(): Node | undefined {
    const informed = this.#deps.ownNode.get(this.#opts.identity.nodeName);
    const written = this.#lastWritten;
    if (written === undefined) return informed;
    const isNew = this.#deps.clock.monotonicMs() - this.#lastWrittenMs < this.#opts.updateMs;
    if (informed === undefined) return isNew ? written : undefined; // deleted, or the news of it is still to come
    if (informed.metadata?.uid !== written.metadata?.uid) return undefined; // recreated: ask
    if ((compareVersions(informed, written) ?? -1) >= 0) return informed;
    return isNew ? written : undefined;
  }

  #isReportDue(): boolean {
    if (this.#lastReportMs === undefined) return true;
    return this.#deps.clock.monotonicMs() - this.#lastReportMs >= this.#opts.reportMs + this.#reportDelayMs;
  }

  #noticeReboot(node: Node, facts: NodeFacts): void {
    const before = node.status?.nodeInfo?.bootID ?? '';
    const { bootId } = facts.machine;
    if (this.#rebootReported || before === '' || before === bootId) return;
    this.#rebootReported = true;
    const { nodeName } = this.#opts.identity;
    this.#deps.events.event(
      this.#about,
      'Warning',
      'Rebooted',
      `Node ${nodeName} has been rebooted, boot id: ${bootId}`,
    );
  }

  #noticeSchedulability(node: Node): void {
    const unschedulable = node.spec?.unschedulable ?? false;
    const before = this.#unschedulable ?? false;
    this.#unschedulable = unschedulable;
    if (unschedulable !== before) this.#statusEvent(unschedulable ? 'NodeNotSchedulable' : 'NodeSchedulable');
  }

  #statusEvent(reason: string): void {
    const { nodeName } = this.#opts.identity;
    this.#deps.events.event(this.#about, 'Normal', reason, `Node ${nodeName} status is now: ${reason}`);
  }
}

function isReady(status: Node['status']): boolean {
  return status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
}

/** A node registers once, as upstream's: whoever deletes it while it runs may well want it to be gone. */
function nodeGone(nodeName: string, cause: unknown): AgentError {
  return new AgentError(`the Node ${nodeName} is not there: it was deleted, or not made yet`, {
    code: 'NODE_GONE',
    cause,
    retryable: true,
    hint: 'start the agent again to register it anew, or stop the agent',
  });
}
