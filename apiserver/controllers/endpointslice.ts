// EndpointSlices of Services with a selector (pkg/controller/endpointslice).
import type { EndpointSlice, Node, Service } from '../../api/kinds.ts';
import { matchesLabels, selectorOfMap } from '../../api/labels.ts';
import { objectKey } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { endpointSlices } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import { type Controller, type ControllerContext, waitForStores } from './context.ts';
import {
  addressTypesOf,
  CONTROLLER_NAME,
  endpointGroups,
  isEndpointPod,
  MANAGED_BY,
  planSlices,
  SERVICE_NAME,
  zoneOf,
} from './endpointslice-content.ts';
import { Reconciler } from './reconciler.ts';

/** Changes of many pods at once (a rollout, a node that goes) become one write per slice. */
const BATCH_MS = 100;
/** A slice that somebody removed before the cache saw it must not block its Service for ever. */
const LOST_WRITE_MS = 10_000;
const LAST_CHANGE = 'endpoints.kubernetes.io/last-change-trigger-time';

export class EndpointSliceController implements Controller {
  readonly name = 'endpointslice-controller';
  readonly #ctx: ControllerContext;
  readonly #work: Reconciler;
  /** Monotonic ms of the last reconcile, by Service key: a lone change is written at once. */
  readonly #lastRunMs = new Map<string, number>();
  /** Slices written and not yet seen in the cache: Service key → slice name → resourceVersion. */
  readonly #unseen = new Map<string, Map<string, bigint>>();

  constructor(ctx: ControllerContext) {
    this.#ctx = ctx;
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    const needed = [stores.services, stores.pods, stores.endpointSlices, stores.nodes];
    await waitForStores(needed, signal);
    using _services = stores.services.subscribe({
      onAdd: (s) => this.#work.request(objectKey(s)),
      onUpdate: (_old, s) => this.#work.request(objectKey(s)),
      onDelete: (s) => this.#forget(objectKey(s)),
    });
    using _pods = stores.pods.subscribe({
      onAdd: (pod) => this.#onPod(pod),
      onUpdate: (old, pod) => this.#onPodUpdate(old, pod),
      onDelete: (pod) => this.#onPod(pod),
    });
    using _nodes = stores.nodes.subscribe({
      onAdd: (node) => this.#onNode(node),
      onUpdate: (old, node) => {
        if (zoneOf(old) !== zoneOf(node)) this.#onNode(node);
      },
    });
    using _slices = stores.endpointSlices.subscribe({
      onAdd: (slice) => this.#onSlice(slice),
      onUpdate: (_old, slice) => this.#onSlice(slice),
      onDelete: (slice) => this.#onSliceGone(slice),
    });
    await this.#work.run(signal);
  }

