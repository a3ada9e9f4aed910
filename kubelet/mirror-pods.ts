// Mirror pods: what the API shows of static pods. Each is made once, made anew when somebody deleted it or when its
// static pod changed, and taken away with its static pod. Static pods never wait for any of this: an API server that
// does not answer must not keep its own containers from being restarted. After pkg/kubelet/pod/mirror_client.go.
import type { Node } from '../api/kinds.ts';
import { MIRROR_ANNOTATION, type Pod, podFullName } from '../api/pod.ts';
import { pods as podResource } from '../api/resources.ts';
import type { ApiClient } from '../client/api-client.ts';
import { ApiError, isConflict, isNotFound } from '../client/errors.ts';
import type { Clock } from '../core/clock.ts';
import { DueQueue } from '../core/due-queue.ts';
import { KeyedWorker } from '../core/keyed-worker.ts';
import type { Logger } from '../core/log.ts';
import type { PodManager } from './pod-manager.ts';
import { HASH_ANNOTATION } from './sources/static-pod.ts';

export interface MirrorPodsDeps {
  readonly client: Pick<ApiClient, 'create' | 'delete' | 'get'>;
  readonly pods: Pick<PodManager, 'mirrorOf' | 'mirrors' | 'byName'>;
  readonly getNode: () => Node | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

const CALL_TIMEOUT_MS = 30_000;
const RETRY_MS = 10_000;
const CONCURRENCY = 2;

export class MirrorPods {
  readonly #deps: MirrorPodsDeps;
  readonly #log: Logger;
  /** By full name, what is to be shown. */
  readonly #wanted = new Map<string, Pod>();
  readonly #worker: KeyedWorker<string>;
  readonly #due: DueQueue<string>;

  constructor(deps: MirrorPodsDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'mirror-pods' });
    this.#worker = new KeyedWorker(
      (name, signal) => this.#show(name, signal),
      { name: 'mirror-pods', concurrency: CONCURRENCY },
      deps,
    );
    this.#due = new DueQueue(deps.clock, (name) => this.#worker.request(name));
  }

  /** The static pod has started, or its mirror may have changed: looks, and makes the API show it, again if need be. */
  request(pod: Pod): void {
    this.#wanted.set(podFullName(pod), pod);
    this.#worker.request(podFullName(pod));
  }

  /** The mirror of just this static pod: not of one of its name whose manifest was another. */
  mirrorOf(pod: Pod): Pod | undefined {
    const mirror = this.#deps.pods.mirrorOf(pod);
    return mirror !== undefined && isMirrorOf(mirror, pod) ? mirror : undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.#worker.run(signal);
    } finally {
      this.#due[Symbol.dispose]();
    }
  }

  async #show(name: string, signal: AbortSignal): Promise<void> {
    const pod = this.#wanted.get(name);
    if (pod === undefined) return;
    const { namespace = '', name: podName = '', uid } = pod.metadata ?? {};
    if (this.#deps.pods.byName(namespace, podName)?.metadata?.uid !== uid) {
      this.#wanted.delete(name); // it ends: its mirror is left as it is until then
      return;
    }
    if ((await this.reconcile(pod, signal)) || signal.aborted) this.#due.delete(name);
    else this.#due.set(name, RETRY_MS);
  }

  /** Makes the API show `pod`. False when that has to be tried again. Never throws: the pod runs in any case. */
  async reconcile(pod: Pod, signal: AbortSignal): Promise<boolean> {
    const mirror = this.#deps.pods.mirrorOf(pod);
    try {
      if (mirror !== undefined) {
        if (mirror.metadata?.deletionTimestamp === undefined && isMirrorOf(mirror, pod)) return true;
        await this.#delete(mirror, signal);
      }
      return await this.#create(pod, signal);
    } catch (err) {
      if (!signal.aborted) this.#log.warn({ err, pod: podFullName(pod) }, 'mirror pod not written, will retry');
      return false;
    }
  }

  /** Deletes mirrors whose static pod is gone; not while a static pod of that name still ends. */
  async deleteOrphans(isEnding: (fullName: string) => boolean, signal: AbortSignal): Promise<void> {
    for (const mirror of this.#deps.pods.mirrors()) {
      const { namespace = '', name = '' } = mirror.metadata ?? {};
      if (this.#deps.pods.byName(namespace, name) !== undefined || isEnding(podFullName(mirror))) continue;
      try {
        await this.#delete(mirror, signal);
      } catch (err) {
        if (!signal.aborted) this.#log.warn({ err, pod: podFullName(mirror) }, 'orphaned mirror pod not deleted');
      }
    }
  }

  async #create(pod: Pod, signal: AbortSignal): Promise<boolean> {
    const node = this.#deps.getNode();
    const uid = node?.metadata?.uid;
    if (node === undefined || uid === undefined || node.metadata?.deletionTimestamp !== undefined) return false;
    const mirror = mirrorFor(pod, node.metadata?.name ?? '', uid);
    const namespace = pod.metadata?.namespace ?? '';
    const opts = { signal, timeoutMs: CALL_TIMEOUT_MS };
    try {
      await this.#deps.client.create(podResource, { namespace }, mirror, opts);
    } catch (err) {
      if (!(err instanceof ApiError) || err.code !== 'AlreadyExists') throw err;
      const there = await this.#deps.client.get(podResource, { namespace, name: pod.metadata?.name ?? '' }, opts);
      if (!isMirrorOf(there, pod)) throw err;
    }
    this.#log.info({ pod: podFullName(pod) }, 'mirror pod made');
    return true;
  }

  async #delete(mirror: Pod, signal: AbortSignal): Promise<void> {
    const { namespace = '', name = '', uid } = mirror.metadata ?? {};
    try {
      await this.#deps.client.delete(
        podResource,
        { namespace, name },
        {
          gracePeriodSeconds: 0,
          ...(uid === undefined ? {} : { preconditions: { uid } }),
          signal,
          timeoutMs: CALL_TIMEOUT_MS,
        },
      );
    } catch (err) {
      if (!isNotFound(err) && !isConflict(err)) throw err; // somebody was quicker
    }
  }
}

/** The object that is posted for a static pod. Pure. */
function mirrorFor(pod: Pod, nodeName: string, nodeUid: string): Pod {
  const annotations = pod.metadata?.annotations ?? {};
  return {
    metadata: {
      name: pod.metadata?.name ?? '',
      namespace: pod.metadata?.namespace ?? '',
      ...(pod.metadata?.labels === undefined ? {} : { labels: pod.metadata.labels }),
      annotations: { ...annotations, [MIRROR_ANNOTATION]: annotations[HASH_ANNOTATION] ?? '' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeUid, controller: true }],
    },
    spec: pod.spec!,
  };
}

function isMirrorOf(mirror: Pod, pod: Pod): boolean {
  return mirror.metadata?.annotations?.[MIRROR_ANNOTATION] === pod.metadata?.annotations?.[HASH_ANNOTATION];
}
