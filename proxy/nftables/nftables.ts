// The nftables mode for one IP family: a table of its own, changed by one transaction per sync whose size follows the
// change. What the kernel holds is kept in mind here; a full sync reads it anew and writes what differs, be the table
// there or not, whoever had a hand in it.
import { cidrContains, parseCidr, parseIp } from '../../api/cidr.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import { Turns } from '../../core/turns.ts';
import type { Exec } from '../../host/exec.ts';
import { applyNft, checkNft } from '../../host/nft.ts';
import { canonicalCidr } from '../address.ts';
import { fingerprint } from '../fingerprint.ts';
import { OneAtATime } from '../one-at-a-time.ts';
import { areSameAddresses, type NodeAddresses } from '../options.ts';
import type { ClusterFacts, RuleBackend, ServicePlan, Services } from '../rule-backend.ts';
import { Elements } from './elements.ts';
import { type KeptService, NOTHING_KEPT, packService, unpackService } from './kept-service.ts';
import { canonicalRule } from './listing.ts';
import { readTable, type TableState } from './read-table.ts';
import { type Element, type NftService, renderService } from './service-rules.ts';
import { type NftOptions, renderServiceCidrs, renderTable, TABLE } from './table.ts';
import { NOTHING, Transaction } from './transaction.ts';
import { judgeRefusal, renderWholeChecks } from './whole-check.ts';

/** An emptied chain may be deleted after this, ms. */
const CHAIN_REST_MS = 1_000;

/**
 * More Services than this are written in several transactions. The kernel walks the whole transaction for each anonymous
 * map in it: 5,000 Services took 2.3 s of CPU time in one, 1.4 s in ten; the tool reads the ruleset again for each one.
 */
const SERVICES_PER_TRANSACTION = 500;

/** After so many full syncs in a row in which the fixed part was refused, the table is made from nothing. */
const REFUSALS_BEFORE_REBUILD = 2;

/** With 5,000 Services, all have been looked at after ten looks; that many more cost 2 ms. */
const ELEMENTS_PER_LOOK = 1_000;

export interface NftablesDeps {
  readonly exec: Exec;
  readonly clock: Clock;
  /** Asked before each sync; other addresses make it a full one. Without it those of the options hold. */
  readonly addresses?: () => NodeAddresses;
  /** Chains that nothing leads to could not be deleted. */
  readonly onCleanupFailure?: () => void;
}

/** A Service as it is to be, with what is known to be there of it. */
interface ServiceWrite {
  readonly after: NftService;
  readonly isThere: (chain: string, rules: readonly string[]) => boolean;
  /** Timeouts in seconds by set. */
  readonly affinitySets: ReadonlyMap<string, number>;
}

export class NftablesBackend implements RuleBackend {
  #opts: NftOptions;
  readonly #deps: NftablesDeps;
  readonly #exec: Exec;
  readonly #clock: Clock;
  /** What the kernel holds after a sync that went well, as `packService` has it. */
  readonly #kept = new Map<string, string>();
  readonly #elements = new Elements((owner) => this.#keptOf(owner).elements);
  /** Chains that nothing leads to, with the monotonic ms at which they were emptied. */
  readonly #resting = new Map<string, number>();
  #isFirst = true;
  #hasUncleared = false;
  #hasNewCidrs = false;
  #refusals = 0;
  /** Number of the element with which the next look begins. */
  #nextElement = 0;

  constructor(opts: NftOptions, deps: NftablesDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#exec = deps.exec;
    this.#clock = deps.clock;
  }

  get family(): 4 | 6 {
    return this.#opts.family;
  }

  get nodePortIps(): readonly string[] | undefined {
    return this.#opts.nodePortIps;
  }

  get hasLeftovers(): boolean {
    return this.#resting.size > 0;
  }

