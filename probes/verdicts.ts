// The newest verdict per probe kind and container, and who wants to hear of changes (pkg/kubelet/prober/results).
import type { ProbeChange, ProbeKind, ProbeVerdict } from './probe-manager.ts';

export class Verdicts {
  readonly #byKind: Readonly<Record<ProbeKind, Map<string, ProbeChange>>> = {
    liveness: new Map(),
    readiness: new Map(),
    startup: new Map(),
  };
  readonly #handlers = new Set<(change: ProbeChange) => void>();

  get(kind: ProbeKind, containerId: string): ProbeVerdict | undefined {
    return this.#byKind[kind].get(containerId)?.verdict;
  }

  /** Stores, and tells the subscribers when the verdict is another one than before. */
  set(change: ProbeChange): void {
    const known = this.#byKind[change.kind];
    if (known.get(change.containerId)?.verdict === change.verdict) return;
    known.set(change.containerId, change);
    for (const handler of this.#handlers) handler(change);
  }

  remove(kind: ProbeKind, containerId: string): void {
    this.#byKind[kind].delete(containerId);
  }

  removePod(podUid: string): void {
    for (const known of Object.values(this.#byKind)) {
      for (const [id, change] of known) if (change.podUid === podUid) known.delete(id);
    }
  }

  subscribe(handler: (change: ProbeChange) => void): Disposable {
    this.#handlers.add(handler);
    return { [Symbol.dispose]: () => void this.#handlers.delete(handler) };
  }
}
