// The same pods through API server and agent, timed by what a watcher sees.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container, Pod } from '../../api/pod.ts';
import { configMaps, pods, secrets, serviceAccounts } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isNotFound } from '../../client/errors.ts';
import { NODE } from './bench-lab.ts';

const NAMESPACE = 'default';
/** A shell needs a moment from its start until it minds SIGTERM; as process 1 it would ignore an earlier one, ms. */
export const TRAP_SET_MS = 250;

export interface PodTimes {
  readonly name: string;
  /** From just before the request to the event that shows it, ms. */
  readonly readyMs: number;
  readonly goneMs: number;
}

const STAY = 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done';
/** Of the objects whose content is in the volumes of a large pod. */
const OBJECT = 'bench';

/** A busybox that ends at once on SIGTERM; everything else as it is by default, service account token included. */
export function benchPod(name: string, nodeName: string | undefined): Pod {
  return {
    metadata: { name, namespace: NAMESPACE },
    spec: { ...(nodeName === undefined ? {} : { nodeName }), containers: [busybox('main', STAY)] },
  };
}

/** Two init containers, then three containers with a configMap, a secret and a token of their own choice. */
export function largePod(name: string, nodeName: string): Pod {
  const volumeMounts = ['config', 'secret', 'token'].map((v) => ({ name: v, mountPath: `/${v}`, readOnly: true }));
  const mounting = (container: string, script: string) => ({ ...busybox(container, script), volumeMounts });
  return {
    metadata: { name, namespace: NAMESPACE },
    spec: {
      nodeName,
      automountServiceAccountToken: false,
      initContainers: ['first', 'second'].map((c) => mounting(c, 'true')),
      containers: ['main', 'beside', 'behind'].map((c) => mounting(c, STAY)),
      volumes: [
        { name: 'config', configMap: { name: OBJECT } },
        { name: 'secret', secret: { secretName: OBJECT } },
        {
          name: 'token',
          projected: {
            sources: [{ serviceAccountToken: { path: 'token', audience: 'bench', expirationSeconds: 3600 } }],
          },
        },
      ],
    },
  };
}

/** What largePod refers to. */
export async function createObjects(client: ApiClient): Promise<void> {
  const at = { namespace: NAMESPACE };
  await client.create(configMaps, at, { metadata: { name: OBJECT }, data: { 'app.conf': 'level = info\n' } });
  await client.create(secrets, at, { metadata: { name: OBJECT }, stringData: { password: 'not for anybody' } });
}

function busybox(name: string, script: string): Container {
  return { name, image: 'busybox:1.36', command: ['sh', '-c', script] };
}

/** Watches all pods of the namespace and tells when a named one is Ready or gone. */
export class PodWatcher {
  readonly #client: ApiClient;
  readonly #ready = new Map<string, PromiseWithResolvers<Pod>>();
  readonly #gone = new Map<string, PromiseWithResolvers<void>>();

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /** Until `signal` aborts. @throws when the watch ends: figures would be wrong. */
  async run(signal: AbortSignal): Promise<void> {
    const { metadata } = await this.#client.list(pods, { namespace: NAMESPACE });
    const resourceVersion = metadata?.resourceVersion ?? '';
    const opts = { namespace: NAMESPACE, resourceVersion, timeoutSeconds: 3600, signal };
    for await (const event of this.#client.watch(pods, opts)) {
      if (event.type === 'ERROR') throw new Error(`the watch failed: ${JSON.stringify(event.object)}`);
      if (event.type === 'BOOKMARK') continue;
      const pod = event.object;
      const name = pod.metadata?.name ?? '';
      if (event.type === 'DELETED') this.#gone.get(name)?.resolve();
      else if (isReady(pod)) this.#ready.get(name)?.resolve(pod);
    }
    if (!signal.aborted) throw new Error('the server ended the watch');
  }

  ready(name: string): Promise<Pod> {
    return expectation(this.#ready, name);
  }

  gone(name: string): Promise<void> {
    return expectation(this.#gone, name);
  }
}

export async function createPod(
  client: ApiClient,
  watcher: PodWatcher,
  pod: Pod,
): Promise<{ pod: Pod; tookMs: number }> {
  const ready = watcher.ready(pod.metadata?.name ?? '');
  const startMs = performance.now();
  await client.create(pods, { namespace: NAMESPACE }, pod);
  return { pod: await ready, tookMs: performance.now() - startMs };
}

export async function deletePod(client: ApiClient, watcher: PodWatcher, name: string): Promise<number> {
  const gone = watcher.gone(name);
  const startMs = performance.now();
  await client.delete(pods, { namespace: NAMESPACE, name });
  await gone;
  return performance.now() - startMs;
}

export async function timePod(client: ApiClient, watcher: PodWatcher, pod: Pod): Promise<PodTimes> {
  const name = pod.metadata?.name ?? '';
  const { tookMs: readyMs } = await createPod(client, watcher, pod);
  await sleep(TRAP_SET_MS);
  return { name, readyMs, goneMs: await deletePod(client, watcher, name) };
}

/** All at once: the time until the last one is Ready, and until the last one is gone, ms. */
export async function timeBurst(
  client: ApiClient,
  watcher: PodWatcher,
  names: readonly string[],
): Promise<{ readyMs: number; goneMs: number }> {
  const createdMs = performance.now();
  await Promise.all(names.map((name) => createPod(client, watcher, benchPod(name, NODE))));
  const readyMs = performance.now() - createdMs;
  await sleep(TRAP_SET_MS);
  const deletedMs = performance.now();
  await Promise.all(names.map((name) => deletePod(client, watcher, name)));
  return { readyMs, goneMs: performance.now() - deletedMs };
}

const SERVICE_ACCOUNT_POLL_MS = 50;

/** Pods are refused before the controller has made the service account. */
export async function waitForServiceAccount(client: ApiClient, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await client.get(serviceAccounts, { namespace: NAMESPACE, name: 'default' });
      return;
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    await sleep(SERVICE_ACCOUNT_POLL_MS);
  }
}

function expectation<T>(all: Map<string, PromiseWithResolvers<T>>, name: string): Promise<T> {
  const wanted = all.get(name) ?? Promise.withResolvers<T>();
  all.set(name, wanted);
  return wanted.promise;
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
}
