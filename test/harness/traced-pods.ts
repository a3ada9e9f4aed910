// Pods whose containers and hooks note what they do, in the order in which they do it, in one file per pod outside of
// the pod: what a test asserts is an order of things that happened, never a time.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Container, Pod, PodSpec, Volume } from '../../api/pod.ts';
import { events, pods } from '../../api/resources.ts';
import type { DeleteOptions } from '../../client/api-client.ts';
import { errnoOf } from '../../core/errors.ts';
import { FaultNode, NODE, until } from './fault-node.ts';
import { LabPods } from './lab-pods.ts';

const WAIT_MS = 90_000;
const SAY = 'say() { echo "$*" >> /trace/log; }';

/** The command of a shell script in which `say WORDS` adds a line to the trace. */
export function says(script: string): string[] {
  return ['sh', '-c', `${SAY}\n${script}`];
}

/** Waits, in a script, for `TracedPods.signal` with the same word. */
export function waitsFor(word: string): string {
  return `until [ -e /trace/${word} ]; do sleep 0.1; done`;
}

/** Says `NAME up`, then runs until it is asked to end, and says `NAME term`; then `last`. */
export function stays(name: string, last = 'exit 0'): string {
  return `trap "say ${name} term; ${last}" TERM; say ${name} up; while :; do sleep 3600 & wait $!; done`;
}

/** A container of the busybox image. */
export function box(name: string, script: string, more: Partial<Container> = {}): Container {
  const volumeMounts = [{ name: 'trace', mountPath: '/trace' }];
  return { name, image: 'busybox', imagePullPolicy: 'IfNotPresent', command: says(script), volumeMounts, ...more };
}

export class TracedPods implements AsyncDisposable {
  readonly node: FaultNode;
  readonly lab: LabPods;
  readonly #namespace: string;
  readonly #dir: string;

  private constructor(node: FaultNode, lab: LabPods, namespace: string, dir: string) {
    this.node = node;
    this.lab = lab;
    this.#namespace = namespace;
    this.#dir = dir;
  }

  /** On a node of its own. `kubelet`: further lines of its KubeletConfiguration. */
  static async start(namespace: string, kubelet: string): Promise<TracedPods> {
    const node = await FaultNode.start();
    try {
      await node.changeAgentConfig((text) => text.replace('kind: KubeletConfiguration\n', `$&${kubelet}\n`));
      await node.killAgent();
      await (await node.startAgent())();
      const dir = path.join(node.cluster.dir, 'traces');
      await mkdir(dir);
      return new TracedPods(node, await LabPods.create(node, namespace), namespace, dir);
    } catch (err) {
      await node[Symbol.asyncDispose]();
      throw err;
    }
  }

  /** Does not wait for it. Its grace period is the usual one, long enough for any machine. */
  async apply(name: string, spec: PodSpec): Promise<Pod> {
    return await this.lab.make<Pod>(pods, {
      metadata: { name },
      spec: { ...spec, volumes: [this.volumeOf(name), ...(spec.volumes ?? [])] },
    });
  }

  /** What `box` mounts in the pod of that name. */
  volumeOf(name: string): Volume {
    return { name: 'trace', hostPath: { path: path.join(this.#dir, name), type: 'DirectoryOrCreate' } };
  }

  /** Does not wait for its end. */
  async delete(name: string, opts: DeleteOptions = {}): Promise<void> {
    await this.node.client.delete(pods, { namespace: this.#namespace, name }, opts);
  }

  /** Waits until the API has the pod no more. */
  async untilGone(name: string): Promise<void> {
    const named = async () => {
      const { items } = await this.node.client.list(pods, { namespace: this.#namespace });
      return items.find((p) => p.metadata?.name === name);
    };
    const left = await until(named, (pod) => pod === undefined, WAIT_MS);
    if (left !== undefined) throw new Error(`${name} does not go: ${JSON.stringify(left.status)}`);
  }

  /** @throws when the pod does not end in that phase */
  async untilOver(name: string, phase: 'Succeeded' | 'Failed'): Promise<Pod> {
    const pod = await this.lab.until(name, (p) => ['Succeeded', 'Failed'].includes(p.status?.phase ?? ''));
    if (pod.status?.phase !== phase) throw new Error(`${name} is ${JSON.stringify(pod.status)}`);
    return pod;
  }

  /** Lets go on what waits for `word`. */
  async signal(name: string, word: string): Promise<void> {
    await writeFile(path.join(this.#dir, name, word), '');
  }

  /** Kills the process that holds the namespaces of the pod; its containers live on. */
  async killSandbox(pod: Pod): Promise<void> {
    const filter = { labelSelector: { 'io.kubernetes.pod.uid': pod.metadata?.uid ?? '' } };
    for (const { id } of await this.node.runtime.listPodSandboxes(filter)) {
      await this.node.cluster.ctr(NODE, 'tasks', 'kill', '--signal', 'SIGKILL', id);
    }
  }

  async trace(name: string): Promise<string[]> {
    try {
      const text = await readFile(path.join(this.#dir, name, 'log'), 'utf8');
      return text.split('\n').slice(0, -1);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return [];
      throw err;
    }
  }

  /** Waits for a line of the pod's trace. Resolves with all there are then. */
  async untilSaid(name: string, line: string, times = 1): Promise<string[]> {
    const enough = (lines: readonly string[]) => lines.filter((l) => l === line).length >= times;
    const lines = await until(() => this.trace(name), enough, WAIT_MS);
    if (enough(lines)) return lines;
    throw new Error(`${name} does not say ${line}: ${lines.join(', ')}\nagent:\n${await this.node.agentLog()}`);
  }

  /** Waits until the pod is Ready and these containers are. A container that is ended while it starts runs no hook. */
  async untilUp(name: string, ...containers: string[]): Promise<Pod> {
    for (const container of containers) await this.untilSaid(name, `${container} up`);
    return await this.lab.ready(name);
  }

  /** Waits for an Event of the pod, as `Type Reason message`. @throws with those there are */
  async untilEvent(name: string, pattern: RegExp): Promise<void> {
    const options = { namespace: this.#namespace, fieldSelector: `involvedObject.name=${name}` };
    const told = async () => {
      const { items } = await this.node.client.list(events, options);
      return items.map((e) => `${e.type} ${e.reason} ${e.message}`);
    };
    const isThere = (lines: readonly string[]) => lines.some((l) => pattern.test(l));
    const lines = await until(told, isThere, WAIT_MS);
    if (!isThere(lines)) throw new Error(`no Event ${pattern} of ${name}:\n${lines.join('\n')}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.node[Symbol.asyncDispose]();
  }
}
