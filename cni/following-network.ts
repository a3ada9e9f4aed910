// The pod network over the interface that carries what goes to other nodes, and made anew over what that becomes: addresses
// of a node may change while it runs, and default routes move to other interfaces.
import { isDeepStrictEqual } from 'node:util';
import { aborted, linkedSignal } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { errorMessage, isAgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { FollowNetwork } from '../host/ip-monitor.ts';
import type { ExternalChoice } from './external-interface.ts';

/** As much of a PodNetwork as running one takes. */
export interface RunnableNetwork {
  readonly ready: Promise<void>;
  run(signal: AbortSignal): Promise<void>;
}

export interface FollowingNetworkDeps {
  /** Looks at the host, and prefers what is used at `present`. @throws {AgentError} NODE_ADDRESS while there is nothing that could be chosen. */
  readonly choose: (present: ExternalChoice | undefined, signal: AbortSignal) => Promise<ExternalChoice>;
  /** `follow` is the one that is to be used: it is listened to here as well. */
  readonly make: (choice: ExternalChoice, follow: FollowNetwork) => RunnableNetwork;
  readonly follow: FollowNetwork;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onReady: () => void;
}

/** A change comes in several steps (an address goes, another one comes, then the routes); they are taken together, ms. */
const SETTLE_MS = 1_000;
/** While there is no way yet, it is looked again so often, ms: seldom for more than the seconds in which a host boots. */
const NO_WAY_MS = 3_000;

/**
 * Runs until `signal` aborts. A network that is made anew finds what the one before left, as after a restart of the agent.
 * @throws what the network throws.
 */
export async function runFollowingNetwork(deps: FollowingNetworkDeps, signal: AbortSignal): Promise<void> {
  let choice = await waitForWay((s) => deps.choose(undefined, s), deps, signal);
  while (choice !== undefined && !signal.aborted) {
    const next = await runOver(choice, deps, signal);
    if (next !== undefined) {
      deps.log.warn({ before: choice.external, after: next.external }, 'the way to other nodes changed');
    }
    choice = next;
  }
}

/**
 * The first choice there is; undefined when `signal` aborts before. Routes come late while a host boots: flanneld ends then,
 * and is started again and again, but it is not its node's kubelet as well.
 */
export async function waitForWay(
  choose: (signal: AbortSignal) => Promise<ExternalChoice>,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
  signal: AbortSignal,
): Promise<ExternalChoice | undefined> {
  let told = '';
  while (!signal.aborted) {
    try {
      return await choose(signal);
    } catch (err) {
      if (signal.aborted) return undefined;
      if (!isAgentError(err) || err.code !== 'NODE_ADDRESS') throw err;
      const { message: reason, hint } = err;
      if (told !== reason) log.error({ reason, hint }, 'there is no way to other nodes yet: the pod network waits');
      told = reason;
    }
    await clock.sleep(NO_WAY_MS, signal);
  }
  return undefined;
}

/** Undefined when the network ended; otherwise what has to be used from now on. */
async function runOver(
  choice: ExternalChoice,
  deps: FollowingNetworkDeps,
  signal: AbortSignal,
): Promise<ExternalChoice | undefined> {
  using running = linkedSignal(signal);
  const changes = new Changes(choice, deps);
  const network = deps.make(choice, (onLine, s) =>
    deps.follow((line) => {
      onLine(line);
      changes.hear(line);
    }, s),
  );
  void network.ready.then(deps.onReady); // cannot fail
  const ended = network.run(running.signal);
  try {
    return await Promise.race([ended.then(() => undefined), changes.next(running.signal)]);
  } finally {
    running.abort();
    await ended.catch(() => {}); // what it failed with has been thrown by the race, unless it was told to end
  }
}

/** Waits for another choice than the present one. */
class Changes {
  readonly #choice: ExternalChoice;
  readonly #deps: FollowingNetworkDeps;
  readonly #concerns: RegExp;
  #heard = Promise.withResolvers<void>();

  constructor(choice: ExternalChoice, deps: FollowingNetworkDeps) {
    this.#choice = choice;
    this.#deps = deps;
    // The interface itself and its addresses, not its neighbours; and default routes, by which it may have been chosen.
    this.#concerns = new RegExp(`^(Deleted )?(\\d+: ${RegExp.escape(choice.external.device)}(@\\S+?)?:?\\s|default )`);
  }

  hear(line: string): void {
    if (this.#concerns.test(line)) this.#heard.resolve();
  }

  async next(signal: AbortSignal): Promise<ExternalChoice | undefined> {
    const { clock, log, choose } = this.#deps;
    void aborted(signal).then(() => this.#heard.resolve()); // once: a race with it at each change would leave a listener
    for (;;) {
      await this.#heard.promise;
      await clock.sleep(SETTLE_MS, signal);
      if (signal.aborted) return undefined;
      this.#heard = Promise.withResolvers();
      try {
        const now = await choose(this.#choice, signal);
        if (!isDeepStrictEqual(now, this.#choice)) return now;
      } catch (err) {
        if (signal.aborted) return undefined;
        log.warn({ reason: errorMessage(err) }, 'there is no way to other nodes now, the pod network stays as it is');
      }
    }
  }
}
