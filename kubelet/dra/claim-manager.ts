// Has drivers prepare the ResourceClaims of a pod before it starts, and let go of them after the last pod of a claim has
// ended. Each claim is worked on by one pod at a time: of two pods that share one, the second must not come between the
// first's last call and what is remembered of it. After pkg/kubelet/cm/dra/manager.go, whose texts users see in Events.
import type { Pod, ResourceStatus } from '../../api/pod.ts';
import { type ResourceClaim, resourceClaims } from '../../api/resource-claims.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import { KeyedLock } from '../../core/keyed-lock.ts';
import type { Logger } from '../../core/log.ts';
import type { DraClaim, DraDevice } from '../../cri/gen/messages.ts';
import { rpcErrorText } from '../plugins/rpc-text.ts';
import type { AnyContainer } from '../runtime/labels.ts';
import type { ClaimCache, KnownClaim } from './claim-cache.ts';
import { type ClaimRecord, keyOf, type PreparedDevice } from './claim-checkpoint.ts';
import { claimHealth } from './claim-health.ts';
import { checkUsable, claimNamesOf, driversOf } from './claim-names.ts';
import { claimsOfContainer, isMeant } from './container-devices.ts';
import type { DeviceHealth } from './device-health.ts';
import type { DraCalls } from './dra-client.ts';
import type { PodClaims } from './pod-claims.ts';

export type DraOperation = 'PrepareResources' | 'UnprepareResources';

export interface ClaimManagerDeps {
  readonly client: Pick<ApiClient, 'get'>;
  readonly plugins: { connect(driver: string): DraCalls };
  readonly cache: ClaimCache;
  readonly health: Pick<DeviceHealth, 'of'>;
  /** Of all claims of a pod together. Must not throw. */
  readonly observe?: (operation: DraOperation, failed: boolean, tookSeconds: number) => void;
  /** What runs in the background ends with it. */
  readonly lifetime: () => AbortSignal;
  readonly log: Logger;
}

const GET_TIMEOUT_MS = 30_000;

export class ClaimManager implements PodClaims {
  readonly #deps: ClaimManagerDeps;
  readonly #log: Logger;
  readonly #locks = new KeyedLock<string>();
  /** Pods that are gone and whose claims are being let go. */
  readonly #forgetting = new Set<string>();
  /** Pods that a driver could not be asked for, or said no to. */
  readonly #waiting = new Set<string>();

