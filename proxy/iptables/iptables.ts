// The iptables mode for one IP family: takes changes, keeps what it believes to be in the kernel, and brings the kernel
// from one to the next state with one process per sync (two for a full one, which also reads what is there).
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { deleteUdpFlows, listUdpFlows } from '../../host/conntrack.ts';
import type { Exec } from '../../host/exec.ts';
import { applyRestore, areRulesInPlace, type IptablesFamily, saveRules } from '../../host/iptables-restore.ts';
import { EndpointChanges } from '../endpoint-changes.ts';
import { ServiceChanges } from '../service-changes.ts';
import { staleUdpFlows } from '../stale-flows.ts';
import type { NodeTopology } from '../topology.ts';
import {
  type CleanupOptions,
  type Landmark,
  landmarks,
  renderCleanup,
  renderDelta,
  renderFull,
  type ServiceChange,
} from './document.ts';
import type { RuleOptions } from './options.ts';
import { renderService, type ServiceRules } from './service-rules.ts';

/** Above so many endpoints, comments of single endpoints are left out (upstream's large-cluster mode). */
const LARGE_CLUSTER_ENDPOINTS = 1000;

export interface IptablesProxierOptions {
  readonly rules: RuleOptions;
  readonly nodeName: string;
  /** Everything is written anew after so long, ms. */
  readonly fullSyncIntervalMs: number;
}

export type SyncKind = 'full' | 'partial';

export class IptablesProxier {
  readonly services: ServiceChanges;
  readonly endpoints: EndpointChanges;
  readonly #opts: IptablesProxierOptions;
  readonly #exec: Exec;
  readonly #clock: Clock;
  #node: NodeTopology;
  /** What the kernel holds, provided that `#needFull` is false. */
  readonly #rendered = new Map<string, ServiceRules>();
  #needFull = true;
  /** Of the last full sync. */
  #landmarks: readonly Landmark[] = [];
  #lastFullMs = 0;
  #largeCluster = false;
  #udpChanged = true;

  constructor(opts: IptablesProxierOptions, deps: { exec: Exec; clock: Clock; log: Logger }) {
    this.#opts = opts;
    this.#exec = deps.exec;
    this.#clock = deps.clock;
    this.#node = { nodeName: opts.nodeName, zone: undefined };
    this.services = new ServiceChanges(opts.rules.family, deps.log);
    this.endpoints = new EndpointChanges(opts.rules.family, opts.nodeName, deps.log);
  }

  get family(): IptablesFamily {
    return this.#opts.rules.family;
  }

  handleService(key: string, service: Service | undefined): boolean {
    return this.services.handle(key, service);
  }

  handleSlice(slice: EndpointSlice): boolean {
    return this.endpoints.handle(slice);
  }

  /** True when the zone is another one: every rule may differ then, and the next sync is a full one. */
  setZone(zone: string | undefined): boolean {
    if (zone === this.#node.zone) return false;
    this.#node = { ...this.#node, zone };
    this.#needFull = true;
    return true;
  }

  /** What the next sync will be, if nothing happens meanwhile. */
  get nextSync(): SyncKind {
    return this.#needFull ? 'full' : 'partial';
  }

  /** The next sync writes everything. */
  forceFull(): void {
    this.#needFull = true;
  }

  /**
   * Looks whether somebody flushed the rules; if so, the next sync writes everything. True when it must be asked for.
   * A flush that is still going on is noticed by a later look: every table is looked at.
   * @throws {AgentError} RULES_UNREADABLE.
   */
  async detectFlush(signal: AbortSignal): Promise<boolean> {
    if (this.#needFull) return false; // nothing is known to be in place, and a sync is due anyway
    if (await areRulesInPlace(this.#exec, this.#landmarks, { family: this.family, signal })) return false;
    this.#needFull = true;
    return true;
  }

  /** @throws {AgentError} RULES_REJECTED and the like; the next sync then is a full one. */
  async sync(signal: AbortSignal): Promise<SyncKind> {
    const changed = new Set([...this.services.checkout(), ...this.endpoints.checkout()]);
    const isUdp = (key: string) => this.services.current.get(key)?.some((p) => p.protocol === 'UDP') ?? false;
    if ([...changed].some(isUdp)) this.#udpChanged = true;
    const large = this.endpoints.endpointCount > LARGE_CLUSTER_ENDPOINTS;
    if (large !== this.#largeCluster) this.#needFull = true;
    this.#largeCluster = large;
    if (this.#clock.monotonicMs() - this.#lastFullMs >= this.#opts.fullSyncIntervalMs) this.#needFull = true;
    return this.#needFull ? this.#syncAll(signal) : this.#syncChanged(changed, signal);
  }

  /**
   * After a sync: takes flows away that go on to endpoints which are gone, if anything about UDP changed since the last
   * time. Returns the number of (frontend, endpoint) pairs. @throws {AgentError}; the next call tries again.
   */
  async removeStaleFlows(signal: AbortSignal): Promise<number> {
    if (!this.#udpChanged) return 0;
    const services = this.services.current;
    const to = { family: this.family, signal };
    const anyUdp = [...services.values()].some((ports) => ports.some((p) => p.protocol === 'UDP'));
    const flows = anyUdp ? await listUdpFlows(this.#exec, to) : [];
    const stale = staleUdpFlows(flows, services, this.endpoints.current);
    for (const group of stale) await deleteUdpFlows(this.#exec, group, to);
    this.#udpChanged = false;
    return stale.length;
  }

  async #syncAll(signal: AbortSignal): Promise<SyncKind> {
    this.#needFull = true;
    const saved = await saveRules(this.#exec, { family: this.family, signal });
    this.#rendered.clear();
    for (const key of this.services.current.keys()) this.#rendered.set(key, this.#render(key)!);
    const payload = renderFull(this.#rendered.values(), this.#opts.rules, saved);
    await applyRestore(this.#exec, payload, { family: this.family, signal });
    this.#needFull = false;
    this.#landmarks = landmarks(this.#opts.rules, saved);
    this.#lastFullMs = this.#clock.monotonicMs();
    return 'full';
  }

  async #syncChanged(changed: ReadonlySet<string>, signal: AbortSignal): Promise<SyncKind> {
    const changes: ServiceChange[] = [];
    for (const key of changed) {
      const after = this.#render(key);
      changes.push({ before: this.#rendered.get(key), after });
      if (after === undefined) this.#rendered.delete(key);
      else this.#rendered.set(key, after);
    }
    // Until the kernel has confirmed, nobody knows what it holds: an abort or error here must lead to a full sync.
    this.#needFull = true;
    await applyRestore(this.#exec, renderDelta(changes), { family: this.family, signal });
    this.#needFull = false;
    return 'partial';
  }

  #render(key: string): ServiceRules | undefined {
    const ports = this.services.current.get(key);
    if (ports === undefined) return undefined;
    const endpoints = this.endpoints.current.get(key);
    return renderService(ports, (port) => endpoints?.get(port.portId) ?? [], {
      opts: this.#opts.rules,
      node: this.#node,
      endpointComments: !this.#largeCluster,
    });
  }
}

/** Removes every rule and chain of the iptables mode, of this run or an earlier one. */
export async function cleanupIptables(
  exec: Exec,
  family: IptablesFamily,
  opts: CleanupOptions,
  signal: AbortSignal,
): Promise<void> {
  const saved = await saveRules(exec, { family, signal });
  await applyRestore(exec, renderCleanup(saved, opts), { family, signal });
}
