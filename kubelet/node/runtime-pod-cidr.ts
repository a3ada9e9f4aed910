// Tells the runtime which ranges the pods of this node get their addresses from. Most runtimes leave the network to CNI's
// files; those that make such a file of a template of their own (containerd's conf_template) wait for this.
// After pkg/kubelet/kubelet_network.go updatePodCIDR.
import type { Node } from '../../api/kinds.ts';
import type { ReadonlyStore } from '../../client/store.ts';
import { type Clock, MAX_TIMER_MS } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { SyncRunner } from '../../core/sync-runner.ts';
import { isCriError } from '../../cri/errors.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';

export interface RuntimePodCidrDeps {
  readonly runtime: Pick<RuntimeService, 'updateRuntimeConfig'>;
  /** Holds this node's own object. */
  readonly nodes: ReadonlyStore<Node>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** As often as a kubelet tries, with each status of its node, ms. */
const RETRY_MS = 10_000;

export class RuntimePodCidr {
  readonly #deps: RuntimePodCidrDeps;
  readonly #log: Logger;
  readonly #runner: SyncRunner;
  /** Ranges, separated by commas. */
  #wanted: string;
  #told = '';

  /** `podCidr`: the configuration's, until the Node has ranges; '' for none. */
  constructor(podCidr: string, deps: RuntimePodCidrDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'runtime-pod-cidr' });
    this.#wanted = podCidr;
    this.#runner = new SyncRunner(
      (signal) => this.#tell(signal),
      { name: 'runtime pod ranges', minIntervalMs: 0, retryIntervalMs: RETRY_MS, maxIntervalMs: MAX_TIMER_MS },
      { clock: deps.clock, log: this.#log },
    );
  }

  /** Until `signal` aborts. A runtime that fails is told again. */
  async run(signal: AbortSignal): Promise<void> {
    const look = ({ spec }: Node) => {
      const ranges = (spec?.podCIDRs ?? []).join(',');
      if (ranges === '' || ranges === this.#wanted) return; // a Node that is made anew loses its ranges for a while
      this.#wanted = ranges;
      this.#runner.request();
    };
    using _changes = this.#deps.nodes.subscribe({ onAdd: look, onUpdate: (_old, node) => look(node) });
    await this.#runner.run(signal);
  }

  async #tell(signal: AbortSignal): Promise<void> {
    const podCidr = this.#wanted;
    if (podCidr === this.#told) return;
    try {
      await this.#deps.runtime.updateRuntimeConfig(podCidr, { signal });
      this.#log.info({ podCidr, before: this.#told }, 'the runtime was told the ranges of pods');
    } catch (err) {
      if (!isCriError(err, 'UNIMPLEMENTED')) throw err;
      this.#log.debug({ err }, 'the runtime does not want to know the ranges of pods');
    }
    this.#told = podCidr;
  }
}
