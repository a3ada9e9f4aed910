// One IP family of the proxy: takes changes of Services and endpoints, keeps what they need, and has a backend bring the
// kernel from one state to the next.
import type { EndpointSlice, Service } from '../api/kinds.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { deleteUdpFlows, listUdpFlows } from '../host/conntrack.ts';
import type { Exec } from '../host/exec.ts';
import { EndpointChanges } from './endpoint-changes.ts';
import type { OnInvalid } from './invalid-input.ts';
import { planPort } from './port-plan.ts';
import type { RuleBackend, ServicePlan, Services } from './rule-backend.ts';
import { ServiceChanges } from './service-changes.ts';
import { hasHealthCheck, type ServiceHealth, serviceHealthOf } from './service-health.ts';
import { staleUdpFlows } from './stale-flows.ts';
import type { NodeTopology } from './topology.ts';

export interface FamilyProxierOptions {
  readonly nodeName: string;
  /** Everything is written anew after so long, ms. */
  readonly fullSyncIntervalMs: number;
}

export interface FamilyProxierDeps {
  readonly backend: RuleBackend;
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of what Services and slices hold that is not served; without it, that is logged. */
  readonly onInvalid?: OnInvalid;
}

/** Longer writes are told, ms: whoever asks why a Service's change came late finds the Service that it waited for. */
const SLOW_WRITE_MS = 5_000;

export type SyncKind = 'full' | 'partial';

export class FamilyProxier {
  readonly services: ServiceChanges;
  readonly endpoints: EndpointChanges;
  readonly #opts: FamilyProxierOptions;
  readonly #backend: RuleBackend;
  readonly #exec: Exec;
  readonly #clock: Clock;
  readonly #log: Logger;
  #node: NodeTopology;
  #needFull = true;
  /** How many were begun. */
  #syncs = 0;
  /** A full sync was asked for since the running one began. */
  #askedMeanwhile = false;
  #lastFullMs = 0;
  #udpChanged = true;
  /** What health check node ports should tell, by Service key. */
  readonly #healthChecks = new Map<string, ServiceHealth>();
  /** Services with ports whose Local policy finds no endpoint here, although there are some elsewhere. */
  readonly #withoutLocal = new Map<string, { readonly internal: number; readonly external: number }>();

  constructor(opts: FamilyProxierOptions, deps: FamilyProxierDeps) {
    this.#opts = opts;
    this.#backend = deps.backend;
    this.#exec = deps.exec;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#node = { nodeName: opts.nodeName, zone: undefined };
    this.services = new ServiceChanges(this.family, deps.log, deps.onInvalid);
    this.endpoints = new EndpointChanges(this.family, opts.nodeName, deps.log, deps.onInvalid);
  }

  get family(): 4 | 6 {
    return this.#backend.family;
  }

  handleService(key: string, service: Service | undefined): boolean {
    return this.services.handle(key, service);
  }

  handleSlice(slice: EndpointSlice): boolean {
    return this.endpoints.handle(slice);
  }

  /**
   * A Service without slices, or slices without their Service: it has just come or gone, and the other half is about to
   * follow. A sync for each would write the rules of a Service that nobody answers first.
   */
  isHalf(key: string): boolean {
    return this.services.has(key) !== this.endpoints.has(key);
  }

