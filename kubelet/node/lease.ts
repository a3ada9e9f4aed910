// The heartbeat: a Lease in kube-node-lease renewed every quarter of its life. After component-helpers
// apimachinery/lease/controller.go.
import type { Lease } from '../../api/kinds.ts';
import { formatMicroTime } from '../../api/meta.ts';
import { leases, nodes } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isConflict, isNotFound } from '../../client/errors.ts';
import { Backoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';

const NAMESPACE = 'kube-node-lease';
const UPDATE_TRIES = 5;

export interface LeaseOptions {
  readonly nodeName: string;
  /** nodeLeaseDurationSeconds, default 40. */
  readonly durationSeconds: number;
  /** Deadline of one call, ms; default 10,000. */
  readonly callTimeoutMs: number;
}

export class NodeLease {
  readonly #opts: LeaseOptions;
  readonly #client: ApiClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  /** As the last successful write left it. */
  #latest: Lease | undefined;

  constructor(opts: LeaseOptions, deps: { client: ApiClient; clock: Clock; log: Logger; random?: () => number }) {
    this.#opts = opts;
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'lease' });
    this.#random = deps.random ?? Math.random;
  }

  /** Renews until `signal` aborts. Failures are logged and retried. The Lease is left behind: it tells when we ended. */
  async run(signal: AbortSignal): Promise<void> {
    const intervalMs = (this.#opts.durationSeconds * 1000) / 4;
    while (!signal.aborted) {
      await this.#tick(signal);
      await this.#clock.sleep(intervalMs * (1 + 0.04 * this.#random()), signal);
    }
  }

  async #tick(signal: AbortSignal): Promise<void> {
    if (this.#latest !== undefined && (await this.#renew(this.#latest, signal))) return;
    if (signal.aborted) return;
    const ensured = await this.#ensure(signal);
    if (ensured === undefined || ensured.isNew) return;
    await this.#renew(ensured.lease, signal);
  }

  /** Several tries at once: a heartbeat is worth more than politeness. */
  async #renew(base: Lease, signal: AbortSignal): Promise<boolean> {
    let lease: Lease | undefined = base;
    for (let attempt = 0; attempt < UPDATE_TRIES && !signal.aborted; attempt++) {
      try {
        if (lease === undefined) return false;
        const renewed = await this.#withOwner(this.#renewed(lease), signal);
        this.#latest = await this.#client.update(leases, this.#name(), renewed, this.#call(signal));
        return true;
      } catch (err) {
        if (signal.aborted) return false;
        this.#log.warn({ err, attempt }, 'lease not renewed, will retry');
        if (isNotFound(err)) {
          this.#latest = undefined;
          return false; // the ensure path makes it anew
        }
        if (isConflict(err)) lease = (await this.#ensure(signal))?.lease;
        if (attempt > 0) this.#client.closeIdleConnections();
      }
    }
    return false;
  }

  /** The Lease as the server has it, created when missing. Undefined when the Node does not exist yet. */
  async #ensure(signal: AbortSignal): Promise<{ lease: Lease; isNew: boolean } | undefined> {
    const backoff = new Backoff({ initialMs: 200, maxMs: 7000 });
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const found = await this.#getLease(signal);
        if (found !== undefined) return { lease: found, isNew: false };
        const fresh = await this.#withOwner(this.#renewed({ metadata: { ...this.#name() } }), signal);
        if (fresh.metadata?.ownerReferences === undefined) return undefined;
        this.#latest = await this.#client.create(leases, { namespace: NAMESPACE }, fresh, this.#call(signal));
        return { lease: this.#latest, isNew: true };
      } catch (err) {
        if (signal.aborted) return undefined;
        if (attempt > 0) this.#client.closeIdleConnections();
        this.#log.warn({ err, attempt }, 'lease not ensured, will retry');
        await this.#clock.sleep(backoff.next(), signal);
      }
    }
    return undefined;
  }

  async #getLease(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await this.#client.get(leases, this.#name(), this.#call(signal));
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  #renewed(lease: Lease): Lease {
    return {
      ...lease,
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      spec: {
        ...lease.spec,
        holderIdentity: this.#opts.nodeName,
        leaseDurationSeconds: this.#opts.durationSeconds,
        renewTime: formatMicroTime(this.#clock.now()),
      },
    };
  }

  /** Adds the owner while it is missing. An unreadable Node does not hold up a renewal. */
  async #withOwner(lease: Lease, signal: AbortSignal): Promise<Lease> {
    if ((lease.metadata?.ownerReferences?.length ?? 0) > 0) return lease;
    try {
      const node = await this.#client.get(nodes, { name: this.#opts.nodeName }, this.#call(signal));
      const owner = { apiVersion: 'v1', kind: 'Node', name: this.#opts.nodeName, uid: node.metadata?.uid ?? '' };
      return { ...lease, metadata: { ...lease.metadata, ownerReferences: [owner] } };
    } catch (err) {
      this.#log.debug({ err }, 'node not readable, lease stays without owner');
      return lease;
    }
  }

  #name(): { namespace: string; name: string } {
    return { namespace: NAMESPACE, name: this.#opts.nodeName };
  }

  #call(signal: AbortSignal): { signal: AbortSignal; timeoutMs: number } {
    return { signal, timeoutMs: this.#opts.callTimeoutMs };
  }
}
