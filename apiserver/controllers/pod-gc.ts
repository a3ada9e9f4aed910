// Removes pods that nobody will: of nodes that are gone, never scheduled and deleted, ended long ago
// (pkg/controller/podgc).
import { formatTime, objectKey } from '../../api/meta.ts';
import { isTerminalPhase, type Pod } from '../../api/pod.ts';
import { nodes, pods as podResource } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import type { Logger } from '../../core/log.ts';
import { type Controller, type ControllerContext, waitForStores } from './context.ts';

const PERIOD_MS = 20_000;
/** A node may be registered again: its pods are given this long. */
const NODE_QUARANTINE_MS = 40_000;
const OUT_OF_SERVICE = 'node.kubernetes.io/out-of-service';

export interface PodGcOptions {
  /** Ended pods beyond this number are removed, oldest first. 12,500 upstream. */
  readonly terminatedThreshold: number;
}

export class PodGcController implements Controller {
  readonly name = 'pod-garbage-collector';
  readonly #ctx: ControllerContext;
  readonly #opts: PodGcOptions;
  readonly #log: Logger;
  /** Names of nodes that pods are bound to and that are missing → monotonic ms since when. */
  readonly #missingNodes = new Map<string, number>();

  constructor(ctx: ControllerContext, opts: PodGcOptions) {
    this.#ctx = ctx;
    this.#opts = opts;
    this.#log = ctx.log.child({ controller: this.name });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores, clock } = this.#ctx;
    await waitForStores([stores.pods, stores.nodes], signal);
    while (!signal.aborted) {
      await this.#collect();
      await clock.sleep(PERIOD_MS, signal);
    }
  }

  async #collect(): Promise<void> {
    const all = this.#ctx.stores.pods.list();
    for (const pod of this.#terminatedBeyondThreshold(all)) await this.#remove(pod, undefined);
    const gone = await this.#nodesGone(all);
    for (const pod of all) {
      const node = pod.spec?.nodeName;
      if (pod.metadata?.deletionTimestamp !== undefined && (!node || this.#isOutOfService(node)))
        await this.#remove(pod, undefined);
      else if (node && gone.has(node)) await this.#remove(pod, 'PodGC: node no longer exists');
    }
  }

  /** An administrator says with this taint that the node is off: nobody there ends the pods that are being deleted. */
  #isOutOfService(name: string): boolean {
    const node = this.#ctx.stores.nodes.get(name);
    const isReady = node?.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
    return !isReady && (node?.spec?.taints?.some((t) => t.key === OUT_OF_SERVICE) ?? false);
  }

  #terminatedBeyondThreshold(all: readonly Pod[]): Pod[] {
    const ended = all.filter((p) => isTerminalPhase(p.status?.phase));
    const surplus = ended.length - this.#opts.terminatedThreshold;
    if (surplus <= 0) return [];
    const created = (p: Pod): string => p.metadata?.creationTimestamp ?? '';
    return ended.sort((a, b) => created(a).localeCompare(created(b))).slice(0, surplus);
  }

  /** Nodes missing for the whole quarantine; asked of the server before anything is removed. */
  async #nodesGone(all: readonly Pod[]): Promise<Set<string>> {
    const { stores, clock, client } = this.#ctx;
    const bound = new Set(all.map((p) => p.spec?.nodeName).filter((n): n is string => !!n));
    const missing = [...bound].filter((n) => stores.nodes.get(n) === undefined);
    for (const name of this.#missingNodes.keys()) if (!missing.includes(name)) this.#missingNodes.delete(name);
    const gone = new Set<string>();
    for (const name of missing) {
      const sinceMs = this.#missingNodes.get(name);
      if (sinceMs === undefined) this.#missingNodes.set(name, clock.monotonicMs());
      else if (clock.monotonicMs() - sinceMs >= NODE_QUARANTINE_MS && (await isGone(client.get(nodes, { name }))))
        gone.add(name);
    }
    return gone;
  }

  async #remove(pod: Pod, lostMessage: string | undefined): Promise<void> {
    const { name = '', namespace = '', uid = '', deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata ?? {};
    if (deletionTimestamp !== undefined && !deletionGracePeriodSeconds && pod.metadata?.finalizers?.length) return;
    try {
      if (lostMessage !== undefined && !isTerminalPhase(pod.status?.phase)) {
        const lastTransitionTime = formatTime(this.#ctx.clock.now());
        const condition = {
          type: 'DisruptionTarget',
          status: 'True',
          reason: 'DeletionByPodGC',
          message: lostMessage,
          lastTransitionTime,
        };
        const body = { metadata: { uid }, status: { phase: 'Failed', conditions: [condition] } };
        await this.#ctx.client.patch(
          podResource,
          { name, namespace },
          { type: 'strategic', body },
          { subresource: 'status' },
        );
      }
      await this.#ctx.client.delete(
        podResource,
        { name, namespace },
        { gracePeriodSeconds: 0, preconditions: { uid } },
      );
      this.#log.info({ pod: objectKey(pod), why: lostMessage ?? 'ended or never scheduled' }, 'pod removed');
    } catch (err) {
      if (!isNotFound(err)) this.#log.warn({ err, pod: objectKey(pod) }, 'pod not removed, will try again');
    }
  }
}

async function isGone(get: Promise<unknown>): Promise<boolean> {
  try {
    await get;
    return false;
  } catch (err) {
    return isNotFound(err);
  }
}
