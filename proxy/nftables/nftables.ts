// The nftables mode for one IP family: a table of its own, changed by one transaction per sync whose size follows the
// change. What the kernel holds is kept in mind here; a full sync writes all of it, whatever is there.

import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Exec } from '../../host/exec.ts';
import { applyNft, checkNft, listNft } from '../../host/nft.ts';
import type { ClusterFacts, RuleBackend, ServicePlan } from '../rule-backend.ts';
import { Elements } from './elements.ts';
import { isAffinitySet, isServiceChain } from './names.ts';
import { type NftService, renderService } from './service-rules.ts';
import { familyName, type NftOptions, renderTable, TABLE } from './table.ts';
import { NOTHING, Transaction } from './transaction.ts';

/** An emptied chain may be deleted after this, ms. */
const CHAIN_REST_MS = 1_000;

export class NftablesBackend implements RuleBackend {
  readonly #opts: NftOptions;
  readonly #exec: Exec;
  readonly #clock: Clock;
  /** What the kernel holds after a sync that went well. */
  readonly #rendered = new Map<string, NftService>();
  readonly #elements = new Elements();
  /** Chains that nothing leads to, with the monotonic ms at which they were emptied. */
  readonly #resting = new Map<string, number>();
  #isFirst = true;

  constructor(opts: NftOptions, deps: { readonly exec: Exec; readonly clock: Clock }) {
    this.#opts = opts;
    this.#exec = deps.exec;
    this.#clock = deps.clock;
  }

  get family(): 4 | 6 {
    return this.#opts.family;
  }

  get hasLeftovers(): boolean {
    return this.#resting.size > 0;
  }

