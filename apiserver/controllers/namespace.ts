// Namespaces: what every one has in it, and emptying one that is being deleted (pkg/controller/namespace,
// serviceaccount, certificates/rootcacertpublisher).
import type { ConfigMap, Namespace, ServiceAccount } from '../../api/kinds.ts';
import { formatTime, objectKey } from '../../api/meta.ts';
import { configMaps, namespaces, pods, type ResourceType, serviceAccounts } from '../../api/resources.ts';
import { isAlreadyExists, isNotFound } from '../../client/errors.ts';
import { type Controller, type ControllerContext, ROOT_CA, waitForStores } from './context.ts';
import { Reconciler } from './reconciler.ts';

/** Content that has finalizers or a grace period goes when it can; this is how often its namespace is looked at. */
const RECHECK_MS = 500;

/** Keeps the ServiceAccount `default` and the ConfigMap with the cluster's CA in every active namespace. */
export class NamespaceContentController implements Controller {
  readonly name = 'namespace-content-controller';
  readonly #ctx: ControllerContext;
  readonly #caPem: string;
  readonly #work: Reconciler;

  constructor(ctx: ControllerContext, caPem: string) {
    this.#ctx = ctx;
    this.#caPem = caPem;
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.namespaces, stores.serviceAccounts, stores.configMaps], signal);
    const again = (object: { metadata?: { namespace?: string } }) =>
      this.#work.request(object.metadata?.namespace ?? '');
    using _namespaces = stores.namespaces.subscribe({
      onAdd: (ns) => this.#work.request(objectKey(ns)),
      onUpdate: (_old, ns) => this.#work.request(objectKey(ns)),
    });
    using _accounts = stores.serviceAccounts.subscribe({ onDelete: again });
    using _configMaps = stores.configMaps.subscribe({ onUpdate: (_old, cm) => again(cm), onDelete: again });
    await this.#work.run(signal);
  }

  async #reconcile(namespace: string): Promise<void> {
    const { stores, client } = this.#ctx;
    const ns = stores.namespaces.get(namespace);
    if (ns === undefined || ns.metadata?.deletionTimestamp !== undefined) return;
    if (stores.serviceAccounts.get(`${namespace}/default`) === undefined) {
      await ignoreExisting(client.create<ServiceAccount>(serviceAccounts, { namespace }, accountIn(namespace)));
    }
    const wanted = this.#rootCaIn(namespace);
    const current = stores.configMaps.get(`${namespace}/${ROOT_CA}`);
    if (current === undefined) await ignoreExisting(client.create<ConfigMap>(configMaps, { namespace }, wanted));
    else if (current.data?.['ca.crt'] !== this.#caPem) {
      const body = { data: wanted.data };
      await client.patch(configMaps, { namespace, name: ROOT_CA }, { type: 'merge', body });
    }
  }

  #rootCaIn(namespace: string): ConfigMap {
    return {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: ROOT_CA,
        namespace,
        annotations: { 'kubernetes.io/description': 'CA bundle with which clients verify the API server.' },
      },
      data: { 'ca.crt': this.#caPem },
    };
  }
}

function accountIn(namespace: string): ServiceAccount {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace } };
}

async function ignoreExisting(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
}

/** Empties a namespace that is being deleted, then takes off the finalizer that keeps it. */
export class NamespaceDeletionController implements Controller {
  readonly name = 'namespace-controller';
  readonly #ctx: ControllerContext;
  readonly #namespaced: readonly ResourceType[];
  readonly #work: Reconciler;

  /** `resources`: every kind that can be listed and deleted. */
  constructor(ctx: ControllerContext, resources: readonly ResourceType[]) {
    this.#ctx = ctx;
    // Pods go first: their grace period is the longest wait.
    const rest = resources.filter((r) => r.namespaced && r.plural !== 'pods');
    this.#namespaced = [pods, ...rest];
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { stores } = this.#ctx;
    await waitForStores([stores.namespaces], signal);
    using _namespaces = stores.namespaces.subscribe({
      onAdd: (ns) => this.#onNamespace(ns),
      onUpdate: (_old, ns) => this.#onNamespace(ns),
    });
    await this.#work.run(signal);
  }

  #onNamespace(ns: Namespace): void {
    if (ns.metadata?.deletionTimestamp !== undefined) this.#work.request(objectKey(ns));
  }

  async #reconcile(name: string): Promise<void> {
    const ns = this.#ctx.stores.namespaces.get(name);
    if (ns?.metadata?.deletionTimestamp === undefined) return;
    if (!(ns.spec?.finalizers ?? []).includes('kubernetes')) return;
    const left = await this.#deleteContent(name);
    if (left.size > 0) {
      await this.#reportLeft(ns, left);
      this.#work.requestAfter(name, RECHECK_MS);
      return;
    }
    const finalizers = (ns.spec?.finalizers ?? []).filter((f) => f !== 'kubernetes');
    const body: Namespace = { ...ns, spec: { ...ns.spec, finalizers } };
    await this.#ctx.client.update(namespaces, { name }, body, { subresource: 'finalize' });
  }

  /** Asks for the deletion of everything there is; returns how many objects of each kind are still there. */
  async #deleteContent(namespace: string): Promise<Map<string, number>> {
    const left = new Map<string, number>();
    for (const type of this.#namespaced) {
      const { items } = await this.#ctx.client.list(type, { namespace });
      for (const item of items) {
        if (item.metadata?.deletionTimestamp !== undefined) continue;
        try {
          const preconditions = { uid: item.metadata?.uid ?? '' };
          await this.#ctx.client.delete(
            type,
            { namespace, name: item.metadata?.name ?? '' },
            { preconditions, propagationPolicy: 'Background' },
          );
        } catch (err) {
          if (!isNotFound(err)) throw err;
        }
      }
      if (items.length > 0) {
        const now = await this.#ctx.client.list(type, { namespace });
        if (now.items.length > 0) left.set(`${type.plural}.${type.group}`, now.items.length);
      }
    }
    return left;
  }

  async #reportLeft(ns: Namespace, left: ReadonlyMap<string, number>): Promise<void> {
    const kinds = [...left].map(([kind, n]) => `${kind.replace(/\.$/, '')} has ${n} resource instances`).join(', ');
    const message = `Some resources are remaining: ${kinds}`;
    const type = 'NamespaceContentRemaining';
    const old = ns.status?.conditions?.find((c) => c.type === type);
    if (old?.message === message) return;
    const lastTransitionTime = old?.lastTransitionTime ?? formatTime(this.#ctx.clock.now());
    const conditions = [{ type, status: 'True', reason: 'SomeResourcesRemain', message, lastTransitionTime }];
    await this.#ctx.client.patch(
      namespaces,
      { name: ns.metadata?.name ?? '' },
      { type: 'strategic', body: { status: { conditions } } },
      { subresource: 'status' },
    );
  }
}
