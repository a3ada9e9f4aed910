// The node's client certificate as the API clients see it: what they show, when their connections are made anew, and
// when there is no hope but a restart. After pkg/kubelet/certificate/transport.go.
import type { ClientPair } from '../../client/kubeconfig.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { CertificateManager } from './certificate-manager.ts';

/** Without a valid certificate for so long, an agent whose server works ends, to be started and to bootstrap again, ms. */
const EXIT_AFTER_MS = 5 * 60_000;
const LOOK_MS = 10_000;

export interface ClientIdentityDeps {
  readonly manager: CertificateManager;
  /** Makes the API clients show the certificate of now. */
  readonly renewConnections: () => void;
  /** Other credentials (a token) are shown as well: calls need not wait for the first certificate. */
  readonly hasOthers: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

export class ClientIdentity {
  readonly #deps: ClientIdentityDeps;
  readonly #first: Promise<void>;
  #isPending: boolean;
  #lastValidMs: number;

  constructor(deps: ClientIdentityDeps) {
    this.#deps = deps;
    const { manager, clock } = deps;
    this.#lastValidMs = clock.monotonicMs();
    this.#isPending = manager.current() === undefined && !deps.hasOthers;
    const first = Promise.withResolvers<void>();
    this.#first = first.promise;
    manager.onChange(() => {
      if (this.#isPending) {
        this.#isPending = false;
        first.resolve(); // nobody has a connection yet
        return;
      }
      deps.log.info('client certificate changed, API connections are made anew');
      deps.renewConnections();
    });
  }

  /**
   * What API calls show: until there is a first certificate they wait for it, as nobody would answer them. One that has
   * expired is not shown.
   */
  readonly pair = async (): Promise<ClientPair | undefined> => {
    if (this.#isPending) await this.#first;
    return this.#deps.manager.current();
  };

  /** Keeps the certificate until `signal` aborts. @throws {AgentError} NODE_CERTIFICATE_LOST */
  async run(signal: AbortSignal): Promise<void> {
    const { manager, clock } = this.#deps;
    const rotating = manager.run(signal);
    while (!signal.aborted) {
      const nowMs = clock.monotonicMs();
      if (manager.current() !== undefined) this.#lastValidMs = nowMs;
      else if (nowMs - this.#lastValidMs > EXIT_AFTER_MS && manager.serverHealthy) throw lost();
      await clock.sleep(LOOK_MS, signal);
    }
    await rotating;
  }
}

function lost(): AgentError {
  return new AgentError('the node has had no valid client certificate for five minutes, and the API server answers', {
    code: 'NODE_CERTIFICATE_LOST',
    hint: 'started again the agent uses --bootstrap-kubeconfig: give it one with a token that is valid, and look at kubectl get csr',
  });
}
