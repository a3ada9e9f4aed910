// The service proxy: follows Services and EndpointSlices and keeps the node's rules equal to them.
import type { EndpointSlice, Node, ObjectReference, Service } from '../api/kinds.ts';
import { objectKey } from '../api/meta.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { ReadonlyStore } from '../client/store.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Registry } from '../core/metrics.ts';
import { SyncRunner } from '../core/sync-runner.ts';
import { runTasks } from '../core/tasks.ts';
import type { Exec } from '../host/exec.ts';
import type { Sysctl } from '../host/sysctl.ts';
import { serviceKeyOf } from './endpoint-changes.ts';
import { FamilyProxier, type SyncKind } from './family-proxier.ts';
import { type HealthCheckLog, ProxyHealth } from './health.ts';
import { InvalidInput } from './invalid-input.ts';
import { ProxyMetrics } from './metrics.ts';
import type { RuleBackend } from './rule-backend.ts';
import { ServiceHealthServers } from './service-health.ts';

/** What the reflector of EndpointSlices selects. Of Services the proxy takes all, and leaves out what others serve. */
export const ENDPOINT_SLICE_SELECTOR = { labelSelector: '!service.kubernetes.io/headless' } as const;

/** How long a sync waits for the other half of a Service that comes or goes, ms: the API server tells of both at once. */
const OTHER_HALF_MS = 50;
/** How long a sync waits that only clears away what the last one left, ms. */
const LEFTOVERS_MS = 1_000;
/** A first sync may be followed at once, as upstream had it for years: what changes together seldom comes at once. */
const BURST_SYNCS = 2;

const ZONE_LABEL = 'topology.kubernetes.io/zone';

export type ProxyMode = 'iptables' | 'nftables';

export interface ServiceProxyOptions {
  readonly nodeName: string;
  readonly mode: ProxyMode;
  /** Lets 127.0.0.1 leave through DNAT, for node ports there (iptables, IPv4); its rules close what this opens. */
  readonly routeLocalnet: boolean;
  /** Pause between syncs, ms; upstream's default is 1,000. */
  readonly minSyncPeriodMs: number;
  /**
   * Retry after a failed sync and time between looks for flushed rules, ms; twice this without a sync is unhealthy.
   * Upstream's default is 30,000.
   */
  readonly syncPeriodMs: number;
  /** Everything is written anew after so long, ms; upstream: one hour. */
  readonly fullSyncIntervalMs: number;
  /** `host:port`, undefined switches the server off. Defaults upstream: 0.0.0.0:10256 and 127.0.0.1:10249. */
  readonly healthzAddress?: string;
  readonly metricsAddress?: string;
  /** The KubeProxyConfiguration in effect, for people who ask. */
  readonly configz?: Readonly<Record<string, unknown>>;
}

export interface ServiceProxyDeps {
  /** One for each IP family that is served. */
  readonly backends: readonly RuleBackend[];
  readonly services: ReadonlyStore<Service>;
  readonly endpointSlices: ReadonlyStore<EndpointSlice>;
  readonly nodes: ReadonlyStore<Node>;
  readonly events: EventRecorder;
  readonly exec: Exec;
  readonly sysctl: Sysctl;
  /** Looks which addresses the node has, which backends then know; before each look at the rules. Never throws. */
  readonly lookAtAddresses?: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly registry: Registry;
  readonly slis: HealthCheckLog;
}

interface Family {
  readonly proxier: FamilyProxier;
  readonly runner: SyncRunner;
  readonly healthChecks: ServiceHealthServers;
  readonly label: 'IPv4' | 'IPv6';
}

export class ServiceProxy {
  readonly health: ProxyHealth;
  readonly #opts: ServiceProxyOptions;
  readonly #deps: ServiceProxyDeps;
  readonly #log: Logger;
  readonly #metrics: ProxyMetrics;
  readonly #invalid: InvalidInput;
  readonly #families: readonly Family[];
  /** Families whose last sync failed. */
  readonly #failing = new Set<Family['label']>();
  readonly #firstSync = Promise.withResolvers<void>();
  /** Wall ms. */
  readonly #startedMs: number;

