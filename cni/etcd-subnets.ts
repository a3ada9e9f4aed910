// Subnets for clusters whose control plane assigns none: leases in etcd, as flannel's local manager keeps them, so that
// nodes with flanneld take part (flannel pkg/subnet/etcd).
import { type Cidr, cidrsOverlap, formatCidr, parseCidr } from '../api/cidr.ts';
import { linkedSignal } from '../core/abort.ts';
import { Backoff } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError, errorMessage } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { SubnetLease } from './backend.ts';
import type { EtcdKv, KeyEvent, KeyValue } from './etcd/kv.ts';
import { cidrsOf, type LeaseEntry, overlap, readEntry, renderEntryValue, toLease } from './etcd/lease-entry.ts';
import { leaseName } from './etcd/lease-record.ts';
import { netConfKey, tellNetConfChange } from './etcd/stored-net-conf.ts';
import type { NetConf, SubnetPlan } from './net-conf.ts';
import { chooseSubnet, isPlanned } from './subnet-allocator.ts';
import { macOf } from './subnet-manager.ts';
import type { Announcement, OwnSubnets, SubnetSource } from './subnet-source.ts';

export interface EtcdSubnetOptions {
  /** `/coreos.com/network` */
  readonly prefix: string;
  readonly conf: NetConf;
  /** Addresses by which a lease is known to be this node's. */
  readonly publicIps: OwnSubnets;
  /** A lease that nobody renews is gone after this, seconds. flannel: 86,400. */
  readonly ttlSeconds: number;
  /** A lease is renewed so long before it ends, ms. flannel: one hour. */
  readonly renewMarginMs: number;
}

export interface EtcdSubnetDeps {
  readonly kv: EtcdKv;
  readonly clock: Clock;
  readonly log: Logger;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** Nodes that choose at once can take the subnet from under each other so often before that is an error. */
const MAX_TRIES = 10;
const RENEW_RETRY_MS = 60_000;

interface HeldLease {
  readonly key: string;
  readonly subnets: OwnSubnets;
  readonly value: string;
  readonly leaseId: string;
  /** Monotonic ms; infinite for a reservation, which an administrator made without a TTL. */
  readonly expiresMs: number;
}

export class EtcdSubnets implements SubnetSource {
  readonly #opts: EtcdSubnetOptions;
  readonly #kv: EtcdKv;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #dir: string;
  #held: HeldLease | undefined;
  #entries = new Map<string, LeaseEntry>();
  /** Wakes the renewal when there is another lease to renew. */
  #leaseChanged = Promise.withResolvers<void>();
  /** Somebody else bound the key to another etcd lease, or to none. */
  #isRebound = false;

  constructor(opts: EtcdSubnetOptions, deps: EtcdSubnetDeps) {
    this.#opts = opts;
    this.#kv = deps.kv;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#random = deps.random ?? Math.random;
    this.#dir = `${opts.prefix}/subnets/`;
  }

