// Pods of one busybox container on the node of a FaultNode, each told by a shell script, in a namespace of their own:
// what a container sees is asked of the container, not of the agent's directories.
import type { KubeObject } from '../../api/meta.ts';
import type { Container, Pod, PodSpec } from '../../api/pod.ts';
import { events, namespaces, pods, type ResourceType, serviceAccounts } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import { type FaultNode, until } from './fault-node.ts';

const WAIT_MS = 120_000;
const EXEC_SECONDS = 30;
/** Ends at once when asked to. */
export const STAY = 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done';

/** Of container `main`; `script` replaces its command. */
export interface LabContainer extends Partial<Container> {
  readonly script?: string;
}

export class LabPods {
  readonly #node: FaultNode;
  readonly #namespace: string;

  private constructor(node: FaultNode, namespace: string) {
    this.#node = node;
    this.#namespace = namespace;
  }

  /** Resolves when pods can be made in the new namespace. */
  static async create(node: FaultNode, namespace: string): Promise<LabPods> {
    await node.client.create(namespaces, {}, { metadata: { name: namespace } });
    const found = () => getIfThere(node.client.get(serviceAccounts, { namespace, name: 'default' }));
    if ((await until(found, Boolean, WAIT_MS)) === undefined) throw new Error('the service account is not made');
    return new LabPods(node, namespace);
  }

  /** Makes an object of any kind in the namespace. */
  async make<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<T> {
    return await this.#node.client.create(type, { namespace: this.#namespace }, object);
  }

  async patch<T extends KubeObject>(type: ResourceType<T>, name: string, body: object): Promise<T> {
    return await this.#node.client.patch(type, this.#at(name), { type: 'merge', body });
  }

  async delete<T extends KubeObject>(type: ResourceType<T>, name: string): Promise<void> {
    await this.#node.client.delete(type, this.#at(name));
  }

  /** All of the namespace; does not wait until they are gone. */
  async deletePods(): Promise<void> {
    const { items } = await this.#node.client.list(pods, { namespace: this.#namespace });
    await Promise.all(items.map((pod) => this.delete(pods, pod.metadata!.name!)));
  }

  /** Does not wait for it. */
  async apply(
    name: string,
    container: LabContainer,
    spec: Partial<PodSpec> = {},
    metadata: Pod['metadata'] = {},
  ): Promise<Pod> {
    const { script, ...more } = container;
    const main: Container = {
      name: 'main',
      image: 'busybox',
      imagePullPolicy: 'IfNotPresent',
      command: ['sh', '-c', script ?? STAY],
      ...more,
    };
    const { containers = [], ...rest } = spec;
    return await this.make<Pod>(pods, {
      metadata: { name, ...metadata },
      spec: { terminationGracePeriodSeconds: 1, ...rest, containers: [main, ...containers] },
    });
  }

  /** Resolves when every container runs and is ready. */
  async start(...args: Parameters<LabPods['apply']>): Promise<Pod> {
    const { metadata } = await this.apply(...args);
    return await this.ready(metadata!.name!);
  }

  async ready(name: string): Promise<Pod> {
    const isReady = (pod: Pod) => pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True');
    return await this.until(name, (pod) => isReady(pod) === true);
  }

  /**
   * Runs the pod to its end and tells what `script` wrote, both streams, without the last line break. No more than
   * 4096 bytes: it goes through the termination message.
   * @throws when the script fails
   */
  async run(
    name: string,
    container: LabContainer & { script: string },
    spec: Partial<PodSpec> = {},
    metadata: Pod['metadata'] = {},
  ): Promise<string> {
    const script = `exec > /dev/termination-log 2>&1; set -e; ${container.script}`;
    await this.apply(name, { ...container, script }, { restartPolicy: 'Never', ...spec }, metadata);
    const ended = await this.until(name, (pod) => ['Succeeded', 'Failed'].includes(pod.status?.phase ?? ''));
    const message = ended.status?.containerStatuses?.find((c) => c.name === 'main')?.state?.terminated?.message ?? '';
    if (ended.status?.phase !== 'Succeeded') throw new Error(`${name}: ${JSON.stringify(ended.status)}`);
    return message.trimEnd();
  }

  async get(name: string): Promise<Pod> {
    return await this.#node.client.get(pods, this.#at(name));
  }

