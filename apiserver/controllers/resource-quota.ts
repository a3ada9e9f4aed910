// ResourceQuotas: keeps in their status what is limited and what is used (pkg/controller/resourcequota). Admission charges
// what is about to be made; this counts what is there, and so gives back what has gone or was never made.
import { isDeepStrictEqual } from 'node:util';
import type { ResourceQuota } from 'kubernetes-types/core/v1.js';
import { type KubeObject, objectKey, objectName } from '../../api/meta.ts';
import { isTerminalPhase, type Pod } from '../../api/pod.ts';
import type { ResourceType } from '../../api/resources.ts';
import { Reflector } from '../../client/reflector.ts';
import { Store } from '../../client/store.ts';
import { runTasks } from '../../core/tasks.ts';
import { quotaStatus, resourceQuotas } from '../quota/quotas.ts';
import type { Counted } from '../quota/usage.ts';
import { amountsVersion } from '../scheduler/pod-in-resize.ts';
import type { Controller, ControllerContext } from './context.ts';
import { OwnWrites } from './own-writes.ts';
import { Reconciler } from './reconciler.ts';

/** Renewed all the time, and nothing that anybody limits. */
const IGNORED = new Set(['events', 'leases']);
/** What was charged should be stored, or refused, by then. */
const CHARGE_SETTLES_MS = 1_000;
/** A pod whose grace is over takes nothing any more, which no event tells. */
const RESYNC_MS = 5 * 60_000;

interface Kind {
  readonly type: ResourceType;
  readonly counted: Counted;
  readonly store: Store<KubeObject>;
}

const byNamespace = { namespace: (o: KubeObject): readonly string[] => [o.metadata?.namespace ?? ''] };

export class ResourceQuotaController implements Controller {
  readonly name = 'resource-quota-controller';
  readonly #ctx: ControllerContext;
  readonly #kinds: readonly Kind[];
  readonly #quotas: Store<KubeObject>;
  readonly #written = new OwnWrites<ResourceQuota>();
  readonly #work: Reconciler;

  /** `resources`: every kind that can be listed and watched. */
  constructor(ctx: ControllerContext, resources: readonly ResourceType[]) {
    this.#ctx = ctx;
    this.#kinds = resources
      .filter((type) => type.namespaced && !IGNORED.has(type.plural))
      .map((type) => ({
        type,
        counted: { group: type.group, resource: type.plural },
        store: new Store<KubeObject>(byNamespace),
      }));
    const quotas = this.#kinds.find(({ type }) => type.group === '' && type.plural === resourceQuotas.plural);
    if (quotas === undefined) throw new Error('ResourceQuotas are not among the kinds served');
    this.#quotas = quotas.store;
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { client, clock, log } = this.#ctx;
    for (const kind of this.#kinds) this.#follow(kind);
    const reflectors = this.#kinds.map(({ type, store }) => {
      const reflector = new Reflector(client, type, store, {}, { clock, log });
      return [`${type.group}/${type.plural}`, (s: AbortSignal) => reflector.run(s)] as const;
    });
    await runTasks(signal, {
      ...Object.fromEntries(reflectors),
      // What has not been listed yet would count as gone.
      work: async (s) => {
        await Promise.all(this.#kinds.map(({ store }) => store.waitForSync(s)));
        await this.#work.run(s);
      },
      resync: async (s) => {
        for (;;) {
          await clock.sleep(RESYNC_MS, s);
          if (s.aborted) return;
          for (const quota of this.#quotas.list()) this.#work.request(objectKey(quota));
        }
      },
    });
  }

  #follow({ store, counted }: Kind): void {
    const isPod = counted.group === '' && counted.resource === 'pods';
    store.subscribe({
      onAdd: (object) => this.#request(object),
      onUpdate: (old, object) => {
        const changed = isPod ? podVersion(old) !== podVersion(object) : specOf(old) !== specOf(object);
        if (changed) this.#request(object);
      },
      onDelete: (object) => this.#request(object),
    });
    if (store !== this.#quotas) return;
    store.subscribe({
      onUpdate: (_old, quota) => this.#work.requestAfter(objectKey(quota), CHARGE_SETTLES_MS),
      onDelete: (quota) => this.#written.forget(objectKey(quota)),
    });
  }

  /** Quotas are counted too: a new one asks for itself. */
  #request({ metadata }: KubeObject): void {
    for (const quota of this.#quotas.byIndex('namespace', metadata?.namespace ?? '')) {
      this.#work.request(objectKey(quota));
    }
  }

  async #reconcile(key: string): Promise<void> {
    const cached = this.#quotas.get(key);
    if (cached === undefined) return;
    const quota = this.#written.newest(cached as ResourceQuota);
    const status = quotaStatus(quota, this.#thingsIn(quota.metadata?.namespace ?? ''), this.#ctx.clock.now());
    if (isDeepStrictEqual(status, { hard: quota.status?.hard ?? {}, used: quota.status?.used ?? {} })) return;
    // With its version: what admission charged since would be forgotten.
    const next = { ...quota, status } as ResourceQuota;
    const opts = { subresource: 'status' };
    this.#written.remember(await this.#ctx.client.update(resourceQuotas, objectName(quota), next, opts));
  }

  *#thingsIn(namespace: string): Generator<readonly [Counted, KubeObject]> {
    for (const { counted, store } of this.#kinds) {
      for (const object of store.byIndex('namespace', namespace)) yield [counted, object];
    }
  }
}

/** What of a pod decides what it is charged for. */
function podVersion(object: KubeObject): string {
  const { metadata, status } = object as Pod;
  return `${amountsVersion(object as Pod)} ${isTerminalPhase(status?.phase)} ${metadata?.deletionTimestamp ?? ''}`;
}

function specOf(object: KubeObject): unknown {
  return JSON.stringify((object as { spec?: unknown }).spec);
}
