// Dynamic resources for whoever does not know whether there are any: nothing of them is loaded before a driver registers, a
// pod names a claim, or a record of the agent before is found.
import type { Pod, ResourceStatus } from '../../api/pod.ts';
import type { PluginHandler, PluginInfo } from '../plugins/plugin-handler.ts';
import type { AnyContainer } from '../runtime/labels.ts';
import type { ClaimRecord } from './claim-checkpoint.ts';
import type { DynamicResources } from './dynamic-resources.ts';
import { chosenService } from './plugin-services.ts';
import type { PodClaims } from './pod-claims.ts';

/** The record of what was prepared, in the kubelet's root directory. */
export const STATE_FILE = 'dra_manager_state';

export class LazyClaims implements PodClaims, PluginHandler, Disposable {
  readonly #create: () => Promise<DynamicResources>;
  #creating: Promise<DynamicResources> | undefined;
  #created: DynamicResources | undefined;

  constructor(create: () => Promise<DynamicResources>) {
    this.#create = create;
  }

  /** Loads it now; again after a failure. @throws what `create` throws. */
  async load(): Promise<DynamicResources> {
    this.#creating ??= this.#create().catch((err: unknown) => {
      this.#creating = undefined;
      throw err;
    });
    this.#created = await this.#creating;
    return this.#created;
  }

  async prepare(pod: Pod, signal: AbortSignal): Promise<void> {
    await (await this.load()).claims.prepare(pod, signal);
  }

  isKnown(pod: Pod): boolean {
    return this.#created?.claims.isKnown(pod) ?? false;
  }

  async unprepare(pod: Pod, signal: AbortSignal): Promise<void> {
    await this.#created?.claims.unprepare(pod, signal);
  }

  cdiDevices(pod: Pod, container: AnyContainer): readonly string[] {
    return this.#created?.claims.cdiDevices(pod, container) ?? [];
  }

  usedBy(pod: Pod, container: AnyContainer): readonly ClaimRecord[] {
    return this.#created?.claims.usedBy(pod, container) ?? [];
  }

  health(pod: Pod, containerName: string): ResourceStatus[] | undefined {
    return this.#created?.claims.health(pod, containerName);
  }

  holds(podUid: string): boolean {
    return this.#created?.claims.holds(podUid) ?? false;
  }

  uids(): Iterable<string> {
    return this.#created?.claims.uids() ?? [];
  }

  forget(podUid: string): void {
    this.#created?.claims.forget(podUid);
  }

  validate(plugin: PluginInfo): void {
    chosenService(plugin);
  }

  async register(plugin: PluginInfo): Promise<void> {
    await (await this.load()).plugins.register(plugin);
  }

  async deregister(plugin: PluginInfo): Promise<void> {
    await this.#created?.plugins.deregister(plugin);
  }

  [Symbol.dispose](): void {
    this.#created?.[Symbol.dispose]();
  }
}
