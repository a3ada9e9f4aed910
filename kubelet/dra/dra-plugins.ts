// The plugins of DRA drivers that have registered with this node. A driver may have several at a time, e.g. while it is
// updated; the newest that is there is used. After pkg/kubelet/cm/dra/plugin/dra_plugin_manager.go.
import { KeyedBackoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { isCriError } from '../../cri/errors.ts';
import type { DraDeviceHealth } from '../../cri/gen/messages.ts';
import type { PluginHandler, PluginInfo } from '../plugins/plugin-handler.ts';
import { type DraCallObserver, type DraCalls, DraClient } from './dra-client.ts';
import { chosenService } from './plugin-services.ts';

/** A driver that is gone has this long to come back before what it advertises is deleted, ms: time for a restart. */
export const WIPE_DELAY_MS = 30_000;
/** Between tries to reach a plugin that has registered and is not there, ms; gRPC's own are much the same. */
const RECONNECT_INITIAL_MS = 1_000;
const RECONNECT_MAX_MS = 120_000;
/** Between tries to hear of the health of devices, ms. */
const HEALTH_RETRY_MS = 5_000;

interface Plugin {
  readonly endpoint: string;
  readonly client: DraClient;
  isConnected: boolean;
  /** Aborts when the plugin is not to be watched any more; undefined while it is not. */
  watch: AbortController | undefined;
}

export interface DraPluginsDeps {
  /** The driver has been gone for long: deletes what it advertises of this node. Must not throw. */
  readonly wipe: (driver: string) => void;
  /** Pods that wait for the driver may try again. Must not throw. */
  readonly onUsable: (driver: string) => void;
  readonly observe?: DraCallObserver;
  /** What a driver says of its devices; undefined: nothing any more. Absent: it is not asked. Must not throw. */
  readonly onHealth?: (driver: string, devices: readonly DraDeviceHealth[] | undefined) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class DraPlugins implements PluginHandler, Disposable {
  readonly #deps: DraPluginsDeps;
  readonly #log: Logger;
  /** By driver, in the order in which they came. */
  readonly #plugins = new Map<string, Plugin[]>();
  readonly #wipes: DueQueue<string>;
  /** Drivers none of whose plugins is there: what they advertise is about to be deleted, or has been. */
  readonly #gone = new Set<string>();
  readonly #reconnects: DueQueue<Plugin>;
  readonly #backoff: KeyedBackoff<Plugin>;

  constructor(deps: DraPluginsDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'dra' });
    this.#wipes = new DueQueue(deps.clock, (driver) => deps.wipe(driver));
    this.#reconnects = new DueQueue(deps.clock, (plugin) => plugin.client.connect());
    this.#backoff = new KeyedBackoff({ initialMs: RECONNECT_INITIAL_MS, maxMs: RECONNECT_MAX_MS }, deps);
  }

  /** @throws {AgentError} DRA_DRIVER_MISSING, retryable */
  connect(driver: string): DraCalls {
    const plugins = this.#plugins.get(driver) ?? [];
    const plugin = plugins.findLast((p) => p.isConnected) ?? plugins.at(-1);
    if (plugin !== undefined) return plugin.client;
    throw new AgentError(`DRA driver ${driver} is not registered`, {
      code: 'DRA_DRIVER_MISSING',
      retryable: true,
      hint: `start the driver's plugin on this node; it registers through plugins_registry`,
    });
  }

  validate(plugin: PluginInfo): void {
    chosenService(plugin);
  }

  async register(info: PluginInfo): Promise<void> {
    const { name, endpoint } = info;
    const known = this.#plugins.get(name) ?? [];
    if (known.some((p) => p.endpoint === endpoint)) {
      throw new AgentError(`endpoint ${endpoint} already registered for DRA driver plugin ${name}`, {
        code: 'DRA_PLUGIN_REFUSED',
      });
    }
    const client = new DraClient(info, {
      observe: this.#deps.observe,
      onConnection: (isThere) => this.#connectionChanged(name, plugin, isThere),
    });
    const plugin: Plugin = { endpoint, client, isConnected: false, watch: undefined };
    this.#plugins.set(name, [...known, plugin]);
    this.#log.info({ driver: name, endpoint }, 'DRA plugin registered');
    this.#watchOver(name);
    client.connect(); // tells early whether it is really there
  }

  async deregister({ name, endpoint }: PluginInfo): Promise<void> {
    const known = this.#plugins.get(name) ?? [];
    const gone = known.find((p) => p.endpoint === endpoint);
    if (gone === undefined) return;
    const left = known.filter((p) => p !== gone);
    if (left.length === 0) this.#plugins.delete(name);
    else this.#plugins.set(name, left);
    this.#drop(gone);
    this.#watchOver(name);
  }

  [Symbol.dispose](): void {
    this.#wipes[Symbol.dispose]();
    this.#reconnects[Symbol.dispose]();
    for (const plugin of [...this.#plugins.values()].flat()) this.#drop(plugin);
    this.#plugins.clear();
  }

  #drop(plugin: Plugin): void {
    this.#reconnects.delete(plugin);
    this.#backoff.delete(plugin);
    plugin.watch?.abort();
    plugin.client[Symbol.dispose]();
  }

  #connectionChanged(driver: string, plugin: Plugin, isThere: boolean): void {
    const cameBack = isThere && !plugin.isConnected;
    plugin.isConnected = isThere;
    if (isThere) {
      this.#backoff.delete(plugin);
      this.#reconnects.delete(plugin);
      if (plugin.watch === undefined) void this.#watchHealth(driver, plugin); // never throws
    } else {
      this.#backoff.next(plugin, 0); // never old enough to be forgotten: a connection ends it
      this.#reconnects.set(plugin, this.#backoff.get(plugin));
    }
    this.#log.debug({ driver, endpoint: plugin.endpoint, isThere }, 'connection of a DRA plugin changed');
    this.#watchOver(driver);
    if (cameBack) this.#deps.onUsable(driver);
  }

  /** Until the plugin has gone, or says that it tells nothing of its devices. */
  async #watchHealth(driver: string, plugin: Plugin): Promise<void> {
    const { onHealth, clock } = this.#deps;
    if (onHealth === undefined) return;
    const watch = new AbortController();
    plugin.watch = watch;
    const { signal } = watch;
    while (!signal.aborted && plugin.isConnected) {
      try {
        for await (const devices of plugin.client.watchHealth(signal)) onHealth(driver, devices);
      } catch (err) {
        this.#log.debug({ driver, error: errorMessage(err) }, 'a DRA plugin does not tell of its devices');
        if (isCriError(err, 'UNIMPLEMENTED')) break;
      }
      onHealth(driver, undefined);
      await clock.sleep(HEALTH_RETRY_MS, signal);
    }
    plugin.watch = undefined;
  }

  /** A driver that goes has time until its ResourceSlices are deleted, which is done once until it is back. */
  #watchOver(driver: string): void {
    const isUsable = this.#plugins.get(driver)?.some((p) => p.isConnected) === true;
    if (isUsable) {
      this.#wipes.delete(driver);
      this.#gone.delete(driver);
    } else if (!this.#gone.has(driver)) {
      this.#wipes.set(driver, WIPE_DELAY_MS);
      this.#gone.add(driver);
    }
  }
}
