// A whole service proxy over the real tools of a namespace, fed with Services and EndpointSlices by hand.
import type { EndpointSlice, Node, Service } from '../../api/kinds.ts';
import { Store } from '../../client/store.ts';
import { systemClock } from '../../core/clock.ts';
import { type Logger, silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import type { Exec } from '../../host/exec.ts';
import { SliMetrics } from '../../kubelet/metrics/sli-metrics.ts';
import { ServiceProxy } from '../../proxy/proxy.ts';
import { type BackendChoice, matrixBackend } from './matrix-proxier.ts';

export interface RunningProxyOptions extends BackendChoice {
  /** ms; upstream's defaults when absent. */
  readonly minSyncPeriodMs?: number;
  readonly syncPeriodMs?: number;
  readonly log?: Logger;
}

export class RunningProxy implements AsyncDisposable {
  readonly services = new Store<Service>();
  readonly endpointSlices = new Store<EndpointSlice>();
  readonly proxy: ServiceProxy;
  readonly #registry = new Registry();
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  #version = 0;

  constructor(exec: Exec, opts: RunningProxyOptions) {
    this.proxy = new ServiceProxy(
      {
        nodeName: 'node-a',
        mode: opts.mode,
        routeLocalnet: false,
        minSyncPeriodMs: opts.minSyncPeriodMs ?? 1_000,
        syncPeriodMs: opts.syncPeriodMs ?? 30_000,
        fullSyncIntervalMs: 3_600_000,
      },
      {
        backends: [matrixBackend(exec, opts)],
        services: this.services,
        endpointSlices: this.endpointSlices,
        nodes: new Store<Node>(),
        events: { event: () => {} },
        exec,
        sysctl: { read: async () => undefined, set: async () => true },
        clock: systemClock,
        log: opts.log ?? silentLog,
        registry: this.#registry,
        slis: new SliMetrics(),
      },
    );
    this.#ended = this.proxy.run(this.#stop.signal);
  }

  /** What is there from the beginning; without this, nothing is written. Resolves when it stands in the kernel. */
  async start(services: readonly Service[], slices: readonly EndpointSlice[]): Promise<void> {
    this.services.replace(services.map((s) => this.#versioned(s)));
    this.endpointSlices.replace(slices.map((s) => this.#versioned(s)));
    await this.proxy.synced;
  }

  setService(service: Service): void {
    this.services.set(this.#versioned(service));
  }

  setSlice(slice: EndpointSlice): void {
    this.endpointSlices.set(this.#versioned(slice));
  }

  /** The sum over all labels of a metric of the proxy, or the number of observations of a histogram. */
  async metric(name: string): Promise<number> {
    const text = await this.#registry.metrics();
    const values = [...text.matchAll(new RegExp(`^kubeproxy_${name}(?:_count)?(?:{[^}]*})? (\\S+)$`, 'gm'))];
    return values.reduce((sum, [, value]) => sum + Number(value), 0);
  }

  #versioned<T extends Service | EndpointSlice>(object: T): T {
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}