  /**
   * Ranges of cluster IPs, of any family; in those of ours, addresses without a Service are dropped. Takes effect with
   * the next sync. Overlapping ranges stand once.
   */
  setServiceCidrs(texts: readonly string[]): void {
    const cidrs = texts.map((text) => canonicalCidr(text, this.family)).filter((cidr) => cidr !== undefined);
    const serviceCidrs = withoutNested([...new Set(cidrs)].sort());
    if (serviceCidrs.join() === this.#opts.serviceCidrs.join()) return;
    this.#opts = { ...this.#opts, serviceCidrs };
    this.#hasNewCidrs = true;
  }

  isOutdated(): boolean {
    return this.#hasUncleared || this.hasNewAddresses();
  }

  hasNewAddresses(): boolean {
    return !areSameAddresses(this.#deps.addresses?.() ?? this.#opts, this.#opts);
  }

  async writeAll(services: Services, _facts: ClusterFacts, signal: AbortSignal): Promise<void> {
    const { nodePortIps, nodeIps } = this.#deps.addresses?.() ?? this.#opts;
    this.#opts = { ...this.#opts, nodePortIps, nodeIps };
    this.#kept.clear();
    this.#elements.clear();
    this.#resting.clear();
    const there = await this.#writeFrame(signal);
    const used = new Set<string>();
    const transaction = await this.#writeServices(this.#asListed(services, there, used), signal);
    for (const name of there.chains.keys()) if (!used.has(name)) this.#retire(transaction, name);
    for (const name of there.affinitySets.keys()) if (!used.has(name)) transaction.deleteSet(name);
    const { removed, added } = await differenceOf(there, this.#elements.all());
    transaction.changeElements(removed, added);
    await applyNft(this.#exec, transaction.render(), { signal });
    this.#isFirst = false;
    this.#hasUncleared = !there.isWhole;
  }

  async writeChanges(changed: ReadonlyMap<string, ServicePlan | undefined>, signal: AbortSignal): Promise<void> {
    await this.#deleteRested(signal);
    const changes = [...changed].map(([owner, plan]) => ({
      owner,
      before: this.#keptOf(owner),
      after: plan === undefined ? NOTHING : renderService(plan, this.#opts),
    }));
    for (const { owner, after } of changes) {
      if (after === NOTHING) this.#kept.delete(owner);
      else this.#kept.set(owner, packService(after));
    }
    const head = this.#hasNewCidrs ? renderServiceCidrs(this.#opts) : [];
    this.#hasNewCidrs = false;
    const transaction = await this.#writeServices(changes.map(asRemembered), signal, head);
    for (const { before, after } of changes) this.#retireUnused(transaction, before, after);
    const { removed, added } = this.#elements.update(
      changes.map(({ owner, before, after }) => ({ owner, before: before.elements, after: after.elements })),
    );
    transaction.changeElements(removed, added);
    await applyNft(this.#exec, transaction.render(), { signal });
  }

  /**
   * Two processes, of 25 ms each with 5,000 Services. Of the elements, each call looks at some; who empties a chain of a
   * single Service is found out by the next full sync.
   */
  async isInPlace(signal: AbortSignal): Promise<boolean> {
    for (const check of renderWholeChecks(this.#opts, this.#someElements())) {
      const refusal = await checkNft(this.#exec, check.document, { signal });
      const verdict = judgeRefusal(refusal, check);
      if (verdict === 'broken') return false;
      if (verdict === 'unclear') {
        throw new AgentError(`nft cannot check the table ${TABLE}: ${refusal}`, {
          code: 'RULES_UNREADABLE',
          retryable: true,
        });
      }
    }
    return true;
  }

  /** In turn, so that each call costs the same and all have been looked at after some. */
  #someElements(): Element[] {
    const some = [...this.#elements.all(this.#nextElement).take(ELEMENTS_PER_LOOK)];
    this.#nextElement = some.length === ELEMENTS_PER_LOOK ? this.#nextElement + ELEMENTS_PER_LOOK : 0;
    return some;
  }

  #keptOf(owner: string): KeptService {
    const kept = this.#kept.get(owner);
    return kept === undefined ? NOTHING_KEPT : unpackService(kept);
  }

  /** Reads the table, and writes what stands in it whatever Services there are. Returns what there is of Services. */
  async #writeFrame(signal: AbortSignal): Promise<TableState> {
    this.#hasNewCidrs = false;
    const mustRebuild = this.#refusals >= REFUSALS_BEFORE_REBUILD;
    const there = await readTable(this.#exec, this.#opts, signal);
    const how = { isFirst: this.#isFirst, rebuild: mustRebuild, flush: there.unreadable };
    try {
      await applyNft(this.#exec, new Transaction(this.#opts, renderTable(this.#opts, how)).render(), { signal });
    } catch (err) {
      // No Service has a part in this: objects of these names must be there that are not ours, and will stay.
      if (err instanceof AgentError && err.code === 'RULES_REJECTED') this.#refusals++;
      throw err;
    }
    this.#refusals = 0;
    return mustRebuild ? { ...there, chains: new Map(), affinitySets: new Map(), elements: new Map() } : there;
  }

  /** Renders and remembers one Service after the other; `used` gets the names of their chains and sets. */
  *#asListed(services: Services, there: TableState, used: Set<string>): Generator<ServiceWrite> {
    const isThere = (chain: string, rules: readonly string[]) => {
      const listed = there.chains.get(chain);
      return listed !== undefined && sameRules(listed, rules.map(canonicalRule));
    };
    for (const [key, plan] of services) {
      const after = renderService(plan, this.#opts);
      this.#kept.set(key, packService(after));
      this.#elements.claim(key, after.elements);
      for (const name of after.chains.keys()) used.add(name);
      for (const name of after.affinitySets.keys()) used.add(name);
      yield { after, isThere, affinitySets: there.affinitySets };
    }
  }

  /**
   * Writes chains and sets of Services. Nothing leads to new chains yet: the elements belong into the transaction that is
   * returned, with whatever else comes last.
   */
  async #writeServices(
    writes: Iterable<ServiceWrite>,
    signal: AbortSignal,
    head: readonly string[] = [],
  ): Promise<Transaction> {
    let transaction = new Transaction(this.#opts, head);
    let written = 0;
    const renewals: ServiceWrite[] = [];
    const turns = new Turns();
    const runs = new OneAtATime();
    try {
      for (const write of writes) {
        if (turns.isDue) await turns.next();
        // Chains that are retired last may use the old set: it goes in the same transaction as they are emptied.
        if (mustRenewSets(write)) renewals.push(write);
        else if (this.#writeService(transaction, write) && ++written % SERVICES_PER_TRANSACTION === 0) {
          const document = transaction.render();
          await runs.start(() => applyNft(this.#exec, document, { signal }));
          transaction = new Transaction(this.#opts);
        }
      }
    } finally {
      await runs.end();
    }
    for (const write of renewals) this.#writeService(transaction, write);
    return transaction;
  }

  /** True when anything of it had to be written. */
  #writeService(transaction: Transaction, { after, isThere, affinitySets }: ServiceWrite): boolean {
    const address = this.family === 6 ? 'ipv6_addr' : 'ipv4_addr';
    let hasWritten = false;
    let hasRenewed = false;
    for (const [name, seconds] of after.affinitySets) {
      const present = affinitySets.get(name);
      if (present === seconds) continue; // it goes on remembering
      hasWritten = true;
      if (present === undefined) transaction.addAffinitySet(name, seconds, address);
      else {
        transaction.renewAffinitySet(name, seconds, address);
        hasRenewed = true; // chains that use it must let go of it first
      }
    }
    for (const [name, rules] of after.chains) {
      this.#resting.delete(name);
      if (!hasRenewed && isThere(name, rules)) continue;
      transaction.writeChain(name, rules);
      hasWritten = true;
    }
    return hasWritten;
  }

  #retireUnused(transaction: Transaction, before: KeptService, after: NftService): void {
    for (const name of before.chains.keys()) if (!after.chains.has(name)) this.#retire(transaction, name);
    for (const name of before.affinitySets.keys()) if (!after.affinitySets.has(name)) transaction.deleteSet(name);
  }

  #retire(transaction: Transaction, chain: string): void {
    transaction.flushChain(chain);
    this.#resting.set(chain, this.#clock.monotonicMs());
  }

  /** In a transaction of its own: a kernel that still sees references must not hold up changes. */
  async #deleteRested(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const transaction = new Transaction(this.#opts);
    for (const [name, sinceMs] of this.#resting) {
      if (nowMs - sinceMs < CHAIN_REST_MS) continue;
      transaction.deleteChain(name);
      this.#resting.delete(name);
    }
    try {
      await applyNft(this.#exec, transaction.render(), { signal });
    } catch (err) {
      if (signal.aborted) throw err;
      this.#hasUncleared = true; // the next sync looks at what there is
      this.#deps.onCleanupFailure?.();
    }
  }
}

/** Ranges that lie in another one left out: nft refuses overlaps in one list. */
function withoutNested(cidrs: readonly string[]): readonly string[] {
  const parsed = cidrs.map((text) => ({
    text,
    cidr: parseCidr(text),
    first: parseIp(text.slice(0, text.indexOf('/'))),
  }));
  return parsed
    .filter(
      ({ cidr, first }) => !parsed.some((p) => p.cidr.prefixLength < cidr.prefixLength && cidrContains(p.cidr, first)),
    )
    .map(({ text }) => text);
}

function asRemembered({ before, after }: { before: KeptService; after: NftService }): ServiceWrite {
  return {
    after,
    isThere: (chain, rules) => before.chains.get(chain) === fingerprint(rules),
    affinitySets: before.affinitySets,
  };
}

function mustRenewSets({ after, affinitySets }: ServiceWrite): boolean {
  for (const [name, seconds] of after.affinitySets) if ((affinitySets.get(name) ?? seconds) !== seconds) return true;
  return false;
}

function sameRules(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((rule, i) => rule === b[i]);
}

/** What has to be taken out of the kernel's containers and put into them. */
async function differenceOf(
  there: TableState,
  wanted: Iterable<Element>,
): Promise<{ readonly removed: readonly Element[]; readonly added: readonly Element[] }> {
  const added: Element[] = [];
  const removed: Element[] = [];
  const claimed = new Map([...there.elements.keys()].map((container) => [container, new Set<string>()]));
  const turns = new Turns();
  for (const element of wanted) {
    if (turns.isDue) await turns.next();
    const { container, key } = element;
    const present = there.elements.get(container)?.get(key);
    claimed.get(container)?.add(key);
    if (present?.value === element.value && present.comment === element.comment) continue;
    if (present !== undefined) removed.push({ container, key, ...present });
    added.push(element);
  }
  for (const [container, elements] of there.elements) {
    for (const [key, present] of elements) {
      if (turns.isDue) await turns.next();
      if (!claimed.get(container)!.has(key)) removed.push({ container, key, ...present });
    }
  }
  return { removed, added };
}