  /** True when the zone is another one: every rule may differ then, and the next sync is a full one. */
  setZone(zone: string | undefined): boolean {
    if (zone === this.#node.zone) return false;
    this.#node = { ...this.#node, zone };
    this.forceFull();
    return true;
  }

  /** True when the node has other addresses than the rules know: the next sync then is a full one, and must be asked for. */
  noticeAddresses(): boolean {
    if (this.#needFull || !(this.#backend.hasNewAddresses?.() ?? false)) return false;
    this.forceFull();
    return true;
  }

  /** What the next sync will be, if nothing happens meanwhile. */
  get nextSync(): SyncKind {
    return this.#needFull ? 'full' : 'partial';
  }

  /** The last sync left something that a further one clears away. */
  get hasLeftovers(): boolean {
    return this.#backend.hasLeftovers ?? false;
  }

  /** The next sync writes everything. */
  forceFull(): void {
    this.#needFull = true;
    this.#askedMeanwhile = true;
  }

  /**
   * Looks whether somebody flushed the rules; if so, the next sync writes everything. True when it must be asked for.
   * A flush that is still going on is noticed by a later look: every table is looked at.
   * @throws {AgentError} RULES_UNREADABLE.
   */
  async detectFlush(signal: AbortSignal): Promise<boolean> {
    if (this.#needFull) return false; // nothing is known to be in place, and a sync is due anyway
    const syncs = this.#syncs;
    if (await this.#backend.isInPlace(signal)) return false;
    if (this.#needFull || this.#syncs !== syncs) return false; // a sync changed what was looked at
    this.#needFull = true;
    return true;
  }

  /** @throws {AgentError} RULES_REJECTED and the like; the next sync then is a full one. */
  async sync(signal: AbortSignal): Promise<SyncKind> {
    const changed = new Set([...this.services.checkout(), ...this.endpoints.checkout()]);
    for (const key of changed) this.#updateHealthCheck(key);
    const isUdp = (key: string) => this.services.current.get(key)?.some((p) => p.protocol === 'UDP') ?? false;
    if ([...changed].some(isUdp)) this.#udpChanged = true;
    const facts = { endpointCount: this.endpoints.endpointCount };
    if (this.#backend.isOutdated?.(facts)) this.#needFull = true;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#lastFullMs >= this.#opts.fullSyncIntervalMs) this.#needFull = true;
    const full = this.#needFull;
    // Until the kernel has confirmed, nobody knows what it holds: an abort or error here must lead to a full sync.
    this.#needFull = true;
    this.#askedMeanwhile = false;
    this.#syncs++;
    if (full) {
      await this.#backend.writeAll(this.#plans(), facts, signal);
      this.#lastFullMs = nowMs;
    } else {
      await this.#backend.writeChanges(this.#changes(changed), signal);
    }
    this.#needFull = this.#askedMeanwhile;
    const kind = full ? 'full' : 'partial';
    const tookMs = this.#clock.monotonicMs() - nowMs;
    if (tookMs >= SLOW_WRITE_MS) this.#tellSlow(kind, changed, tookMs);
    return kind;
  }

  #tellSlow(sync: SyncKind, changed: ReadonlySet<string>, tookMs: number): void {
    const sizes = [...changed].map((service) => {
      const ports = [...(this.endpoints.current.get(service)?.values() ?? [])];
      return { service, endpoints: ports.reduce((sum, list) => sum + list.length, 0) };
    });
    const largest = sizes.toSorted((a, b) => b.endpoints - a.endpoints)[0];
    const facts = { sync, tookMs, services: changed.size, largest };
    this.#log.warn(facts, 'the rules took long to write: changes that came meanwhile have waited');
  }

  /**
   * After a sync: takes flows away that go on to endpoints which are gone, if anything about UDP changed since the last
   * time. How many; undefined when there was no reason to look. @throws {AgentError}; the next call tries again.
   */
  async removeStaleFlows(signal: AbortSignal): Promise<number | undefined> {
    if (!this.#udpChanged) return undefined;
    const services = this.services.current;
    const to = { family: this.family, signal };
    const anyUdp = [...services.values()].some((ports) => ports.some((p) => p.protocol === 'UDP'));
    const flows = anyUdp ? await listUdpFlows(this.#exec, to) : [];
    const stale = staleUdpFlows(flows, services, this.endpoints.current);
    let deleted = 0;
    for (const group of stale) deleted += await deleteUdpFlows(this.#exec, group, to);
    this.#udpChanged = false;
    return deleted;
  }

  /** Service ports with endpoints, but none on this node, which their Local policy asks for. */
  withoutLocalEndpoints(): { readonly internal: number; readonly external: number } {
    let [internal, external] = [0, 0];
    for (const counts of this.#withoutLocal.values()) {
      internal += counts.internal;
      external += counts.external;
    }
    return { internal, external };
  }

  /** What health check node ports should tell, by Service key; as of the last sync that was begun. */
  healthChecks(): ReadonlyMap<string, ServiceHealth> {
    return this.#healthChecks;
  }

  #updateHealthCheck(key: string): void {
    const ports = this.services.current.get(key) ?? [];
    const check = hasHealthCheck(ports) ? serviceHealthOf(ports, this.endpoints.current.get(key)) : undefined;
    if (check === undefined) this.#healthChecks.delete(key);
    else this.#healthChecks.set(key, check);
  }

  /** Nothing changes in what they are made of while a sync runs: that waits for the next one. */
  *#plans(): Services {
    for (const key of this.services.current.keys()) {
      const plan = this.#plan(key);
      if (plan !== undefined) yield [key, plan];
    }
  }

  #changes(keys: Iterable<string>): Map<string, ServicePlan | undefined> {
    return new Map([...keys].map((key) => [key, this.#plan(key)]));
  }

  #plan(key: string): ServicePlan | undefined {
    const ports = this.services.current.get(key);
    this.#withoutLocal.delete(key);
    if (ports === undefined) return undefined;
    const endpoints = this.endpoints.current.get(key);
    const plan = ports.map((port) => planPort(port, endpoints?.get(port.portId) ?? [], this.#node));
    const internal = plan.filter((p) => p.internalBlocked === 'none-local').length;
    const external = plan.filter((p) => p.externalBlocked === 'none-local').length;
    if (internal + external > 0) this.#withoutLocal.set(key, { internal, external });
    return plan;
  }
}
