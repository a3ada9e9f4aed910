// The iptables mode for one IP family: keeps what it believes to be in the kernel, and brings the kernel from one to the
// next state with one process per sync (a full one also reads what is there).
import { AgentError, errorMessage } from '../../core/errors.ts';
import { Turns } from '../../core/turns.ts';
import type { Exec } from '../../host/exec.ts';
import { applyRestore, areRulesInPlace, type IptablesFamily, saveRules } from '../../host/iptables-restore.ts';
import { OneAtATime } from '../one-at-a-time.ts';
import { areSameAddresses, type NodeAddresses, type RuleOptions } from '../options.ts';
import type { ClusterFacts, RuleBackend, ServicePlan, Services } from '../rule-backend.ts';
import { renderDelta, type ServiceChange, splitTopChain } from './delta.ts';
import {
  type CleanupOptions,
  fixedRules,
  jumpsFromHooks,
  type Landmark,
  landmarks,
  nodePortJumps,
  renderCleanup,
  renderFull,
  renderMangleCanary,
  type SavedRules,
} from './document.ts';
import { type KeptRules, keptOf, packRules, unpackRules } from './kept-rules.ts';
import { chainEdits, LongChains } from './long-chains.ts';
import type { PacketCounters } from './packet-counters.ts';
import { RuleCounts, writtenRules } from './rule-counts.ts';
import { type DispatchRule, renderService, type ServiceRules, TOP_CHAINS, type TopChain } from './service-rules.ts';

/** Above so many endpoints, comments of single endpoints are left out (upstream's large-cluster mode). */
const LARGE_CLUSTER_ENDPOINTS = 1000;

/**
 * iptables-nft takes time with the square of the lines in a document, and each run some 5 ms, when rules lead to Services
 * already 6 ms for each thousand of them: the kernel validates all that can be reached. 5,000 Services with 25,000
 * endpoints, iptables-nft 1.8.9: 1.3 s of CPU time in documents of 1,500 lines at first, and again over rules that are
 * there 4.6 s, in documents of 5,000 lines 2.6 s. In one document they took 15.6 s.
 */
const LINES_PER_DOCUMENT = 1_500;
const LINES_WITH_MANY_SERVICES = 5_000;
const MANY_SERVICES = 500;

/** The only ones in which a full sync looks for rules. */
const BUILT_IN_CHAINS: ReadonlySet<string> = new Set(['INPUT', 'FORWARD', 'OUTPUT', 'PREROUTING', 'POSTROUTING']);

export type IptablesVariant = 'nft' | 'legacy';

export interface IptablesDeps {
  readonly exec: Exec;
  /** Default nft. */
  readonly variant?: IptablesVariant;
  /** Asked before each sync; other addresses make it a full one. Without it those of the options hold. */
  readonly addresses?: () => NodeAddresses;
  /** Without it rules count no packets. */
  readonly packetCounters?: Pick<PacketCounters, 'ensure' | 'refuse'>;
  /** Told after each sync how many rules a table has, and how many the sync wrote. */
  readonly onWritten?: (table: 'filter' | 'nat', rules: { readonly total: number; readonly written: number }) => void;
}

export class IptablesBackend implements RuleBackend {
  #opts: RuleOptions;
  readonly #exec: Exec;
  /** What the kernel holds after a sync that went well, as `packRules` has it. */
  readonly #kept = new Map<string, string>();
  readonly #counts = new RuleCounts();
  readonly #long = new LongChains();
  readonly #deps: IptablesDeps;
  /** Of the last full sync. */
  #landmarks: readonly Landmark[] = [];
  #largeCluster = false;

  constructor(opts: RuleOptions, deps: IptablesDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#exec = deps.exec;
  }

  get family(): IptablesFamily {
    return this.#opts.family;
  }

  get nodePortIps(): readonly string[] | undefined {
    return this.#opts.nodePortIps;
  }

  isOutdated({ endpointCount }: ClusterFacts): boolean {
    return endpointCount > LARGE_CLUSTER_ENDPOINTS !== this.#largeCluster || this.hasNewAddresses();
  }

