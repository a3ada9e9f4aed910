// The iptables mode for one IP family: keeps what it believes to be in the kernel, and brings the kernel from one to the
// next state with one process per sync (a full one also reads what is there).
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Exec } from '../../host/exec.ts';
import { applyRestore, areRulesInPlace, type IptablesFamily, saveRules } from '../../host/iptables-restore.ts';
import type { RuleOptions } from '../options.ts';
import type { ClusterFacts, RuleBackend, ServicePlan } from '../rule-backend.ts';
import {
  type CleanupOptions,
  type Landmark,
  landmarks,
  renderCleanup,
  renderDelta,
  renderFull,
  type ServiceChange,
} from './document.ts';
import { renderService, type ServiceRules } from './service-rules.ts';

/** Above so many endpoints, comments of single endpoints are left out (upstream's large-cluster mode). */
const LARGE_CLUSTER_ENDPOINTS = 1000;

/**
 * 5,000 Services with 25,000 endpoints, iptables-nft 1.8.9: 15.6 s in one document, 2.2 s in documents of 250 Services.
 * Legacy iptables reads and writes the whole table in every run, so there one document is best.
 */
const SERVICES_PER_DOCUMENT = 250;

export type IptablesVariant = 'nft' | 'legacy';

export class IptablesBackend implements RuleBackend {
  readonly #opts: RuleOptions;
  readonly #exec: Exec;
  readonly #servicesPerDocument: number;
  /** What the kernel holds after a sync that went well. */
  readonly #rendered = new Map<string, ServiceRules>();
  /** Of the last full sync. */
  #landmarks: readonly Landmark[] = [];
  #largeCluster = false;

  constructor(opts: RuleOptions, deps: { readonly exec: Exec; readonly variant?: IptablesVariant }) {
    this.#opts = opts;
    this.#exec = deps.exec;
    this.#servicesPerDocument = deps.variant === 'legacy' ? Number.POSITIVE_INFINITY : SERVICES_PER_DOCUMENT;
  }

  get family(): IptablesFamily {
    return this.#opts.family;
  }

  isOutdated({ endpointCount }: ClusterFacts): boolean {
    return endpointCount > LARGE_CLUSTER_ENDPOINTS !== this.#largeCluster;
  }

  async writeAll(
    services: ReadonlyMap<string, ServicePlan>,
    { endpointCount }: ClusterFacts,
    signal: AbortSignal,
  ): Promise<void> {
    this.#largeCluster = endpointCount > LARGE_CLUSTER_ENDPOINTS;
    const saved = await saveRules(this.#exec, { family: this.family, signal });
    this.#rendered.clear();
    for (const [key, plan] of services) this.#rendered.set(key, this.#render(plan));
    const all = [...this.#rendered.values()];
    for (const document of renderFull(all, this.#opts, saved, this.#servicesPerDocument)) {
      await applyRestore(this.#exec, document, { family: this.family, signal });
    }
    this.#landmarks = landmarks(this.#opts, saved);
  }

  async writeChanges(changed: ReadonlyMap<string, ServicePlan | undefined>, signal: AbortSignal): Promise<void> {
    const changes: ServiceChange[] = [];
    for (const [key, plan] of changed) {
      const after = plan === undefined ? undefined : this.#render(plan);
      changes.push({ before: this.#rendered.get(key), after });
      if (after === undefined) this.#rendered.delete(key);
      else this.#rendered.set(key, after);
    }
    await applyRestore(this.#exec, renderDelta(changes), { family: this.family, signal });
  }

  async isInPlace(signal: AbortSignal): Promise<boolean> {
    return areRulesInPlace(this.#exec, this.#landmarks, { family: this.family, signal });
  }

  #render(plan: ServicePlan): ServiceRules {
    return renderService(plan, { opts: this.#opts, endpointComments: !this.#largeCluster });
  }
}

/** Which of the two programs answers to `iptables` here. @throws {AgentError} IPTABLES_MISSING. */
export async function iptablesVariant(exec: Exec, signal: AbortSignal): Promise<IptablesVariant> {
  const r = await exec('iptables', ['--version'], { signal }).catch((cause: unknown) => errorMessage(cause));
  if (typeof r !== 'string' && r.code === 0) return r.stdout.includes('nf_tables') ? 'nft' : 'legacy';
  throw new AgentError(`iptables cannot be run: ${typeof r === 'string' ? r : r.stderr.trim()}`, {
    code: 'IPTABLES_MISSING',
    hint: 'install iptables, or use --proxy-mode=nftables',
  });
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