  async run(changed: () => void, signal: AbortSignal): Promise<void> {
    await Promise.all([this.#watch(changed, signal), this.#renewals(changed, signal)]);
  }

  async publishedMac(version: 4 | 6, vni: number): Promise<string | undefined> {
    const attributes = [...this.#entries.values()].find((e) => this.#isOwn(e))?.attributes;
    return macOf(version === 4 ? attributes?.backendData : attributes?.backendV6Data, vni);
  }

  peers(version: 4 | 6): readonly SubnetLease[] {
    return [...this.#entries.values()].flatMap((e) => (this.#isOwn(e) ? [] : (toLease(e, version) ?? [])));
  }

  async markUp(): Promise<void> {} // flanneld patches the Node in its Kubernetes mode only

  async acquire(
    announce: () => Promise<Announcement>,
    previous: OwnSubnets,
    signal: AbortSignal,
  ): Promise<OwnSubnets | undefined> {
    if (this.#held !== undefined) return this.#held.subnets;
    for (let attempt = 1; ; attempt++) {
      await this.#list(signal);
      const held = await this.#tryAcquire(renderEntryValue(await announce()), previous, signal);
      if (held !== undefined) {
        this.#hold(held);
        this.#log.info({ key: held.key, reserved: held.leaseId === '0' }, 'subnet leased');
        return held.subnets;
      }
      if (attempt === MAX_TRIES) {
        throw new AgentError(`no subnet could be leased in ${attempt} tries: other nodes were faster each time`, {
          code: 'OUT_OF_SUBNETS',
          retryable: true,
        });
      }
    }
  }

  async publish(announcement: Announcement, signal: AbortSignal): Promise<void> {
    const held = this.#held;
    const value = renderEntryValue(announcement);
    if (held === undefined || held.value === value) return;
    const there = await this.#kv.get(held.key, signal);
    if (there === undefined || !(await this.#kv.replace(there, value, there.leaseId, signal))) {
      throw new AgentError(`the lease ${held.key} changed while it was published`, {
        code: 'SUBNET_LOST',
        retryable: true,
      });
    }
    if (this.#held?.key === held.key) this.#held = { ...this.#held, value }; // it may have been bound anew meanwhile
  }

  /** One try: the lease that is ours already, the subnet of an earlier run, or a free one. Undefined: look again. */
  async #tryAcquire(value: string, previous: OwnSubnets, signal: AbortSignal): Promise<HeldLease | undefined> {
    const own = [...this.#entries.values()].find((e) => this.#isOwn(e));
    // A key whose making an earlier try did not live to check may overlap an older one: that is not ours to keep.
    const isFirst = own !== undefined && this.#isFirst(own);
    if (isFirst && this.#isPlanned(own.subnets)) return await this.#adopt(own, value, signal);
    if (own !== undefined) {
      this.#log.warn(
        { key: own.kv.key },
        'the lease of this node does not fit the network configuration, or came second: given back',
      );
      await this.#kv.remove(own.kv, signal);
      return undefined;
    }
    const taken = [...this.#entries.values()].flatMap((e) => cidrsOf(e.subnets));
    const isFree = this.#isPlanned(previous) && !cidrsOf(previous).some((p) => taken.some((t) => cidrsOverlap(p, t)));
    return await this.#create(isFree ? previous : this.#choose(taken), value, signal);
  }

  #choose(taken: readonly Cidr[]): OwnSubnets {
    const { v4, v6 } = this.#opts.conf;
    const pick = (plan: SubnetPlan) => formatCidr(chooseSubnet(plan, taken, this.#random));
    return { ...(v4 === undefined ? {} : { v4: pick(v4) }), ...(v6 === undefined ? {} : { v6: pick(v6) }) };
  }

  /** Takes a lease of an earlier run over. A key without a TTL is a reservation and stays one. */
  async #adopt({ kv, subnets }: LeaseEntry, value: string, signal: AbortSignal): Promise<HeldLease | undefined> {
    if (kv.leaseId === '0') {
      const kept = kv.value === value || (await this.#kv.replace(kv, value, '0', signal));
      return kept ? { key: kv.key, subnets, value, leaseId: '0', expiresMs: Number.POSITIVE_INFINITY } : undefined;
    }
    const lease = await this.#grant(signal);
    if (!(await this.#rebind(kv, value, lease.leaseId, signal))) return undefined;
    await this.#revoke(kv.leaseId, signal); // holds nothing any more
    return { key: kv.key, subnets, value, ...lease };
  }

  async #create(subnets: OwnSubnets, value: string, signal: AbortSignal): Promise<HeldLease | undefined> {
    const key = this.#dir + leaseName(subnets);
    const lease = await this.#grant(signal);
    if (await this.#kv.create(key, value, lease.leaseId, signal)) {
      await this.#list(signal);
      const made = this.#entries.get(key);
      if (made !== undefined && this.#isFirst(made)) return { key, subnets, value, ...lease };
    }
    await this.#revoke(lease.leaseId, signal); // takes the key along
    return undefined;
  }

  /**
   * Keys differ when only one family of two is the same, or when lengths differ, so "nobody has the key" is not enough:
   * of leases that overlap the one made first stays. flanneld looks at the key alone.
   */
  #isFirst(own: LeaseEntry): boolean {
    return ![...this.#entries.values()].some(
      (e) => e.kv.createRevision < own.kv.createRevision && overlap(e.subnets, own.subnets),
    );
  }

  async #grant(signal: AbortSignal): Promise<{ readonly leaseId: string; readonly expiresMs: number }> {
    const askedMs = this.#clock.monotonicMs(); // before the call: the lease cannot end earlier than we think
    const leaseId = await this.#kv.grantLease(this.#opts.ttlSeconds, signal);
    return { leaseId, expiresMs: askedMs + this.#opts.ttlSeconds * 1000 };
  }

  /**
   * Binds a key to a lease that was just granted. False when somebody changed the key meanwhile: the lease is revoked.
   * A member of etcd that is asked because another one's answer was lost finds the key changed by us: to revoke the
   * lease would then take the node's own key along.
   */
  async #rebind(kv: KeyValue, value: string, leaseId: string, signal: AbortSignal): Promise<boolean> {
    if (await this.#kv.replace(kv, value, leaseId, signal)) return true;
    if ((await this.#kv.get(kv.key, signal))?.leaseId === leaseId) return true;
    await this.#revoke(leaseId, signal);
    return false;
  }

  async #revoke(leaseId: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#kv.revokeLease(leaseId, signal);
    } catch (err) {
      this.#log.debug({ reason: errorMessage(err) }, 'an unused etcd lease could not be revoked; it ends by itself');
    }
  }

  #hold(held: HeldLease | undefined): void {
    this.#held = held;
    this.#isRebound = false;
    this.#wakeRenewal();
  }

  #wakeRenewal(): void {
    this.#leaseChanged.resolve();
    this.#leaseChanged = Promise.withResolvers();
  }

  async #renewals(changed: () => void, signal: AbortSignal): Promise<void> {
    let retryMs = 0;
    while (!signal.aborted) {
      const held = this.#held;
      const dueMs = held === undefined ? Number.POSITIVE_INFINITY : held.expiresMs - this.#opts.renewMarginMs;
      const waitMs = this.#isRebound ? retryMs : Math.max(dueMs - this.#clock.monotonicMs(), retryMs);
      await this.#sleepUntilDue(waitMs, signal);
      if (signal.aborted || held === undefined || held !== this.#held) continue;
      const isDue = held.expiresMs - this.#opts.renewMarginMs <= this.#clock.monotonicMs();
      if (!isDue && !this.#isRebound) continue;
      try {
        if (isDue) await this.#renew(held, changed, signal);
        else {
          this.#isRebound = false; // before the call: what happens during it is looked at again
          await this.#readExpiry(held, signal);
        }
        retryMs = 0;
      } catch (err) {
        retryMs = RENEW_RETRY_MS;
        if (!signal.aborted)
          this.#log.warn({ reason: errorMessage(err) }, 'the subnet lease is not renewed, will retry');
      }
    }
  }

  /** Also returns when another lease is held. */
  async #sleepUntilDue(ms: number, signal: AbortSignal): Promise<void> {
    using waiting = linkedSignal(signal);
    const { promise } = this.#leaseChanged;
    // The day's sleep is cut in pieces that a timer can hold.
    await Promise.race([this.#clock.sleep(Math.min(ms, 86_400_000), waiting.signal), promise]);
    waiting.abort();
  }

  async #renew(held: HeldLease, changed: () => void, signal: AbortSignal): Promise<void> {
    const there = await this.#kv.get(held.key, signal);
    if (there === undefined || this.#isOthers(readEntry(there, this.#dir))) {
      this.#lost(held.key, changed);
      return;
    }
    if (there.leaseId === '0') {
      await this.#readExpiry(held, signal);
      return;
    }
    const lease = await this.#grant(signal);
    if (!(await this.#rebind(there, there.value, lease.leaseId, signal))) {
      throw new AgentError(`the lease ${held.key} changed while it was renewed`, {
        code: 'SUBNET_LOST',
        retryable: true,
      });
    }
    this.#hold({ ...held, value: there.value, ...lease });
    await this.#revoke(there.leaseId, signal);
    this.#log.debug({ key: held.key }, 'subnet lease renewed');
  }

  /** What somebody made of the lease: a reservation, or another time to live. As flanneld, which follows its own key. */
  async #readExpiry(held: HeldLease, signal: AbortSignal): Promise<void> {
    const there = await this.#kv.get(held.key, signal);
    if (there === undefined || there.leaseId === held.leaseId) return;
    const { key, leaseId } = there;
    if (leaseId === '0') {
      this.#hold({ ...held, value: there.value, leaseId, expiresMs: Number.POSITIVE_INFINITY });
      this.#log.info({ key }, 'the subnet lease was made a reservation: it is not renewed any more');
      return;
    }
    const askedMs = this.#clock.monotonicMs();
    const ttlSeconds = (await this.#kv.leaseTimeLeft(leaseId, signal)) ?? 0;
    this.#hold({ ...held, value: there.value, leaseId, expiresMs: askedMs + ttlSeconds * 1000 });
    this.#log.info({ key, ttlSeconds }, 'the subnet lease was given another time to live');
  }

  /** Compares what is known of the lease that is held with its key: it may be gone, another node's, or bound otherwise. */
  #checkHeld(held: HeldLease, changed: () => void): void {
    const entry = this.#entries.get(held.key);
    if (entry === undefined || this.#isOthers(entry)) this.#lost(held.key, changed);
    else if (entry.kv.leaseId !== held.leaseId) {
      this.#isRebound = true;
      this.#wakeRenewal();
    }
  }

  #lost(key: string, changed: () => void): void {
    this.#log.error({ key }, 'the lease of this node was taken away: it asks for the same subnet again');
    this.#hold(undefined);
    changed();
  }

  async #watch(changed: () => void, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ initialMs: 100, maxMs: 5_000 });
    while (!signal.aborted) {
      try {
        const before = this.#held;
        const revision = await this.#list(signal);
        // What happened while nobody watched. A lease that came meanwhile may be newer than the list.
        if (before !== undefined && before.key === this.#held?.key) this.#checkHeld(this.#held, changed);
        changed();
        for await (const events of this.#kv.watch(`${this.#opts.prefix}/`, revision + 1, signal)) {
          backoff.reset();
          for (const event of events) this.#apply(event, changed);
          changed();
        }
      } catch (err) {
        if (signal.aborted) return;
        this.#log.warn({ reason: errorMessage(err) }, 'the watch of subnet leases ended, it starts anew');
        await this.#clock.sleep(backoff.next(), signal);
      }
    }
  }

  #apply(event: KeyEvent, changed: () => void): void {
    const key = event.type === 'put' ? event.entry.key : event.key;
    const { prefix, conf } = this.#opts;
    if (key === netConfKey(prefix)) {
      if (event.type === 'put') tellNetConfChange(event.entry.value, prefix, conf, this.#log);
      return;
    }
    const entry = event.type === 'put' ? readEntry(event.entry, this.#dir) : undefined;
    if (entry === undefined) this.#entries.delete(key);
    else this.#entries.set(key, entry);
    if (key === this.#held?.key) this.#checkHeld(this.#held, changed);
  }

  /** Reads all leases. Returns the revision they are of. */
  async #list(signal: AbortSignal): Promise<number> {
    const { revision, entries } = await this.#kv.list(this.#dir, signal);
    const read = entries.map((kv) => readEntry(kv, this.#dir)).filter((e) => e !== undefined);
    this.#entries = new Map(read.map((e) => [e.kv.key, e]));
    return revision;
  }

  #isOwn(entry: LeaseEntry): boolean {
    return entry.kv.key === this.#held?.key || this.#holderOf(entry) === this.#ownIp();
  }

  /** False while its value says nobody's address. */
  #isOthers(entry: LeaseEntry | undefined): boolean {
    const holder = entry === undefined ? undefined : this.#holderOf(entry);
    return holder !== undefined && holder !== this.#ownIp();
  }

  #holderOf({ attributes }: LeaseEntry): string | undefined {
    return this.#opts.conf.v4 === undefined ? attributes?.publicIpv6 : attributes?.publicIp;
  }

  #ownIp(): string | undefined {
    const { v4, v6 } = this.#opts.publicIps;
    return this.#opts.conf.v4 === undefined ? v6 : v4;
  }

  /** One subnet for each family of the configuration, each one that it gives out. */
  #isPlanned(subnets: OwnSubnets): boolean {
    const fits = (plan: SubnetPlan | undefined, subnet: string | undefined) =>
      plan === undefined ? subnet === undefined : subnet !== undefined && isPlanned(plan, parseCidr(subnet));
    return fits(this.#opts.conf.v4, subnets.v4) && fits(this.#opts.conf.v6, subnets.v6);
  }
}