  async writeAll(services: ReadonlyMap<string, ServicePlan>, _facts: ClusterFacts, signal: AbortSignal): Promise<void> {
    const old = await this.#readNames(signal);
    this.#rendered.clear();
    this.#elements.clear();
    this.#resting.clear();
    const transaction = new Transaction(this.#opts, renderTable(this.#opts, this.#isFirst));
    for (const [key, plan] of services) this.#rendered.set(key, renderService(plan, this.#opts));
    const used = new Set<string>();
    for (const service of this.#rendered.values()) {
      for (const name of [...service.chains.keys(), ...service.affinitySets.keys()]) used.add(name);
      this.#write(transaction, NOTHING, service, old.sets);
    }
    for (const name of old.chains) if (!used.has(name)) this.#retire(transaction, name);
    for (const name of old.sets.keys()) if (!used.has(name)) transaction.deleteSet(name);
    const changes = [...this.#rendered].map(([owner, { elements }]) => ({ owner, before: [], after: elements }));
    transaction.changeElements([], this.#elements.update(changes).added);
    await applyNft(this.#exec, transaction.render(), { signal });
    this.#isFirst = false;
  }

  async writeChanges(changed: ReadonlyMap<string, ServicePlan | undefined>, signal: AbortSignal): Promise<void> {
    const transaction = new Transaction(this.#opts);
    const nowMs = this.#clock.monotonicMs();
    const rested = [...this.#resting].filter(([, sinceMs]) => nowMs - sinceMs >= CHAIN_REST_MS).map(([name]) => name);
    const changes = [...changed].map(([owner, plan]) => ({
      owner,
      before: this.#rendered.get(owner) ?? NOTHING,
      after: plan === undefined ? NOTHING : renderService(plan, this.#opts),
    }));
    for (const { owner, before, after } of changes) {
      this.#write(transaction, before, after, NO_SETS);
      if (after === NOTHING) this.#rendered.delete(owner);
      else this.#rendered.set(owner, after);
    }
    for (const { before, after } of changes) this.#retireUnused(transaction, before, after);
    const { removed, added } = this.#elements.update(
      changes.map(({ owner, before, after }) => ({ owner, before: before.elements, after: after.elements })),
    );
    transaction.changeElements(removed, added);
    for (const name of rested) {
      if (this.#resting.delete(name)) transaction.deleteChain(name); // unless it is in use again
    }
    await applyNft(this.#exec, transaction.render(), { signal });
  }

  async isInPlace(signal: AbortSignal): Promise<boolean> {
    const family = familyName(this.#opts);
    // Both ends of the way to a Service; who deletes a single map or chain of a table that says whose it is means it.
    for (const chain of ['nat-prerouting', 'services']) {
      const text = await listNft(this.#exec, ['list', 'chain', family, TABLE, chain], { signal });
      if (text === undefined || !/jump services|@service-ips/.test(text)) return false;
    }
    return true;
  }

  /** Chains and sets of `after` that differ. `there`: sets in the kernel, from this process or an earlier one. */
  #write(transaction: Transaction, before: NftService, after: NftService, there: ReadonlyMap<string, number>): void {
    const address = this.family === 6 ? 'ipv6_addr' : 'ipv4_addr';
    let hasRenewed = false;
    for (const [name, seconds] of after.affinitySets) {
      const present = before.affinitySets.get(name) ?? there.get(name);
      if (present === seconds) continue; // it goes on remembering
      if (present === undefined) transaction.addAffinitySet(name, seconds, address);
      else {
        transaction.renewAffinitySet(name, seconds, address);
        hasRenewed = true; // chains that use it must let go of it first
      }
    }
    for (const [name, rules] of after.chains) {
      this.#resting.delete(name);
      if (hasRenewed || !sameRules(before.chains.get(name), rules)) transaction.writeChain(name, rules);
    }
  }

  #retireUnused(transaction: Transaction, before: NftService, after: NftService): void {
    for (const name of before.chains.keys()) if (!after.chains.has(name)) this.#retire(transaction, name);
    for (const name of before.affinitySets.keys()) if (!after.affinitySets.has(name)) transaction.deleteSet(name);
  }

  #retire(transaction: Transaction, chain: string): void {
    transaction.flushChain(chain);
    this.#resting.set(chain, this.#clock.monotonicMs());
  }

  /** Per-Service chains and sets that are in the kernel, from this process or an earlier one. */
  async #readNames(signal: AbortSignal): Promise<{ chains: string[]; sets: ReadonlyMap<string, number> }> {
    const family = familyName(this.#opts);
    const [chains, sets] = await Promise.all(
      ['chains', 'sets'].map((what) => listNft(this.#exec, ['list', what, family], { signal })),
    );
    return {
      chains: [...parseListing(chains, 'chain').keys()].filter(isServiceChain),
      sets: new Map([...parseListing(sets, 'set')].filter(([name]) => isAffinitySet(name))),
    };
  }
}

/** Names in our table, and timeouts in seconds (0 for none), of what `nft list chains` or `list sets` prints. Pure. */
export function parseListing(listing: string | undefined, kind: 'chain' | 'set'): Map<string, number> {
  const found = new Map<string, number>();
  const head = new RegExp(`^\\t${kind} (\\S+) \\{`);
  let isOurs = false;
  let name = '';
  for (const line of (listing ?? '').split('\n')) {
    const table = /^table \S+ (\S+) \{/.exec(line)?.[1];
    if (table !== undefined) isOurs = table === TABLE;
    name = head.exec(line)?.[1] ?? name;
    if (!isOurs || name === '') continue;
    const timeout = /^\t\ttimeout (\S+)/.exec(line)?.[1];
    if (timeout !== undefined) found.set(name, durationSeconds(timeout));
    else if (!found.has(name)) found.set(name, 0);
  }
  return found;
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { d: 86_400, h: 3_600, m: 60, s: 1, ms: 0.001 };

/** `2d3h4m5s` as nft prints it. */
function durationSeconds(text: string): number {
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[dhms])/g)) seconds += Number(count) * UNIT_SECONDS[unit!]!;
  return seconds;
}

const NO_SETS: ReadonlyMap<string, number> = new Map();

function sameRules(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a !== undefined && a.length === b.length && a.every((rule, i) => rule === b[i]);
}

/**
 * Looks whether this host can do the nftables mode, and whether it takes comments on tables, chains and sets.
 * @throws {AgentError} NFTABLES_UNSUPPORTED with what is missing.
 */
export async function probeNftables(exec: Exec, signal: AbortSignal): Promise<{ readonly hasObjectComments: boolean }> {
  const version = await exec('nft', ['--version'], { signal }).catch(() => undefined);
  const hint = 'install nftables 1.0.1 or later, or use --proxy-mode=iptables';
  if (version === undefined || version.code !== 0) {
    throw new AgentError('the nftables mode needs the program nft', { code: 'NFTABLES_UNSUPPORTED', hint });
  }
  if (/ v(0\.|1\.0\.0\b)/.test(version.stdout)) {
    throw new AgentError(`the nftables mode needs nft 1.0.1 or later, this is ${version.stdout.trim()}`, {
      code: 'NFTABLES_UNSUPPORTED',
      hint,
    });
  }
  const probe = (comment: string) => checkNft(exec, `add table ip ${TABLE} {${comment} }\n`, { signal });
  if ((await probe(' comment "rules for kube-proxy" ;')) === undefined) return { hasObjectComments: true };
  const refusal = await probe('');
  if (refusal === undefined) return { hasObjectComments: false };
  throw new AgentError(`the kernel does not take nftables rules: ${refusal}`, { code: 'NFTABLES_UNSUPPORTED', hint });
}

/** Removes the tables of both families, of this run or an earlier one. @throws {AgentError} RULES_REJECTED. */
export async function cleanupNftables(exec: Exec, signal: AbortSignal): Promise<void> {
  for (const family of ['ip', 'ip6']) {
    // Made first, so that a table that is not there is no error.
    await applyNft(exec, `add table ${family} ${TABLE}\ndelete table ${family} ${TABLE}\n`, { signal });
  }
}
