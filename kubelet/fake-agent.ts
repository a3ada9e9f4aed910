// The whole pod side of the agent over fakes that behave, for tests of what several managers do together.
import { expect } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod, PodSpec } from '../api/pod.ts';
import { pods } from '../api/resources.ts';
import { FakeApi } from '../client/fake-client.ts';
import { Store } from '../client/store.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { silentLog } from '../core/log.ts';
import type { KubeletConfig } from './config.ts';
import { FAKE_KUBELET_CONFIG } from './fake-config.ts';
import { FakeEvents, FakeProbes, FakeVolumes } from './fake-managers.ts';
import { FakeRuntimeManager } from './fake-runtime-manager.ts';
import { Kubelet } from './kubelet.ts';
import type { KubeletDeps } from './kubelet-deps.ts';
import { Allocations } from './resize/allocations.ts';

export const FAKE_NODE: Node = {
  metadata: { name: 'node-1', uid: 'uid-node-1', labels: { 'kubernetes.io/os': 'linux' } },
  status: {
    allocatable: { cpu: '2', memory: '4Gi', pods: '110' },
    addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
  },
};

export function fakePod(name: string, spec: Partial<PodSpec> = {}): Pod {
  return {
    metadata: { name, namespace: 'default', uid: `uid-${name}` },
    spec: {
      nodeName: 'node-1',
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      containers: [{ name: 'main', image: 'busybox' }],
      ...spec,
    },
    status: { phase: 'Pending' },
  };
}

export class FakeAgent implements AsyncDisposable {
  readonly clock = new FakeClock(Date.UTC(2026, 0, 1));
  readonly api = new FakeApi({ now: () => this.clock.now() });
  readonly runtime = new FakeRuntimeManager(this.clock);
  readonly volumes = new FakeVolumes();
  readonly probes = new FakeProbes();
  readonly events = new FakeEvents();
  readonly nodes = new Store<Node>();
  /** Outlives an agent, as a disk does. */
  readonly allocations = new Allocations(undefined, { clock: this.clock, log: silentLog });
  #stop = new AbortController();
  #ended: Promise<void> = Promise.resolve();

  start(config: Partial<KubeletConfig> = {}, deps: Partial<KubeletDeps> = {}): Kubelet {
    if (deps.nodes === undefined) this.nodes.replace([FAKE_NODE]);
    this.runtime.actuated = this.allocations;
    const kubelet = new Kubelet(
      { ...FAKE_KUBELET_CONFIG, nodeName: 'node-1', ...config },
      {
        client: this.api,
        runtime: this.runtime,
        runtimeEvents: this.runtime,
        volumes: this.volumes,
        probes: this.probes,
        events: this.events,
        nodes: this.nodes,
        ensurePodDirs: async () => {},
        networkError: () => undefined,
        runtimeName: 'containerd',
        allocations: this.allocations,
        clock: this.clock,
        log: silentLog,
        ...deps,
      },
    );
    this.#stop = new AbortController();
    this.#ended = kubelet.run(this.#stop.signal);
    return kubelet;
  }

  /** Ends the agent as a signal would; what runs goes on running. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.clock.advance(5000);
    await this.#ended;
    expect(this.clock.sleeping).toBe(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  stored(name: string): Pod | undefined {
    return this.api.all(pods).find((p) => p.metadata?.name === name);
  }

  condition(name: string, type: string): string | undefined {
    return this.stored(name)?.status?.conditions?.find((c) => c.type === type)?.status;
  }

  /** Steps the clock until `holds`, and fails when it does not come to that. */
  async until(holds: () => boolean, stepMs = 50, steps = 50): Promise<void> {
    for (let i = 0; i < steps && !holds(); i++) await this.clock.advance(stepMs);
    expect(holds()).toBe(true);
  }

  async untilReady(name: string): Promise<void> {
    await this.until(() => this.condition(name, 'Ready') === 'True');
  }
}