  hasNewAddresses(): boolean {
    return !areSameAddresses(this.#deps.addresses?.() ?? this.#opts, this.#opts);
  }

  async writeAll(services: Services, { endpointCount }: ClusterFacts, signal: AbortSignal): Promise<void> {
    this.#largeCluster = endpointCount > LARGE_CLUSTER_ENDPOINTS;
    const packetCounters = (await this.#deps.packetCounters?.ensure(signal)) ?? new Set();
    this.#opts = { ...this.#opts, ...this.#deps.addresses?.(), packetCounters };
    const to = { family: this.family, signal };
    const saved = await saveRules(this.#exec, { ...to, rulesOf: BUILT_IN_CHAINS, jumps: jumpsFromHooks() });
    this.#kept.clear();
    this.#counts.clear();
    this.#long.clear();
    const documents = renderFull(this.#renderAll(services), {
      opts: this.#opts,
      saved,
      dispatch: () => this.#dispatch(),
      linesPerDocument: this.#linesPerDocument(countServices(saved)),
    });
    try {
      await this.#apply(documents, signal);
    } catch (err) {
      if (packetCounters.size > 0 && isAboutCounters(err)) this.#deps.packetCounters?.refuse();
      throw err;
    }
    this.#landmarks = landmarks(this.#opts, saved);
    // Nothing of ours depends on it, and a kernel without table mangle refuses it each time.
    await applyRestore(this.#exec, renderMangleCanary(saved), to).catch(() => {});
  }

  async writeChanges(changed: ReadonlyMap<string, ServicePlan | undefined>, signal: AbortSignal): Promise<void> {
    const changes: ServiceChange[] = [];
    const turns = new Turns();
    for (const [key, plan] of changed) {
      if (turns.isDue) await turns.next();
      const kept = this.#kept.get(key);
      const before = kept === undefined ? undefined : unpackRules(kept);
      const after = plan === undefined ? undefined : this.#render(plan);
      const edits = this.#edits(after);
      if (before !== undefined) this.#counts.remove(before);
      if (after === undefined) this.#kept.delete(key);
      changes.push({ before, after: after && { ...after, kept: this.#keep(key, after) }, edits });
      this.#rememberLong(before, after);
    }
    const documents = renderDelta(changes, {
      dispatch: () => this.#dispatch(),
      tail: nodePortJumps(this.#opts),
      linesPerDocument: this.#linesPerDocument(this.#kept.size),
    });
    await this.#apply(documents, signal);
  }

  /**
   * One process. Rules that lead to Services are counted: kube-proxy writes them all anew with each change, so that one
   * which somebody deleted would be back sooner than with us.
   */
  async isInPlace(signal: AbortSignal): Promise<boolean> {
    const jumps = nodePortJumps(this.#opts).length;
    const tables = this.#landmarks.map((landmark) => {
      const own = TOP_CHAINS.map(splitTopChain).filter(([table]) => table === landmark.table);
      const counts = own.map(([table, chain]) => {
        const isLast = `${table}/${chain}` === 'nat/KUBE-SERVICES';
        return [chain, this.#counts.in(`${table}/${chain}` as TopChain) + (isLast ? jumps : 0)] as const;
      });
      return { ...landmark, counts: new Map(counts) };
    });
    return areRulesInPlace(this.#exec, tables, { family: this.family, signal });
  }

  /** Legacy iptables reads and writes the whole table in every run, so there one document is best. */
  #linesPerDocument(servicesInKernel: number): number {
    if (this.#deps.variant === 'legacy') return Number.POSITIVE_INFINITY;
    return servicesInKernel > MANY_SERVICES ? LINES_WITH_MANY_SERVICES : LINES_PER_DOCUMENT;
  }

  /** One after the other; the next document is made while the tool works on one. */
  async #apply(documents: Iterable<string> | AsyncIterable<string>, signal: AbortSignal): Promise<void> {
    const runs = new OneAtATime();
    const written = { filter: 0, nat: 0 };
    try {
      for await (const document of documents) {
        const { filter, nat } = writtenRules(document);
        written.filter += filter;
        written.nat += nat;
        await runs.start(() => applyRestore(this.#exec, document, { family: this.family, signal }));
      }
    } finally {
      await runs.end();
    }
    const fixed = fixedRules(this.#opts);
    for (const table of ['filter', 'nat'] as const) {
      this.#deps.onWritten?.(table, { total: this.#counts.total(table) + fixed[table], written: written[table] });
    }
  }

  #keep(key: string, rules: ServiceRules): KeptRules {
    const kept = keptOf(rules);
    this.#kept.set(key, packRules(kept));
    this.#counts.add(kept);
    return kept;
  }

  *#renderAll(services: Services): Generator<ServiceRules> {
    for (const [key, plan] of services) {
      const rules = this.#render(plan);
      this.#keep(key, rules);
      this.#rememberLong(undefined, rules);
      yield rules;
    }
  }

  *#dispatch(): Generator<DispatchRule> {
    for (const kept of this.#kept.values()) yield* unpackRules(kept).dispatch;
  }

  #render(plan: ServicePlan): ServiceRules {
    const longChain = (chain: string) => this.#long.get(chain);
    return renderService(plan, { opts: this.#opts, endpointComments: !this.#largeCluster, longChain });
  }

  #edits(after: ServiceRules | undefined): ReadonlyMap<string, readonly string[]> {
    const edits = new Map<string, readonly string[]>();
    for (const [chain, rules] of after?.chains ?? []) {
      const before = this.#long.get(chain);
      const commands = before === undefined ? undefined : chainEdits(chain, before, rules);
      if (commands !== undefined) edits.set(chain, commands);
    }
    return edits;
  }

  /** Legacy iptables writes the whole table in any case: nothing would be won. */
  #rememberLong(before: KeptRules | undefined, after: ServiceRules | undefined): void {
    if (this.#deps.variant !== 'legacy') this.#long.replace(before?.chains.keys() ?? [], after?.chains);
  }
}

/** The kernel or the tool would not take a rule that feeds a counter. */
function isAboutCounters(err: unknown): boolean {
  return err instanceof AgentError && `${err.message} ${err.details?.rule ?? ''}`.includes('nfacct');
}

function countServices(saved: SavedRules): number {
  let count = 0;
  for (const chain of saved.get('nat')?.chains ?? []) if (chain.startsWith('KUBE-SVC-')) count++;
  return count;
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
  const saved = await saveRules(exec, { family, signal, jumps: jumpsFromHooks() });
  for (const document of renderCleanup(saved, opts, LINES_PER_DOCUMENT)) {
    await applyRestore(exec, document, { family, signal });
  }
}
