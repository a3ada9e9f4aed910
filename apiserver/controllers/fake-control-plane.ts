// Controllers over an API server in memory and a clock that tests step: what a test of any controller starts with.
import type { KubeObject } from '../../api/meta.ts';
import type { Pod, PodStatus } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { FakeApi, type FakeRequest } from '../../client/fake-client.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { runTasks, type Task } from '../../core/tasks.ts';
import { type Controller, type ControllerContext, createStores, reflectorTasks } from './context.ts';

export interface FakeEvent {
  readonly about: string;
  readonly reason: string;
  readonly message: string;
}

export class FakeControlPlane {
  readonly clock = new FakeClock();
  readonly api = new FakeApi({ now: () => this.clock.now() });
  readonly stores = createStores();
  readonly events: FakeEvent[] = [];
  readonly ctx: ControllerContext = {
    client: this.api,
    stores: this.stores,
    recorder: () => ({
      event: (about, _type, reason, message) => this.events.push({ about: about.name ?? '', reason, message }),
    }),
    clock: this.clock,
    log: silentLog,
  };
  readonly #stop = new AbortController();
  #ended: Promise<void> = Promise.resolve();

  /** Starts these controllers and the reflectors that feed them, and waits until there is nothing left to do. */
  async start(...controllers: readonly Controller[]): Promise<void> {
    const tasks: Record<string, Task> = { ...reflectorTasks(this.ctx) };
    for (const c of controllers) tasks[c.name] = (signal) => c.run(signal);
    this.#ended = runTasks(this.#stop.signal, tasks);
    this.#ended.catch(() => {}); // `stop` reports it
    await this.settle();
  }

  /** @throws what a task failed with. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  /** Lets everything run that needs no time to pass: until no call has been made for ten turns. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 10; quiet++) {
      const before = this.api.requests.length;
      await this.clock.advance(0);
      if (this.api.requests.length !== before) quiet = 0;
    }
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await this.settle();
  }

  /** Writes among the calls so far, as `patch replicasets/status`. */
  writes(): string[] {
    return this.api.requests.filter(isWrite).map(textOf);
  }

  /** Writes made while `during` runs and all that it sets off. */
  async writesDuring(during: () => Promise<unknown>): Promise<string[]> {
    const before = this.api.requests.length;
    await during();
    await this.settle();
    return this.api.requests.slice(before).filter(isWrite).map(textOf);
  }

  reasons(): string[] {
    return this.events.map((e) => e.reason);
  }

  /** What the node's agent would report. */
  async setPodStatus(pod: Pod, status: PodStatus): Promise<Pod> {
    const name = { namespace: pod.metadata?.namespace ?? '', name: pod.metadata?.name ?? '' };
    return await this.api.patch(pods, name, { type: 'merge', body: { status } }, { subresource: 'status' });
  }

  /** Makes all pods that live and are not yet so ready, as a cluster with room would. */
  async makePodsReady(podIs: (pod: Pod) => boolean = () => true): Promise<void> {
    for (const pod of this.api.all(pods).filter(podIs)) {
      if (pod.metadata?.deletionTimestamp !== undefined || isReady(pod)) continue;
      const lastTransitionTime = new Date(this.clock.now()).toISOString();
      await this.setPodStatus(pod, {
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'True', lastTransitionTime }],
      });
    }
    await this.settle();
  }
}

export function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
}

export function named<T extends KubeObject>(objects: readonly T[], name: string): T {
  const found = objects.find((o) => o.metadata?.name === name);
  if (found === undefined)
    throw new Error(`no object ${name} among ${objects.map((o) => o.metadata?.name).join(', ')}`);
  return found;
}

function isWrite(request: FakeRequest): boolean {
  return !['get', 'list', 'watch'].includes(request.verb);
}

function textOf({ verb, plural, subresource }: FakeRequest): string {
  return `${verb} ${plural}${subresource === undefined ? '' : `/${subresource}`}`;
}
