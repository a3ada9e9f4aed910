// Connections to device plugins: a plugin that registers is dialled at the socket that it names, asked for its options and
// then listened to until it ends. A later one for the same resource takes its place for as long as it lives. After
// pkg/kubelet/cm/devicemanager/plugin/v1beta1 (handler, client).
import { lstat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import path from 'node:path';
import { type LinkedSignal, linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { DevicePluginOptions } from '../../cri/gen/messages.ts';
import type { PluginHandler, PluginInfo } from '../plugins/plugin-handler.ts';
import { rpcErrorText } from '../plugins/rpc-text.ts';
import type { DeviceInventory } from './device-inventory.ts';
import { DevicePluginClient, type DevicePluginTimeouts } from './device-plugin.ts';
import { type Device, devicesTold, isExtendedResourceName } from './device-types.ts';

export const DEVICE_PLUGIN_TYPE = 'DevicePlugin';
export const API_VERSION = 'v1beta1';

/** Resources that plugins may offer on one node, as long as the agent runs: each has its place in every status of the node. */
const MAX_RESOURCES = 128;
/** Plugins beside the one that serves a resource: of an update there are two for a while. */
const MAX_STANDBYS = 3;
/** A plugin may register before it serves; it has so long, as upstream's dial. */
const DIAL_MS = 10_000;
const DIAL_RETRY_MS = 100;
/**
 * Between two messages of one plugin, longer with each that follows soon: one that never stops talking must not keep the
 * agent, or the API server that hears of the node, from other work.
 */
const PACE_MS = 50;
const MAX_PACE_MS = 2_000;
/** So long without a message, and the next ones are taken at once again. */
const QUIET_MS = 10_000;

export interface DevicePluginsDeps {
  readonly inventory: DeviceInventory;
  readonly clock: Clock;
  readonly log: Logger;
  readonly timeouts?: Partial<DevicePluginTimeouts>;
}

interface Connection {
  readonly socket: string;
  readonly client: DevicePluginClient;
  readonly options: DevicePluginOptions;
  readonly life: LinkedSignal;
  /** Its devices, as it told them last. */
  told?: ReadonlyMap<string, Device>;
}

export class DevicePlugins implements PluginHandler, Disposable {
  readonly #deps: DevicePluginsDeps;
  readonly #log: Logger;
  /** By resource, the one that serves it last. */
  readonly #connections = new Map<string, readonly Connection[]>();

  constructor(deps: DevicePluginsDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'device-plugins' });
  }

  /** A plugin that was found in the registration directory. @throws {AgentError} DEVICE_PLUGIN_REFUSED */
  validate({ name, supportedVersions }: PluginInfo): void {
    if (!supportedVersions.includes(API_VERSION)) {
      const versions = supportedVersions.join(' ');
      throw refused(`manager version, ${API_VERSION}, is not among plugin supported versions [${versions}]`);
    }
    if (!isExtendedResourceName(name)) {
      throw refused(`invalid name of device plugin socket: ${invalidName(name)}`);
    }
  }

  async register({ name, endpoint }: PluginInfo, signal: AbortSignal): Promise<void> {
    await this.connect(name, endpoint, signal);
  }

  async deregister({ name, endpoint }: PluginInfo): Promise<void> {
    const connection = this.#of(name).find((c) => c.socket === endpoint);
    if (connection !== undefined) this.#drop(name, connection);
  }

  /**
   * Takes the plugin that listens at `socket` into use. Resolves when it has told its options.
   * @throws {AgentError} DEVICE_PLUGIN_REFUSED; nothing has changed then.
   */
  async connect(resource: string, socket: string, signal: AbortSignal): Promise<void> {
    const { inventory } = this.#deps;
    const { names } = inventory;
    if (!names.has(resource) && names.size >= MAX_RESOURCES) {
      throw refused(`there are ${MAX_RESOURCES} resources of device plugins on this node already`);
    }
    await this.#dial(socket, signal);
    const client = new DevicePluginClient(socket, this.#deps.timeouts);
    let options: DevicePluginOptions;
    try {
      options = await client.options(signal);
    } catch (cause) {
      client[Symbol.dispose]();
      throw refused(`failed to get device plugin options: ${rpcErrorText(cause)}`, cause);
    }
    this.#log.info({ resource, socket }, 'device plugin connected');
    inventory.connected(resource, { plugin: client, options });
    const connection: Connection = { socket, client, options, life: linkedSignal() };
    const others = this.#of(resource).filter((c) => c.socket !== socket); // at the same socket it is the same plugin
    const kept = [...others.slice(-MAX_STANDBYS), connection];
    for (const c of this.#of(resource)) if (!kept.includes(c)) end(c);
    this.#connections.set(resource, kept);
    void this.#follow(resource, connection); // never rejects
  }

  /** Plugins live on: they are looked for again by the next agent. */
  [Symbol.dispose](): void {
    for (const connection of [...this.#connections.values()].flat()) end(connection);
    this.#connections.clear();
  }

  #of(resource: string): readonly Connection[] {
    return this.#connections.get(resource) ?? [];
  }

  async #follow(resource: string, connection: Connection): Promise<void> {
    const { client, life } = connection;
    const { inventory, clock } = this.#deps;
    let why: unknown = 'the plugin ended it';
    let pace = { ms: PACE_MS, endMs: Number.NEGATIVE_INFINITY };
    try {
      for await (const devices of client.listAndWatch(life.signal)) {
        if (clock.monotonicMs() - pace.endMs > QUIET_MS) pace = { ...pace, ms: PACE_MS };
        connection.told = devicesTold(devices);
        inventory.update(resource, client, connection.told);
        await clock.sleep(pace.ms, life.signal);
        pace = { ms: Math.min(2 * pace.ms, MAX_PACE_MS), endMs: clock.monotonicMs() };
      }
    } catch (err) {
      why = err;
    }
    if (life.signal.aborted) return;
    this.#log.warn({ resource, reason: errorMessage(why) }, 'ListAndWatch of a device plugin ended');
    this.#drop(resource, connection);
  }

  /** One that served the resource before, and is still there, serves it again. */
  #drop(resource: string, connection: Connection): void {
    const { inventory } = this.#deps;
    end(connection);
    const left = this.#of(resource).filter((c) => c !== connection);
    this.#connections.set(resource, left);
    if (inventory.serving(resource)?.plugin !== connection.client) return;
    const next = left.at(-1);
    if (next === undefined) {
      inventory.disconnected(resource, connection.client);
      return;
    }
    inventory.connected(resource, { plugin: next.client, options: next.options });
    if (next.told !== undefined) inventory.update(resource, next.client, next.told);
  }

  /** Resolves when somebody listens at `socket`. */
  async #dial(socket: string, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const endMs = clock.monotonicMs() + DIAL_MS;
    for (;;) {
      const fault = (await socketFault(socket)) ?? (await connectFault(socket));
      if (fault === undefined) return;
      if (!fault.mayPass || clock.monotonicMs() >= endMs || signal.aborted) {
        throw refused(`failed to dial device plugin: ${fault.text}`);
      }
      await clock.sleep(DIAL_RETRY_MS, signal);
    }
  }
}

