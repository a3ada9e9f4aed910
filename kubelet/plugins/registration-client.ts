// The two calls that the node makes at a plugin's registration socket: who are you, and were you taken.

import type { PluginInfo as PluginInfoMessage } from '../../cri/gen/messages.ts';
import { methodOf, RpcChannel } from '../../cri/rpc.ts';
import type { PluginInfo } from './plugin-handler.ts';

const SERVICE = 'pluginregistration.Registration';
const GET_INFO = methodOf(SERVICE, 'GetInfo', 'InfoRequest', 'PluginInfo');
const NOTIFY = methodOf(SERVICE, 'NotifyRegistrationStatus', 'RegistrationStatus', 'RegistrationStatusResponse');
/** Connecting and the first call together, ms; upstream gives 10 s to the one and 1 s to the other. */
const GET_INFO_TIMEOUT_MS = 10_000;
const NOTIFY_TIMEOUT_MS = 5_000;

/** A connection to one registration socket. Dispose it when both calls are done. */
export class RegistrationClient implements Disposable {
  readonly #socket: string;
  readonly #channel: RpcChannel;

  constructor(socket: string) {
    this.#socket = socket;
    this.#channel = new RpcChannel(socket);
  }

  /** @throws {CriError} */
  async getInfo(signal: AbortSignal): Promise<PluginInfo> {
    const info = await this.#channel.call<PluginInfoMessage>(GET_INFO, {}, GET_INFO_TIMEOUT_MS, signal);
    return { ...info, endpoint: info.endpoint === '' ? this.#socket : info.endpoint };
  }

  /** `error`: '' when the plugin was taken. @throws {CriError} */
  async notify(error: string, signal: AbortSignal): Promise<void> {
    const status = { pluginRegistered: error === '', error };
    await this.#channel.call(NOTIFY, status, NOTIFY_TIMEOUT_MS, signal);
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}