  constructor(deps: ClaimManagerDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'dra' });
  }

  /** Pods that wait for a driver; they are expected to be tried again, and are not told a second time. */
  takeWaiting(): string[] {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }

  async prepare(pod: Pod, signal: AbortSignal): Promise<void> {
    const work = () => this.#prepare(pod, signal);
    await this.#observed('PrepareResources', 'prepare dynamic resources', uidOf(pod), work);
  }

  isKnown(pod: Pod): boolean {
    const uid = uidOf(pod);
    const namespace = pod.metadata?.namespace ?? '';
    return claimNamesOf(pod).every(({ name }) => this.#deps.cache.get({ namespace, name })?.podUids.has(uid) === true);
  }

  async unprepare(pod: Pod, signal: AbortSignal): Promise<void> {
    const uid = uidOf(pod);
    if (!this.holds(uid)) {
      this.#waiting.delete(uid);
      await this.#deps.cache.save(); // what the last call has let go, if that could not be written then
      return;
    }
    const work = () => this.#unprepare(uid, signal);
    await this.#observed('UnprepareResources', 'unprepare dynamic resources', uid, work);
  }

  cdiDevices(pod: Pod, container: AnyContainer): string[] {
    const names = this.#claimsOf(pod, container).flatMap(({ claim, requests }) =>
      [...claim.drivers.values()]
        .flat()
        .filter((device) => isMeant(requests, device.requestNames))
        .flatMap((device) => device.cdiDeviceIds),
    );
    return [...new Set(names)];
  }

  usedBy(pod: Pod, container: AnyContainer): ClaimRecord[] {
    return this.#claimsOf(pod, container).map(({ claim }) => claim);
  }

  /** How well the devices are that the container uses, by claim and request; undefined when it uses none. */
  health(pod: Pod, containerName: string): ResourceStatus[] | undefined {
    const { cache, health } = this.#deps;
    const container = pod.spec?.containers.find((c) => c.name === containerName);
    return container === undefined ? undefined : claimHealth(pod, container, cache, health);
  }

  /** Pods that use devices of the driver. */
  usersOf(driver: string): Set<string> {
    return new Set([...this.#deps.cache.all()].filter((c) => c.drivers.has(driver)).flatMap((c) => [...c.podUids]));
  }

  /** @throws {AgentError} CLAIM_UNUSABLE, CLAIM_NOT_PREPARED */
  #claimsOf(pod: Pod, container: AnyContainer): { claim: KnownClaim; requests: readonly string[] }[] {
    const namespace = pod.metadata?.namespace ?? '';
    return claimsOfContainer(pod, container).map(({ name, requests }) => {
      const claim = this.#deps.cache.get({ namespace, name });
      if (claim !== undefined) return { claim, requests };
      throw new AgentError(`unable to get claim info for ResourceClaim ${name} in namespace ${namespace}`, {
        code: 'CLAIM_NOT_PREPARED',
        retryable: true,
      });
    });
  }

  holds(podUid: string): boolean {
    return this.#deps.cache.ofPod(podUid).length > 0;
  }

  uids(): Set<string> {
    return this.#deps.cache.podUids();
  }

  forget(podUid: string): void {
    if (this.#forgetting.has(podUid)) return;
    this.#forgetting.add(podUid);
    const signal = this.#deps.lifetime();
    this.#unprepare(podUid, signal)
      .catch((err: unknown) => {
        if (signal.aborted) return;
        this.#waiting.add(podUid);
        this.#log.warn({ podUid, error: errorMessage(err) }, 'claims of a pod that is gone not let go, will retry');
      })
      .finally(() => this.#forgetting.delete(podUid));
  }

  /**
   * Nothing is remembered before it is certain that the drivers are there: a pod that has never got so far can be deleted
   * without them.
   */
  async #prepare(pod: Pod, signal: AbortSignal): Promise<void> {
    const claims = await this.#usableClaims(pod, signal);
    for (const driver of new Set(claims.flatMap(driversOf))) this.#deps.plugins.connect(driver);
    const ids = claims.map(({ metadata = {} }) => ({ namespace: metadata.namespace ?? '', name: metadata.name ?? '' }));
    await this.#exclusively(ids.map(keyOf), signal, async () => {
      const { cache } = this.#deps;
      const known = claims.map((claim) => this.#reference(pod, claim));
      await saved(cache); // before a driver is asked: what it has begun must be undone, whoever is there then
      const wanted = known.filter((claim) => !claim.isPrepared);
      for (const [driver, batch] of batchesOf(wanted)) await this.#prepareWith(driver, batch, signal);
      for (const claim of wanted) claim.isPrepared = true;
      await saved(cache);
    });
  }

  async #usableClaims(pod: Pod, signal: AbortSignal): Promise<ResourceClaim[]> {
    const namespace = pod.metadata?.namespace ?? '';
    const claims: ResourceClaim[] = [];
    for (const which of claimNamesOf(pod)) {
      const { name } = which;
      const opts = { signal, timeoutMs: GET_TIMEOUT_MS };
      const claim = await this.#deps.client.get(resourceClaims, { namespace, name }, opts).catch((cause: unknown) => {
        throw failed(`fetch ResourceClaim ${name}: ${errorMessage(cause)}`, cause);
      });
      checkUsable(pod, claim, which);
      claims.push(claim);
    }
    return claims;
  }

  #reference(pod: Pod, claim: ResourceClaim): KnownClaim {
    const { namespace = '', name = '', uid = '' } = claim.metadata ?? {};
    const before = this.#deps.cache.get({ namespace, name });
    if (before !== undefined && before.uid !== uid) {
      const which = `old ResourceClaim with same name ${name} and different UID ${before.uid}`;
      throw failed(`${which} still exists (previous pod force-deleted?!)`);
    }
    return this.#deps.cache.reference({ namespace, name, uid }, driversOf(claim), uidOf(pod));
  }

  async #prepareWith(driver: string, batch: readonly KnownClaim[], signal: AbortSignal): Promise<void> {
    const call = 'NodePrepareResources';
    const results = await ask(call, this.#deps.plugins.connect(driver), (c) => c.prepare(batch.map(messageOf), signal));
    checkResults(call, batch, results);
    for (const claim of batch) claim.drivers.set(driver, (results.get(claim.uid)?.devices ?? []).map(deviceOf));
  }

  async #unprepare(podUid: string, signal: AbortSignal): Promise<void> {
    const { cache } = this.#deps;
    await this.#exclusively(cache.ofPod(podUid).map(keyOf), signal, async () => {
      const held = cache.ofPod(podUid);
      const last = held.filter((claim) => claim.podUids.size === 1);
      for (const claim of last) claim.isPrepared = false; // from the first call on it is neither
      for (const [driver, batch] of batchesOf(last)) await this.#unprepareWith(driver, batch, signal);
      for (const claim of held) claim.podUids.delete(podUid);
      for (const claim of last) cache.delete(claim);
      await saved(cache);
    });
  }

  async #unprepareWith(driver: string, batch: readonly KnownClaim[], signal: AbortSignal): Promise<void> {
    const call = 'NodeUnprepareResources';
    const client = this.#deps.plugins.connect(driver);
    checkResults(call, batch, await ask(call, client, (c) => c.unprepare(batch.map(messageOf), signal)));
  }

  /** All locks are taken in the same order, so that nobody waits for one who waits for him. */
  async #exclusively<T>(keys: readonly string[], signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const [first, ...rest] = [...new Set(keys)].sort();
    if (first !== undefined) return this.#locks.run(first, () => this.#exclusively(rest, signal, work));
    signal.throwIfAborted(); // others may have taken their time
    return work();
  }

  async #observed(operation: DraOperation, what: string, podUid: string, work: () => Promise<void>): Promise<void> {
    const startMs = performance.now();
    let isError = true;
    try {
      await work();
      isError = false;
      this.#waiting.delete(podUid);
    } catch (cause) {
      this.#waiting.add(podUid);
      throw failed(`${what}: ${errorMessage(cause)}`, cause);
    } finally {
      this.#deps.observe?.(operation, isError, (performance.now() - startMs) / 1000);
    }
  }
}