function end({ client, life }: Connection): void {
  life.abort();
  client[Symbol.dispose]();
}

interface Fault {
  readonly text: string;
  /** Whoever is to listen there may not have come to it yet. */
  readonly mayPass: boolean;
}

/**
 * The agent would do what this socket says with root's rights: mount what it names, hand out what devices it names. So
 * whoever may make a socket in that directory has to be root, or the agent's own user, himself.
 */
async function socketFault(socket: string): Promise<Fault | undefined> {
  try {
    const { uid, isSocket } = await lstat(socket).then((s) => ({ uid: s.uid, isSocket: s.isSocket() }));
    if (!isSocket) return { text: `${socket} is no socket`, mayPass: false };
    if (uid === 0 || uid === process.geteuid?.()) return undefined;
    return { text: `${socket} belongs to user ${uid}, not to root`, mayPass: false };
  } catch (err) {
    return { text: errorMessage(err), mayPass: errnoOf(err) === 'ENOENT' };
  }
}

function connectFault(socket: string): Promise<Fault | undefined> {
  return new Promise((resolve) => {
    const connection = createConnection(socket, () => {
      connection.destroy();
      resolve(undefined);
    });
    connection.once('error', (err) => {
      const mayPass = ['ENOENT', 'ECONNREFUSED', 'EAGAIN'].includes(errnoOf(err) ?? '');
      resolve({ text: err.message, mayPass });
    });
  });
}

/** The endpoint that a plugin names when it registers, as a path; undefined for one outside of `dir`. */
export function endpointPath(dir: string, endpoint: string): string | undefined {
  const file = path.join(dir, endpoint);
  const inside = path.relative(dir, file);
  if (endpoint === '' || endpoint.includes('\0') || inside === '' || inside.split(path.sep)[0] === '..')
    return undefined;
  return file;
}

export function invalidName(name: string): string {
  return `the ResourceName ${JSON.stringify(name)} is invalid`;
}

export function refused(message: string, cause?: unknown): AgentError {
  return new AgentError(message, { code: 'DEVICE_PLUGIN_REFUSED', cause });
}
