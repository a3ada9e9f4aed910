// Where device plugins register: a gRPC server at kubelet.sock in their directory. Plugins watch for that socket to be made
// anew and then register again. After pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go.
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { aborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { errnoOf, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { RegisterRequest } from '../../cri/gen/messages.ts';
import { methodOf } from '../../cri/rpc.ts';
import { type CallContext, GrpcServer } from '../plugins/grpc-server.ts';
import { API_VERSION, type DevicePlugins, endpointPath, invalidName, refused } from './device-plugins.ts';
import { isExtendedResourceName } from './device-types.ts';

const REGISTER = methodOf('v1beta1.Registration', 'Register', 'RegisterRequest', 'Empty');
const SOCKET = 'kubelet.sock';
const RETRY_MS = 5_000;

export interface RegistrationServerDeps {
  readonly plugins: Pick<DevicePlugins, 'connect'>;
  /** Plugins can register from now on. Must not throw. */
  readonly onOpen?: () => void;
  /** A plugin asks to be registered, for a resource of a proper name. Must not throw. */
  readonly onRegister?: (resource: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class RegistrationServer {
  readonly #dir: string;
  readonly #deps: RegistrationServerDeps;
  readonly #log: Logger;
  #error: string | undefined;

  /** `dir`: `/var/lib/kubelet/device-plugins`. */
  constructor(dir: string, deps: RegistrationServerDeps) {
    this.#dir = dir;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'device-plugins' });
  }

  /** Why plugins cannot register, for /healthz; undefined while they can. */
  error(): string | undefined {
    return this.#error;
  }

  /** Serves until `signal` aborts. A directory that cannot be used is tried again: pods without devices do not need it. */
  async run(signal: AbortSignal): Promise<void> {
    const register = {
      ...REGISTER,
      answer: (request: RegisterRequest, call: CallContext) => this.#register(request, call),
    };
    while (!signal.aborted) {
      await using server = new GrpcServer([register], { log: this.#log });
      try {
        await this.#removeSockets();
        await server.listen(path.join(this.#dir, SOCKET));
        this.#error = undefined;
        this.#deps.onOpen?.();
        await aborted(signal);
      } catch (err) {
        this.#error = 'device plugin registration gRPC server failed and no device plugins can register';
        this.#log.error({ err, retryInMs: RETRY_MS }, 'device plugins cannot register, will retry');
        await this.#deps.clock.sleep(RETRY_MS, signal);
      }
    }
  }

  /** Nobody can serve at them for this agent: plugins make theirs anew when they see the agent's. */
  async #removeSockets(): Promise<void> {
    try {
      const entries = await readdir(this.#dir, { withFileTypes: true });
      for (const entry of entries) if (entry.isSocket()) await rm(path.join(this.#dir, entry.name), { force: true });
    } catch (err) {
      if (errnoOf(err) !== 'ENOENT') throw err;
    }
  }

  /** Answers when the plugin is in use. What is thrown is told to the plugin, in upstream's words. */
  async #register(request: RegisterRequest, { signal }: CallContext): Promise<object> {
    const { version, endpoint, resourceName } = request;
    try {
      if (version !== API_VERSION) {
        const asked = JSON.stringify(version);
        throw refused(
          `requested API version ${asked} is not supported by kubelet. Supported version is ["${API_VERSION}"]`,
        );
      }
      if (!isExtendedResourceName(resourceName)) throw refused(invalidName(resourceName));
      this.#deps.onRegister?.(resourceName);
      const socket = endpointPath(this.#dir, endpoint);
      if (socket === undefined) throw refused(`endpoint ${JSON.stringify(endpoint)} is outside of ${this.#dir}`);
      await this.#deps.plugins.connect(resourceName, socket, signal);
      return {};
    } catch (err) {
      const resource = resourceName.slice(0, 256);
      this.#log.warn({ resource, reason: errorMessage(err) }, 'device plugin not registered');
      throw err;
    }
  }
}
