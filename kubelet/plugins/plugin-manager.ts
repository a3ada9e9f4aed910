// Registers what shows up in the registration directory with the handler of its kind, and takes it back when its
// socket goes. After pkg/kubelet/pluginmanager (reconciler and operation executor).
import { KeyedBackoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { DueQueue } from '../../core/due-queue.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import { KeyedWorker } from '../../core/keyed-worker.ts';
import type { Logger } from '../../core/log.ts';
import { runTasks } from '../../core/tasks.ts';
import type { PluginHandler, PluginInfo } from './plugin-handler.ts';
import { RegistrationClient } from './registration-client.ts';
import { rpcErrorText } from './rpc-text.ts';
import { type Sockets, SocketWatcher } from './socket-watcher.ts';

/** Sockets worked on at once: a plugin that hangs must not hold up the others. */
const CONCURRENCY = 8;
const RETRY_INITIAL_MS = 500;
const RETRY_MAX_MS = 122_000;

interface Registered {
  /** Of the socket, as the watcher tells sockets of one name apart. */
  readonly id: string;
  readonly plugin: PluginInfo;
}

export class PluginManager {
  readonly #handlers: ReadonlyMap<string, PluginHandler>;
  readonly #log: Logger;
  readonly #watcher: SocketWatcher;
  readonly #worker: KeyedWorker<string>;
  readonly #backoff: KeyedBackoff<string>;
  readonly #retries: DueQueue<string>;
  readonly #registered = new Map<string, Registered>();
  #sockets: Sockets = new Map();

  /** `handlers` by the type that plugins tell. `dir`: the registration directory; it is made when missing. */
  constructor(dir: string, handlers: ReadonlyMap<string, PluginHandler>, deps: { clock: Clock; log: Logger }) {
    this.#handlers = handlers;
    this.#log = deps.log.child({ component: 'plugins' });
    this.#watcher = new SocketWatcher(dir, (sockets) => this.#handleSockets(sockets), deps);
    const opts = { name: 'plugins', concurrency: CONCURRENCY };
    this.#worker = new KeyedWorker((socket: string, signal) => this.#reconcile(socket, signal), opts, deps);
    this.#backoff = new KeyedBackoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS }, deps);
    this.#retries = new DueQueue(deps.clock, (socket) => this.#worker.request(socket));
  }

  /** Works until `signal` aborts. Plugins stay registered: they outlive the agent. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await runTasks(signal, { watcher: (s) => this.#watcher.run(s), worker: (s) => this.#worker.run(s) });
    } finally {
      this.#retries[Symbol.dispose]();
    }
  }

  /** Sockets of plugins that there should be, and that there are. */
  states(): { readonly desired: Iterable<string>; readonly actual: Iterable<string> } {
    return { desired: this.#sockets.keys(), actual: this.#registered.keys() };
  }

  #handleSockets(sockets: Sockets): void {
    const before = this.#sockets;
    this.#sockets = sockets;
    for (const socket of new Set([...before.keys(), ...sockets.keys()])) {
      if (before.get(socket) === sockets.get(socket)) continue;
      this.#backoff.delete(socket); // a new socket is tried at once, whatever the one before it did
      this.#worker.request(socket);
    }
  }

  async #reconcile(socket: string, signal: AbortSignal): Promise<void> {
    try {
      this.#retries.delete(socket);
      const id = this.#sockets.get(socket);
      const known = this.#registered.get(socket);
      if (known !== undefined && known.id !== id) await this.#deregister(socket, known.plugin, signal);
      if (id === undefined) this.#backoff.delete(socket);
      else if (!this.#registered.has(socket)) await this.#register(socket, id, signal);
    } catch (err) {
      if (signal.aborted) return;
      this.#backoff.next(socket, 0); // never old enough to be forgotten: a success or a new socket ends it
      const retryInMs = this.#backoff.get(socket);
      this.#retries.set(socket, retryInMs);
      this.#log.warn({ err, socket, retryInMs }, 'a plugin could not be registered or taken back, will retry');
    }
  }

  async #register(socket: string, id: string, signal: AbortSignal): Promise<void> {
    using client = new RegistrationClient(socket);
    const plugin = await client.getInfo(signal).catch((cause: unknown) => {
      throw failure(
        `failed to get plugin info using RPC GetInfo at socket ${socket}, err: ${rpcErrorText(cause)}`,
        cause,
      );
    });
    let handler: PluginHandler;
    try {
      handler = this.#handlerOf(plugin, socket);
      await this.#use(handler, plugin, signal);
    } catch (err) {
      // Whether the plugin hears of it changes nothing: it is refused and will be tried again.
      await client.notify(errorMessage(err), signal).catch(() => undefined);
      throw err;
    }
    // From here on it is to be taken back when its socket goes, even if it was never told of its success.
    this.#registered.set(socket, { id, plugin });
    try {
      await client.notify('', signal);
    } catch (cause) {
      if (signal.aborted) return;
      await this.#deregister(socket, plugin, signal);
      throw failure(`failed to notify plugin: ${rpcErrorText(cause)}`, cause);
    }
    this.#backoff.delete(socket);
    this.#log.info({ socket, type: plugin.type, plugin: plugin.name }, 'plugin registered');
  }

  #handlerOf(plugin: PluginInfo, socket: string): PluginHandler {
    const handler = this.#handlers.get(plugin.type);
    if (handler !== undefined) return handler;
    throw failure(`no handler registered for plugin type: ${plugin.type} at socket ${socket}`);
  }

  async #use(handler: PluginHandler, plugin: PluginInfo, signal: AbortSignal): Promise<void> {
    try {
      handler.validate(plugin);
    } catch (cause) {
      throw failure(`plugin validation failed with err: ${rpcErrorText(cause)}`, cause);
    }
    try {
      await handler.register(plugin, signal);
    } catch (cause) {
      throw failure(`plugin registration failed with err: ${rpcErrorText(cause)}`, cause);
    }
  }

  async #deregister(socket: string, plugin: PluginInfo, signal: AbortSignal): Promise<void> {
    await this.#handlers.get(plugin.type)?.deregister(plugin, signal);
    this.#registered.delete(socket);
    this.#log.info({ socket, type: plugin.type, plugin: plugin.name }, 'plugin taken back');
  }
}

function failure(text: string, cause?: unknown): AgentError {
  return new AgentError(`RegisterPlugin error -- ${text}`, { code: 'PLUGIN_REFUSED', cause, retryable: true });
}