  #onSlice(slice: EndpointSlice): void {
    if (slice.metadata?.labels?.[MANAGED_BY] === CONTROLLER_NAME) this.#request(serviceKeyOf(slice));
  }

  #onSliceGone(slice: EndpointSlice): void {
    this.#unseen.get(serviceKeyOf(slice))?.delete(slice.metadata?.name ?? '');
    this.#onSlice(slice);
  }

  /** Endpoints say the zone of their node. */
  #onNode(node: Node): void {
    for (const pod of this.#ctx.stores.pods.byIndex('node', objectKey(node))) this.#onPod(pod);
  }

  #onPod(pod: Pod): void {
    for (const service of this.#ctx.stores.services.byIndex('namespace', pod.metadata?.namespace ?? '')) {
      if (selects(service, pod)) this.#request(objectKey(service));
    }
  }

  #onPodUpdate(old: Pod, pod: Pod): void {
    if (endpointFacts(old) === endpointFacts(pod)) return;
    this.#onPod(old);
    this.#onPod(pod);
  }

  #request(key: string): void {
    const sinceMs = this.#ctx.clock.monotonicMs() - (this.#lastRunMs.get(key) ?? Number.NEGATIVE_INFINITY);
    if (sinceMs >= BATCH_MS) this.#work.request(key);
    else this.#work.requestAfter(key, BATCH_MS - sinceMs);
  }

  async #reconcile(key: string): Promise<void> {
    const { stores, clock } = this.#ctx;
    const service = stores.services.get(key);
    if (service === undefined) return; // its slices go with their owner
    const { selector, type } = service.spec ?? {};
    if (selector === undefined || Object.keys(selector).length === 0 || type === 'ExternalName') return;
    if (!this.#hasSeenOwnWrites(key)) {
      this.#work.requestAfter(key, LOST_WRITE_MS); // the write that is on its way asks for another run, if it comes
      return;
    }
    this.#lastRunMs.set(key, clock.monotonicMs());
    const pods = stores.pods
      .byIndex('namespace', service.metadata?.namespace ?? '')
      .filter((pod) => selects(service, pod) && isEndpointPod(pod));
    const managed = stores.endpointSlices
      .byIndex('service', key)
      .filter(
        (s) => s.metadata?.labels?.[MANAGED_BY] === CONTROLLER_NAME && s.metadata.deletionTimestamp === undefined,
      );
    const types = addressTypesOf(service);
    for (const addressType of types) {
      const groups = endpointGroups(service, pods, addressType, (name) => stores.nodes.get(name));
      const existing = managed.filter((s) => s.addressType === addressType);
      await this.#apply(service, planSlices(service, existing, groups, addressType));
    }
    await this.#removeSlices(managed.filter((s) => !types.includes(s.addressType as never)));
  }

  async #apply(service: Service, plan: ReturnType<typeof planSlices>): Promise<void> {
    const namespace = service.metadata?.namespace ?? '';
    const key = objectKey(service);
    const stamp = { [LAST_CHANGE]: new Date(this.#ctx.clock.now()).toISOString() };
    const stamped = (slice: EndpointSlice): EndpointSlice => ({
      ...slice,
      metadata: { ...slice.metadata, annotations: { ...slice.metadata?.annotations, ...stamp } },
    });
    for (const slice of plan.create) {
      this.#expect(key, await this.#ctx.client.create(endpointSlices, { namespace }, stamped(slice)));
    }
    for (const slice of plan.update) {
      const name = slice.metadata?.name ?? '';
      this.#expect(key, await this.#ctx.client.update(endpointSlices, { namespace, name }, stamped(slice)));
    }
    await this.#removeSlices(plan.remove);
  }

  /** Until the cache shows what was written, planning from it would write the same once more. */
  #expect(key: string, written: EndpointSlice): void {
    let names = this.#unseen.get(key);
    if (names === undefined) {
      names = new Map();
      this.#unseen.set(key, names);
    }
    names.set(written.metadata?.name ?? '', BigInt(written.metadata?.resourceVersion ?? '0'));
    this.#work.requestAfter(key, LOST_WRITE_MS);
  }

  #hasSeenOwnWrites(key: string): boolean {
    const names = this.#unseen.get(key);
    if (names === undefined) return true;
    const namespace = key.slice(0, key.indexOf('/'));
    for (const [name, version] of names) {
      const cached = this.#ctx.stores.endpointSlices.get(`${namespace}/${name}`);
      if (cached !== undefined && BigInt(cached.metadata?.resourceVersion ?? '0') >= version) names.delete(name);
    }
    const waitedMs = this.#ctx.clock.monotonicMs() - (this.#lastRunMs.get(key) ?? 0);
    if (names.size > 0 && waitedMs < LOST_WRITE_MS) return false;
    this.#unseen.delete(key);
    return true;
  }

  #forget(key: string): void {
    this.#lastRunMs.delete(key);
    this.#unseen.delete(key);
  }

  async #removeSlices(slices: readonly EndpointSlice[]): Promise<void> {
    for (const slice of slices) {
      const { namespace = '', name = '', uid = '' } = slice.metadata ?? {};
      try {
        await this.#ctx.client.delete(endpointSlices, { namespace, name }, { preconditions: { uid } });
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
    }
  }
}

function serviceKeyOf(slice: EndpointSlice): string {
  return `${slice.metadata?.namespace ?? ''}/${slice.metadata?.labels?.[SERVICE_NAME] ?? ''}`;
}

function selects(service: Service, pod: Pod): boolean {
  const selector = service.spec?.selector;
  if (selector === undefined || Object.keys(selector).length === 0) return false;
  return matchesLabels(selectorOfMap(selector), pod.metadata?.labels);
}

/** Everything of a pod that its endpoints show: most status updates change none of it. */
function endpointFacts(pod: Pod): string {
  const { metadata, spec, status } = pod;
  const ready = status?.conditions?.find((c) => c.type === 'Ready')?.status;
  return JSON.stringify([
    metadata?.labels,
    metadata?.deletionTimestamp !== undefined,
    spec?.nodeName,
    status?.phase,
    status?.podIPs ?? status?.podIP,
    ready,
  ]);
}