  constructor(opts: ServiceProxyOptions, deps: ServiceProxyDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'proxy' });
    this.#startedMs = deps.clock.now();
    this.#metrics = new ProxyMetrics(deps.registry);
    this.#invalid = new InvalidInput({ events: deps.events, log: this.#log });
    this.health = new ProxyHealth(
      { nodeName: opts.nodeName, syncPeriodMs: opts.syncPeriodMs, mode: opts.mode, configz: opts.configz ?? {} },
      { ...deps, log: this.#log, metrics: this.#metrics },
    );
    this.#families = deps.backends.map((backend) => this.#createFamily(backend));
  }

  /** Resolves once all rules have been in place for the first time. */
  get synced(): Promise<void> {
    return this.#firstSync.promise;
  }

  /** Runs until `signal` aborts. Rules stay, so that connections survive a restart. */
  async run(signal: AbortSignal): Promise<void> {
    const { services, endpointSlices } = this.#deps;
    using _subscriptions = this.#subscribe();
    this.#tellStart();
    const { healthzAddress, metricsAddress } = this.#opts;
    await runTasks(signal, {
      ...(healthzAddress === undefined ? {} : { healthz: (s) => this.health.serveHealthz(healthzAddress, s) }),
      ...(metricsAddress === undefined ? {} : { metrics: (s) => this.health.serveMetrics(metricsAddress, s) }),
      rules: async (s) => {
        if (this.#opts.routeLocalnet) await this.#deps.sysctl.set('net/ipv4/conf/all/route_localnet', '1');
        // Rules made from half a list would cut off Services that the node already serves.
        await Promise.all([services.waitForSync(s), endpointSlices.waitForSync(s)]);
        try {
          await Promise.all(this.#families.map((f) => f.runner.run(s)));
        } finally {
          for (const { healthChecks } of this.#families) await healthChecks[Symbol.asyncDispose]();
        }
      },
      looks: (s) => this.#lookAtRules(s),
    });
  }

  #createFamily(backend: RuleBackend): Family {
    const { exec, clock } = this.#deps;
    const label = backend.family === 4 ? ('IPv4' as const) : ('IPv6' as const);
    const log = this.#log.child({ ipFamily: label });
    const { nodeName, fullSyncIntervalMs, minSyncPeriodMs, syncPeriodMs } = this.#opts;
    const { onInvalid } = this.#invalid;
    const proxier = new FamilyProxier({ nodeName, fullSyncIntervalMs }, { backend, exec, clock, log, onInvalid });
    const healthChecks = new ServiceHealthServers({
      addresses: () => listenAddresses(backend),
      isProxyHealthy: () => this.health.healthy,
      onListenError: (key, port, message) => this.#tellListenError(key, port, message),
      onAcceptError: (key, port, cause) =>
        log.warn({ service: key, port, cause }, 'health check node port cannot accept a connection'),
    });
    const runner = new SyncRunner(
      (signal) => this.#syncFamily({ proxier, healthChecks, label }, signal),
      {
        name: `proxy-${label}`,
        minIntervalMs: minSyncPeriodMs,
        burst: BURST_SYNCS,
        retryIntervalMs: syncPeriodMs,
        maxIntervalMs: fullSyncIntervalMs,
      },
      { clock, log },
    );
    return { proxier, runner, healthChecks, label };
  }

  async #syncFamily({ proxier, healthChecks, label }: Omit<Family, 'runner'>, signal: AbortSignal): Promise<void> {
    const m = this.#metrics;
    const startMs = this.#deps.clock.monotonicMs();
    const attempt = proxier.nextSync;
    const triggerTimes = proxier.endpoints.takeTriggerTimes();
    try {
      this.#observeSync(await proxier.sync(signal), label, startMs);
      this.#failing.delete(label);
      m.lastSync.set({ ip_family: label }, this.#deps.clock.now() / 1000);
      this.#observeProgramming(triggerTimes, label);
      const { internal, external } = proxier.withoutLocalEndpoints();
      m.noLocalEndpoints.set({ traffic_policy: 'internal', ip_family: label }, internal);
      m.noLocalEndpoints.set({ traffic_policy: 'external', ip_family: label }, external);
      if (this.health.synced(label) === this.#families.length) this.#firstSync.resolve();
      if (proxier.hasLeftovers) this.#families.find((f) => f.proxier === proxier)?.runner.request(LEFTOVERS_MS);
      await healthChecks.update(proxier.healthChecks());
      await this.#removeStaleFlows(proxier, label, signal);
    } catch (err) {
      if (signal.aborted) throw err;
      this.#observeSync(attempt, label, startMs);
      m.syncFailed(this.#opts.mode, label, attempt);
      const isFirst = !this.#failing.has(label);
      this.#failing.add(label);
      // Most often somebody took away what the sync builds on, in the middle of it maybe: writing everything helps, and
      // waiting does not. What fails twice will go on failing for a while.
      // Whoever holds the lock of the tables lets go at some time, and the attempt itself has waited 5 s for that.
      if (isFirst || isLockHeld(err)) this.#families.find((f) => f.proxier === proxier)?.runner.request();
      throw err;
    } finally {
      this.#showPending();
    }
  }

  #observeSync(kind: SyncKind, label: Family['label'], startMs: number): void {
    const { syncSeconds, fullSyncSeconds, partialSyncSeconds } = this.#metrics;
    const seconds = (this.#deps.clock.monotonicMs() - startMs) / 1000;
    for (const times of [syncSeconds, kind === 'full' ? fullSyncSeconds : partialSyncSeconds]) {
      times.observe({ ip_family: label }, seconds);
    }
  }

  /** What `kubectl describe node` shows of kube-proxy: no words, and no UID of the Node. */
  #tellStart(): void {
    const about = { kind: 'Node', apiVersion: 'v1', name: this.#opts.nodeName };
    this.#deps.events.event(about as ObjectReference, 'Normal', 'Starting', '');
  }

  #tellListenError(serviceKey: string, port: number, message: string): void {
    const { events, services } = this.#deps;
    this.#log.warn({ service: serviceKey, port, cause: message }, 'health check node port cannot be opened');
    const [namespace, name] = serviceKey.split('/');
    const about = { kind: 'Service', apiVersion: 'v1', namespace, name, uid: services.get(serviceKey)?.metadata?.uid };
    const note = `node ${this.#opts.nodeName} failed to start healthcheck "${serviceKey}" on port ${port}: ${message}`;
    events.event(about as ObjectReference, 'Warning', 'FailedToStartServiceHealthcheck', note);
  }

  /** Changes from before this process are left out: they tell how long it was away. */
  #observeProgramming(triggerTimes: readonly number[], label: 'IPv4' | 'IPv6'): void {
    const nowMs = this.#deps.clock.now();
    for (const atMs of triggerTimes) {
      if (atMs < this.#startedMs) continue;
      const seconds = Math.max(0, nowMs - atMs) / 1000; // clocks of machines differ
      this.#metrics.networkProgrammingSeconds.observe({ ip_family: label }, seconds);
    }
  }

  /** The rules are in place whether this works or not: it fails no sync. */
  async #removeStaleFlows(proxier: FamilyProxier, label: 'IPv4' | 'IPv6', signal: AbortSignal): Promise<void> {
    const startMs = this.#deps.clock.monotonicMs();
    try {
      const count = await proxier.removeStaleFlows(signal);
      if (count === undefined) return;
      this.#metrics.conntrackSeconds.observe({ ip_family: label }, (this.#deps.clock.monotonicMs() - startMs) / 1000);
      this.#metrics.conntrackDeleted.inc({ ip_family: label }, count);
      if (count > 0) this.#log.info({ ipFamily: label, count }, 'UDP flows to endpoints that are gone removed');
    } catch (err) {
      if (!signal.aborted)
        this.#log.warn({ err, ipFamily: label }, 'cannot remove UDP flows to endpoints that are gone');
    }
  }

  /** Other programs flush tables (a firewall's restart, people): noticed within one sync period, as upstream does. */
  async #lookAtRules(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#deps.clock.sleep(this.#opts.syncPeriodMs, signal);
      if (signal.aborted) return;
      await this.#deps.lookAtAddresses?.();
      for (const f of this.#families) {
        try {
          if (f.proxier.noticeAddresses()) this.#request(f);
          if (!(await f.proxier.detectFlush(signal))) continue;
          this.#log.warn({ ipFamily: f.label }, 'somebody removed rules of the proxy, all are written anew');
          this.#request(f);
        } catch (err) {
          if (!signal.aborted) this.#log.warn({ err, ipFamily: f.label }, 'cannot check the rules, will retry');
        }
      }
    }
  }

  #subscribe(): Disposable {
    const { services, endpointSlices, nodes } = this.#deps;
    const stack = new DisposableStack();
    const service = (s: Service, gone: boolean) => {
      const key = objectKey(s);
      this.#metrics.serviceChanges.inc();
      for (const f of this.#families) if (f.proxier.handleService(key, gone ? undefined : s)) this.#requestFor(f, key);
      this.#invalid.tell('Service', s, gone);
      this.#showPending();
    };
    stack.use(
      services.subscribe({
        onAdd: (s) => service(s, false),
        onUpdate: (_, s) => service(s, false),
        onDelete: (s) => service(s, true),
      }),
    );
    const slice = (s: EndpointSlice, gone: boolean) => {
      this.#metrics.endpointChanges.inc();
      for (const f of this.#families) {
        const pending = gone ? f.proxier.endpoints.handleGone(s) : f.proxier.handleSlice(s);
        if (pending) this.#requestFor(f, serviceKeyOf(s));
      }
      this.#invalid.tell('EndpointSlice', s, gone);
      this.#showPending();
    };
    stack.use(
      endpointSlices.subscribe({
        onAdd: (s) => slice(s, false),
        onUpdate: (old, s) => {
          if (serviceKeyOf(old) !== serviceKeyOf(s)) slice(old, true);
          slice(s, false);
        },
        onDelete: (s) => slice(s, true),
      }),
    );
    const node = (n: Node) => {
      if (n.metadata?.name !== this.#opts.nodeName) return;
      const zone = n.metadata.labels?.[ZONE_LABEL];
      for (const f of this.#families) if (f.proxier.setZone(zone) || f.proxier.noticeAddresses()) this.#request(f);
    };
    stack.use(nodes.subscribe({ onAdd: node, onUpdate: (_, n) => node(n) }));
    return stack;
  }

  #requestFor(f: Family, serviceKey: string | undefined): void {
    this.#request(f, serviceKey !== undefined && f.proxier.isHalf(serviceKey) ? OTHER_HALF_MS : 0);
  }

  #request(f: Family, holdMs = 0): void {
    this.#metrics.lastQueued.set({ ip_family: f.label }, this.#deps.clock.now() / 1000);
    this.health.queued(f.label);
    f.runner.request(holdMs);
  }

  #showPending(): void {
    let services = 0;
    let endpoints = 0;
    for (const { proxier } of this.#families) {
      services += proxier.services.pendingCount;
      endpoints += proxier.endpoints.pendingCount;
    }
    this.#metrics.servicesPending.set(services);
    this.#metrics.endpointsPending.set(endpoints);
  }
}

/** For health checks: where node ports answer; where they answer nowhere, everywhere, as upstream has it. */
function listenAddresses({ nodePortIps = [], family }: RuleBackend): readonly string[] {
  return nodePortIps.length > 0 ? nodePortIps : [family === 4 ? '0.0.0.0' : '::'];
}

/** Another program has been at work on the tables for longer than `iptables-restore -w` waits. */
function isLockHeld(err: unknown): boolean {
  return err instanceof Error && err.message.includes('xtables lock');
}
