// The CSI drivers that have registered with this node. After pkg/volume/csi/csi_plugin.go and csi_drivers_store.go.
import { AgentError } from '../../../core/errors.ts';
import type { Logger } from '../../../core/log.ts';
import type { NodeGetInfoResponse } from '../../../cri/gen/messages.ts';
import type { PluginHandler, PluginInfo } from '../../plugins/plugin-handler.ts';
import { CsiClient, type CsiObserver } from './csi-client.ts';
import type { CsiNodeObject } from './csi-node.ts';

export const CSI_PLUGIN_TYPE = 'CSIPlugin';

interface Driver {
  readonly endpoint: string;
  readonly version: Version;
  /** As last shown in the CSINode; 0: no limit. */
  maxVolumes: number;
}

type Version = readonly [major: number, minor: number, patch: number];

/** A version that we speak: 1.x. Others, and what is no version, are undefined. */
function supportedVersion(text: string): Version | undefined {
  const parts = /^v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:[-+].*)?$/.exec(text);
  if (parts === null || Number(parts[1]) !== 1) return undefined;
  return [1, Number(parts[2]), Number(parts[3] ?? 0)];
}

const compare = (a: Version, b: Version): number => a[0] - b[0] || a[1] - b[1] || a[2] - b[2];

async function infoOf({ endpoint }: Driver, signal: AbortSignal): Promise<NodeGetInfoResponse> {
  using client = new CsiClient(endpoint);
  return await client.info(signal);
}

export class CsiDrivers implements PluginHandler {
  readonly #node: Pick<CsiNodeObject, 'install' | 'uninstall'>;
  readonly #log: Logger;
  readonly #drivers = new Map<string, Driver>();
  readonly #onRegistered: (driver: string) => void;
  readonly #observe: ((driver: string) => CsiObserver) | undefined;

  /** `onRegistered`: volumes of the driver can be worked on from now on. */
  constructor(deps: {
    node: Pick<CsiNodeObject, 'install' | 'uninstall'>;
    log: Logger;
    onRegistered: (driver: string) => void;
    observe?: (driver: string) => CsiObserver;
  }) {
    this.#node = deps.node;
    this.#onRegistered = deps.onRegistered;
    this.#observe = deps.observe;
    this.#log = deps.log.child({ component: 'csi' });
  }

  /** A connection to the driver. @throws {AgentError} CSI_DRIVER_MISSING, retryable */
  connect(name: string): CsiClient {
    const driver = this.#drivers.get(name);
    if (driver !== undefined) return new CsiClient(driver.endpoint, { observe: this.#observe?.(name) });
    throw new AgentError(`driver name ${name} not found in the list of registered CSI drivers`, {
      code: 'CSI_DRIVER_MISSING',
      retryable: true,
      hint: `start the driver's pod on this node; it registers through plugins_registry`,
    });
  }

  validate(plugin: PluginInfo): void {
    this.#versionOf(plugin);
  }

  async register(plugin: PluginInfo, signal: AbortSignal): Promise<void> {
    const driver: Driver = { endpoint: plugin.endpoint, version: this.#versionOf(plugin), maxVolumes: 0 };
    this.#drivers.set(plugin.name, driver); // before anything is awaited: of two that come at once, one is refused
    try {
      await this.#show(plugin.name, driver, await infoOf(driver, signal), signal);
    } catch (err) {
      if (this.#drivers.get(plugin.name) === driver) this.#drivers.delete(plugin.name);
      throw err;
    }
    this.#log.info({ driver: plugin.name, endpoint: plugin.endpoint }, 'CSI driver registered');
    this.#onRegistered(plugin.name);
  }

  async deregister(plugin: PluginInfo, signal: AbortSignal): Promise<void> {
    this.#drivers.delete(plugin.name);
    await this.#node.uninstall(plugin.name, signal);
  }

  /** Shows how many volumes the driver takes now. False when it is not registered. @throws {CriError} */
  async refreshLimit(name: string, signal: AbortSignal): Promise<boolean> {
    const driver = this.#drivers.get(name);
    if (driver === undefined) return false;
    const info = await infoOf(driver, signal);
    if (info.maxVolumesPerNode !== driver.maxVolumes && this.#drivers.get(name) === driver) {
      await this.#show(name, driver, info, signal);
    }
    return true;
  }

  async #show(name: string, driver: Driver, info: NodeGetInfoResponse, signal: AbortSignal): Promise<void> {
    const { nodeId, maxVolumesPerNode: maxVolumes } = info;
    await this.#node.install({ name, nodeId, maxVolumes, topology: info.accessibleTopology?.segments ?? {} }, signal);
    driver.maxVolumes = maxVolumes;
  }

  /** @throws {AgentError} CSI_DRIVER_REFUSED */
  #versionOf(plugin: PluginInfo): Version {
    const { name, supportedVersions } = plugin;
    const refuse = (why: string) =>
      new AgentError(`kubernetes.io/csi: RegisterPlugin for CSI driver ${JSON.stringify(name)} failed. ${why}`, {
        code: 'CSI_DRIVER_REFUSED',
      });
    if (!/^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/.test(name)) throw refuse('The name is no driver name');
    if (supportedVersions.length === 0) throw refuse('Plugin returned an empty list for supported versions');
    const versions = supportedVersions.map(supportedVersion).filter((v) => v !== undefined);
    const highest = versions.toSorted(compare).at(-1);
    if (highest === undefined) {
      throw refuse(`None of the versions specified ${JSON.stringify(supportedVersions)} are supported`);
    }
    const known = this.#drivers.get(name);
    if (known !== undefined && compare(highest, known.version) <= 0) {
      const version = JSON.stringify(known.version.join('.'));
      throw refuse(
        `Another driver with the same name is already registered with a higher supported version: ${version}`,
      );
    }
    return highest;
  }
}
