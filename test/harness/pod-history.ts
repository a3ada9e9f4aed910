// What became of every container of a node, from two sides: what the API said, watched without a gap, and what the
// runtime did, by its own events. Whatever happens to the agent between the two, they must tell one story.
import type { ContainerStatus, Pod } from '../../api/pod.ts';
import { isTerminalPhase } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import type { RuntimeEvent, RuntimeService } from '../../cri/runtime-service.ts';
import { until } from './fault-node.ts';

/** How long the API may take to tell of an exit, ms. */
const TOLD_MS = 120_000;
const UID_LABEL = 'io.kubernetes.pod.uid';
const NAME_LABEL = 'io.kubernetes.container.name';

/** One container of one pod, over all its restarts. */
interface Told {
  restarts: number;
  /** Ids in the order in which the API named them. */
  readonly ids: string[];
  terminated: boolean;
}

interface Ran {
  readonly id: string;
  readonly sandboxId: string;
  readonly attempt: number;
  running: boolean;
  exitCode: number | undefined;
}

export class PodHistory {
  readonly #client: ApiClient;
  readonly #runtime: RuntimeService;
  readonly #namespace: string;
  readonly #faults: string[] = [];
  /** By pod uid. */
  readonly #pods = new Map<string, Pod>();
  readonly #told = new Map<string, Told>();
  /** By pod uid and container name: what the runtime started. */
  readonly #ran = new Map<string, Ran[]>();
  /** Id → key of `#ran`; the empty text for a sandbox. */
  readonly #keys = new Map<string, string>();
  readonly #stop = new AbortController();
  #work: Promise<unknown> = Promise.resolve();

  constructor(deps: { client: ApiClient; runtime: RuntimeService; namespace: string }) {
    this.#client = deps.client;
    this.#runtime = deps.runtime;
    this.#namespace = deps.namespace;
  }

  /** Resolves once both sides are watched. */
  async start(): Promise<void> {
    const { metadata } = await this.#client.list(pods, { namespace: this.#namespace });
    const connected = Promise.withResolvers<void>();
    this.#work = Promise.all([this.#watchApi(metadata?.resourceVersion ?? ''), this.#watchRuntime(connected.resolve)]);
    this.#work.catch(connected.reject);
    await connected.promise;
  }