const uidOf = (pod: Pod): string => pod.metadata?.uid ?? '';

function messageOf({ namespace, name, uid }: KnownClaim): DraClaim {
  return { namespace, name, uid };
}

function deviceOf({ poolName, deviceName, shareId, requestNames, cdiDeviceIds }: DraDevice): PreparedDevice {
  return { poolName, deviceName, requestNames, cdiDeviceIds, ...(shareId === '' ? {} : { shareId }) };
}

/** Claims by driver: each is asked once for all that it has to do for the pod. */
function batchesOf(claims: readonly KnownClaim[]): Map<string, KnownClaim[]> {
  const batches = new Map<string, KnownClaim[]>();
  for (const claim of claims) {
    for (const driver of claim.drivers.keys()) batches.set(driver, [...(batches.get(driver) ?? []), claim]);
  }
  return batches;
}

async function ask<T>(name: string, client: DraCalls, call: (client: DraCalls) => Promise<T>): Promise<T> {
  try {
    return await call(client);
  } catch (cause) {
    throw failed(`${name}: ${rpcErrorText(cause)}`, cause);
  }
}

/** @throws {AgentError} CLAIM_FAILED unless the driver has done what it was asked for every claim, and for no other. */
function checkResults(
  call: string,
  claims: readonly KnownClaim[],
  results: ReadonlyMap<string, { readonly error: string }>,
): void {
  for (const [uid, { error }] of results) {
    const claim = claims.find((c) => c.uid === uid);
    if (claim === undefined) throw failed(`${call} returned result for unknown claim UID ${uid}`);
    if (error !== '') throw failed(`${call} failed for ResourceClaim ${claim.name}: ${error}`);
  }
  const skipped = claims.length - results.size;
  if (skipped !== 0) throw failed(`${call} skipped ${skipped} ResourceClaims`);
}

async function saved(cache: ClaimCache): Promise<void> {
  try {
    await cache.save();
  } catch (cause) {
    throw failed(`checkpoint ResourceClaim state: ${errorMessage(cause)}`, cause);
  }
}

function failed(message: string, cause?: unknown): AgentError {
  return new AgentError(message, { code: 'CLAIM_FAILED', cause, retryable: true });
}