  /** @throws with its status when the pod does not come to be so. */
  async until(name: string, good: (pod: Pod) => boolean): Promise<Pod> {
    const pod = await until(() => this.#node.client.get(pods, this.#at(name)), good, WAIT_MS);
    if (good(pod)) return pod;
    const log = await this.#node.agentLog();
    throw new Error(`${name} does not come to be as wanted: ${JSON.stringify(pod.status)}\nagent:\n${log}`);
  }

  /** Of all that the API has shown of the pod since `made`, what is so for a moment too. @throws when nothing was */
  async untilSeen(made: Pod, good: (pod: Pod) => boolean): Promise<Pod> {
    const { name, resourceVersion } = made.metadata!;
    const about = {
      namespace: this.#namespace,
      fieldSelector: `metadata.name=${name}`,
      resourceVersion: resourceVersion!,
    };
    for await (const { object } of this.#node.client.watch(pods, { ...about, signal: AbortSignal.timeout(WAIT_MS) })) {
      if (good(object as Pod)) return object as Pod;
    }
    throw new Error(`${name} is never as wanted: ${JSON.stringify((await this.get(name!)).status)}`);
  }

  /** What a script writes inside a running container. @throws when its exit code is not 0. */
  async exec(pod: Pod, script: string, container = 'main'): Promise<string> {
    const r = await this.#exec(pod, script, container);
    if (r.exitCode !== 0) throw new Error(`${pod.metadata?.name}: ${script}: exit ${r.exitCode}: ${r.stderr}`);
    return r.stdout;
  }

  /** Asks again until the script writes `wanted`, whatever its exit code meanwhile. @throws with what it writes instead */
  async untilExec(pod: Pod, script: string, wanted: string): Promise<void> {
    const last = await until(
      () => this.#exec(pod, script, 'main'),
      (r) => r.stdout === wanted,
      WAIT_MS,
    );
    if (last.stdout !== wanted) throw new Error(`${script}: ${JSON.stringify(last)} instead of ${wanted}`);
  }

  /** Waits for an Event with this reason and message on the pod. @throws with those there are */
  async untilEvent(name: string, reason: string, message: string): Promise<void> {
    await this.#untilEvent(name, `${reason} ${message}`, (r, m) => r === reason && m === message);
  }

  /** The same for one whose reason and message match. */
  async untilEventMatching(name: string, reason: string | RegExp, message: RegExp): Promise<void> {
    const hasReason = (r: string) => (typeof reason === 'string' ? r === reason : reason.test(r));
    await this.#untilEvent(name, `${reason} ${message}`, (r, m) => hasReason(r) && message.test(m));
  }

  /** Resolves when none is left in the namespace. */
  async untilNoPods(): Promise<void> {
    const left = await until(
      async () => (await this.#node.client.list(pods, { namespace: this.#namespace })).items,
      (items) => items.length === 0,
      WAIT_MS,
    );
    if (left.length > 0) throw new Error(`still there: ${left.map((pod) => pod.metadata?.name).join(', ')}`);
  }

  async #untilEvent(name: string, what: string, good: (reason: string, message: string) => boolean): Promise<void> {
    const options = { namespace: this.#namespace, fieldSelector: `involvedObject.name=${name}` };
    const told = async () => (await this.#node.client.list(events, options)).items;
    const wanted = (e: { reason?: string; message?: string }) => good(e.reason ?? '', e.message ?? '');
    const found = await until(told, (list) => list.some(wanted), WAIT_MS);
    if (found.some(wanted)) return;
    const seen = found.map((e) => `${e.reason} ${e.message}`).join('\n');
    throw new Error(`no Event ${what} of ${name}:\n${seen}`);
  }

  async #exec(pod: Pod, script: string, container: string) {
    const status = pod.status?.containerStatuses?.find((c) => c.name === container);
    const id = (status?.containerID ?? '').replace('containerd://', '');
    const r = await this.#node.runtime.execSync(id, ['sh', '-c', script], EXEC_SECONDS);
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8').trimEnd();
    return { exitCode: r.exitCode, stdout: text(r.stdout), stderr: text(r.stderr) };
  }

  #at(name: string) {
    return { namespace: this.#namespace, name };
  }
}

async function getIfThere<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}