  /** @throws what made a watch end too early. */
  async end(): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }

  /** The living pods, as the API showed them last. */
  get pods(): Pod[] {
    return [...this.#pods.values()];
  }

  /** Everything that went against the rules until now. */
  get faults(): readonly string[] {
    return this.#faults;
  }

  get startedContainers(): number {
    return [...this.#ran.values()].reduce((sum, all) => sum + all.length, 0);
  }

  /** What the runtime has at this moment: one ready sandbox for a pod, one running container of a name. */
  async checkDoubles(): Promise<void> {
    const [sandboxes, containers] = await Promise.all([
      this.#runtime.listPodSandboxes({ state: { state: 'SANDBOX_READY' } }),
      this.#runtime.listContainers({ state: { state: 'CONTAINER_RUNNING' } }),
    ]);
    const running = containers.map((c) => `container ${c.labels[UID_LABEL]} ${c.labels[NAME_LABEL]}`);
    const seen = new Set<string>();
    for (const one of [...sandboxes.map((s) => `sandbox ${s.labels[UID_LABEL]}`), ...running]) {
      if (seen.has(one)) this.#fault(`two of one: ${one}`);
      seen.add(one);
    }
  }

  /** Waits until the API tells of every exit of the living pods, and of the right exit code of what ended for good. */
  async checkExits(): Promise<void> {
    const left = await until(
      async () => (await Promise.all(this.pods.map((pod) => this.#untold(pod)))).flat(),
      (lines) => lines.length === 0,
      TOLD_MS,
    );
    for (const line of left) this.#fault(line);
  }

  async #untold(pod: Pod): Promise<string[]> {
    const init = pod.status?.initContainerStatuses ?? [];
    const untold = [...init, ...(pod.status?.containerStatuses ?? [])].map(async (status) => {
      const ever = this.#ran.get(keyOf(pod, status.name)) ?? [];
      // With a new sandbox initialization begins anew, and what is known of the former one is removed.
      const ran = init.includes(status) ? ever.filter((r) => r.sandboxId === ever.at(-1)?.sandboxId) : ever;
      const who = `${pod.metadata?.name} ${status.name}`;
      const last = ran.reduce<Ran | undefined>((a, b) => (a === undefined || b.attempt > a.attempt ? b : a), undefined);
      if (last === undefined) return [];
      const { restartCount } = status;
      const lines: string[] = [];
      // Attempts whose start failed have no exit of their own, so the API may be ahead, but never behind.
      if (restartCount < last.attempt)
        lines.push(`${who}: restartCount ${restartCount}, but attempt ${last.attempt} ran`);
      const exits = ran.filter((r) => !r.running).length;
      const tells = restartCount + (status.state?.terminated === undefined ? 0 : 1) + (isWaiting(status) ? 1 : 0);
      if (exits > tells)
        lines.push(`${who}: ${exits} exits, but restartCount ${restartCount}, ${JSON.stringify(status.state)}`);
      const code = status.state?.terminated?.exitCode;
      if (code !== undefined && bareId(status) === last.id && last.exitCode !== undefined && code !== last.exitCode) {
        if (code !== (await this.#startError(last.id))) {
          lines.push(`${who}: exit code ${code} told, ${last.exitCode} was it`);
        }
      }
      return lines;
    });
    return (await Promise.all(untold)).flat();
  }

  /**
   * The code of a start that failed for CRI. containerd counts one whose caller vanished among them, and kills the
   * process that may have come up behind it: that one's end is none of the container's.
   */
  async #startError(id: string): Promise<number | undefined> {
    const status = await this.#runtime.containerStatus(id).catch(() => undefined);
    return status?.reason === 'StartError' ? status.exitCode : undefined;
  }

  async #watchApi(resourceVersion: string): Promise<void> {
    const opts = { namespace: this.#namespace, resourceVersion, timeoutSeconds: 3600, signal: this.#stop.signal };
    for await (const event of this.#client.watch(pods, opts)) {
      if (event.type === 'ERROR') throw new Error(`the watch of pods failed: ${JSON.stringify(event.object)}`);
      if (event.type === 'BOOKMARK') continue;
      const pod = event.object;
      const uid = pod.metadata?.uid ?? '';
      this.#seePod(this.#pods.get(uid), pod);
      if (event.type === 'DELETED') this.#pods.delete(uid);
      else this.#pods.set(uid, pod);
    }
    if (!this.#stop.signal.aborted) throw new Error('the server ended the watch of pods');
  }

  #seePod(before: Pod | undefined, pod: Pod): void {
    const phase = before?.status?.phase;
    if (isTerminalPhase(phase) && pod.status?.phase !== phase) {
      this.#fault(`${pod.metadata?.name}: phase ${phase} became ${pod.status?.phase}`);
    }
    for (const status of [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]) {
      this.#seeStatus(pod, status);
    }
  }

  #seeStatus(pod: Pod, status: ContainerStatus): void {
    const key = keyOf(pod, status.name);
    const told = this.#told.get(key) ?? { restarts: 0, ids: [], terminated: false };
    this.#told.set(key, told);
    const who = `${pod.metadata?.name} ${status.name}`;
    if (status.restartCount < told.restarts) {
      this.#fault(`${who}: restartCount went from ${told.restarts} back to ${status.restartCount}`);
    }
    told.restarts = status.restartCount;
    const id = bareId(status);
    if (id === '' || told.ids.at(-1) === id) return;
    if (told.ids.includes(id)) this.#fault(`${who}: the API went back to container ${id}`);
    told.ids.push(id);
  }

  async #watchRuntime(onConnected: () => void): Promise<void> {
    for await (const event of this.#runtime.events(this.#stop.signal, onConnected)) await this.#seeEvent(event);
    if (!this.#stop.signal.aborted) throw new Error('the runtime ended its events');
  }

  async #seeEvent({ type, containerId, exitCode }: RuntimeEvent): Promise<void> {
    if (type === 'stopped') {
      const ran = this.#ranWith(containerId);
      if (ran === undefined) return;
      ran.running = false;
      ran.exitCode = exitCode;
    }
    if (type !== 'started' || this.#keys.has(containerId)) return;
    // Gone already, or a sandbox: nothing to count.
    const found = await this.#runtime.containerStatus(containerId).catch(() => undefined);
    const [listed] = found === undefined ? [] : await this.#runtime.listContainers({ id: containerId });
    const key = found === undefined ? '' : `${found.labels[UID_LABEL]}/${found.labels[NAME_LABEL]}`;
    this.#keys.set(containerId, key);
    if (found === undefined || listed === undefined) return;
    const sandboxId = listed.podSandboxId;
    const all = this.#ran.get(key) ?? [];
    this.#ran.set(key, all);
    const attempt = found.metadata?.attempt ?? 0;
    const other = all.find((r) => r.running);
    if (other !== undefined && (await this.#ranAt(other.id, found.startedAt))) {
      this.#fault(`${key}: attempt ${attempt} started while attempt ${other.attempt} ran`);
    }
    if (all.some((r) => r.sandboxId === sandboxId && r.attempt >= attempt))
      this.#fault(`${key}: attempt ${attempt} in sandbox ${sandboxId} started twice, or out of order`);
    all.push({ id: containerId, sandboxId, attempt, running: true, exitCode: undefined });
  }

  /** The event of its end may be on its way still: CRI knows better. */
  async #ranAt(id: string, timeNanos: bigint): Promise<boolean> {
    const status = await this.#runtime.containerStatus(id).catch(() => undefined); // removed: it had ended
    if (status === undefined) return false;
    return status.state === 'CONTAINER_RUNNING' || status.finishedAt > timeNanos;
  }

  #ranWith(id: string): Ran | undefined {
    return this.#ran.get(this.#keys.get(id) ?? '')?.find((r) => r.id === id);
  }

  #fault(text: string): void {
    if (!this.#faults.includes(text)) this.#faults.push(text);
  }
}

const keyOf = (pod: Pod, container: string): string => `${pod.metadata?.uid}/${container}`;

const bareId = (status: ContainerStatus): string => (status.containerID ?? '').replace(/^\w+:\/\//, '');

/** Between two attempts: the last exit is told as lastState, and counted when the next attempt is made. */
function isWaiting({ state, lastState }: ContainerStatus): boolean {
  return state?.waiting !== undefined && lastState?.terminated !== undefined;
}
