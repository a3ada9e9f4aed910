// Sidecars end after what they serve: each waits for all regular containers, and for the sidecar that follows it in the
// spec (pkg/kubelet/kuberuntime/kuberuntime_termination_order.go).

import type { Pod } from '../../api/pod.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { isSidecar } from './restart-policy.ts';

export class TerminationOrder {
  readonly #ended = new Map<string, PromiseWithResolvers<void>>();
  readonly #waitsFor = new Map<string, readonly string[]>();
  readonly #broken = Promise.withResolvers<never>();

  /** Undefined when the pod has no sidecar: then nobody waits for anybody. Containers not in `running` have ended. */
  static of(pod: Pod, running: ReadonlySet<string>): TerminationOrder | undefined {
    const sidecars = (pod.spec?.initContainers ?? []).filter(isSidecar).map((c) => c.name);
    if (sidecars.length === 0) return undefined;
    const order = new TerminationOrder();
    order.#broken.promise.catch(() => {}); // for those who wait, if anybody does
    const regular = (pod.spec?.containers ?? []).map((c) => c.name);
    for (const [i, name] of sidecars.entries()) {
      const next = sidecars[i + 1];
      order.#waitsFor.set(name, next === undefined ? regular : [...regular, next]);
    }
    for (const name of [...regular, ...sidecars]) {
      order.#ended.set(name, Promise.withResolvers());
      if (!running.has(name)) order.terminated(name);
    }
    return order;
  }

  terminated(name: string): void {
    this.#ended.get(name)?.resolve();
  }

  /** Nobody can be ended any more, and nobody is told when others have: whose turn has not come waits no longer. */
  breakOff(cause: unknown): void {
    this.#broken.reject(cause);
  }

  /** Resolves when it is the container's turn, after `maxMs`, or when `signal` aborts. @throws what broke it off */
  async waitForTurn(name: string, maxMs: number, clock: Clock, signal?: AbortSignal): Promise<void> {
    const others = this.#waitsFor.get(name);
    if (others === undefined) return;
    using waiting = linkedSignal(signal);
    const ended = Promise.all(others.map((o) => this.#ended.get(o)?.promise)).then(() => waiting.abort());
    try {
      await Promise.race([ended, clock.sleep(maxMs, waiting.signal), this.#broken.promise]);
    } finally {
      waiting.abort(); // ends the sleep that lost the race
    }
  }
}
