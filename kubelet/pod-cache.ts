// The newest runtime status of each pod, read only when something says that it may have changed. Three things say so:
// a runtime event, a relist that differs, and an action of ours (`markStale`). Between them a status costs no call.
import type { Clock } from '../core/clock.ts';
import type { KubeletObserver } from './metrics/observer.ts';
import type { PodRuntimeStatus, RuntimePod } from './runtime/pod-runtime-status.ts';
import type { RuntimeManager } from './runtime/runtime-manager.ts';

/** What names a pod to the runtime. */
export interface PodIdentity {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
}

/** Of one container or sandbox, as the cached status has it. */
export interface KnownInstance {
  readonly podUid: string;
  readonly state: 'created' | 'running' | 'exited' | 'unknown';
}

interface Entry {
  readonly status: PodRuntimeStatus;
  readonly seq: number;
}

export interface PodCacheDeps {
  readonly runtime: Pick<RuntimeManager, 'getPodStatus'>;
  readonly observer?: Pick<KubeletObserver, 'podRelisted'>;
  readonly clock: Clock;
}

/**
 * Order is counted, not timed: `seq` grows with each question to the runtime and each mark, so that two things within
 * one tick of a clock still have an order. A status answers for everything marked before its question was asked.
 */
export class PodCache {
  readonly #runtime: PodCacheDeps['runtime'];
  readonly #observer: PodCacheDeps['observer'];
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #instances = new Map<string, KnownInstance>();
  readonly #markedAt = new Map<string, number>();
  /** Stale pods to which nothing has happened but that we added containers. */
  readonly #onlyAdded = new Set<string>();
  readonly #reads = new Map<string, Promise<void>>();
  readonly #listeners = new Set<(status: PodRuntimeStatus) => void>();
  readonly #changeListeners = new Set<(uid: string) => void>();
  #seq = 0;
  #listSeq = 0;
  #listedAtMs = 0;

  constructor(deps: PodCacheDeps) {
    this.#runtime = deps.runtime;
    this.#observer = deps.observer;
    this.#clock = deps.clock;
  }

  /** The stored status, however old. */
  get(uid: string): PodRuntimeStatus | undefined {
    return this.#entries.get(uid)?.status;
  }

  /** What is known of a container or sandbox id. */
  instance(id: string): KnownInstance | undefined {
    return this.#instances.get(id);
  }

  /** Pods with a stored status. */
  uids(): string[] {
    return [...this.#entries.keys()];
  }

  /** What was asked for before now does not count any more. `onlyAdded`: all that happened are additions of ours. */
  markStale(uid: string, { onlyAdded = false } = {}): void {
    if (!onlyAdded) this.#onlyAdded.delete(uid);
    else if (!this.isStale(uid)) this.#onlyAdded.add(uid);
    this.#markedAt.set(uid, ++this.#seq);
    this.#tellChanged(uid);
  }

  /** True when the next `fresh` has to ask the runtime. */
  isStale(uid: string): boolean {
    const seq = this.#entries.get(uid)?.seq ?? this.#listSeq;
    return seq === 0 || seq < (this.#markedAt.get(uid) ?? 0);
  }

  /** `listener` is called with each status that is stored; it must not throw. */
  onStored(listener: (status: PodRuntimeStatus) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** `listener` is called when a pod may look different from before: it was marked, stored or dropped. Must not throw. */
  onChanged(listener: (uid: string) => void): Disposable {
    this.#changeListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#changeListeners.delete(listener) };
  }

  /** To be called before all pods of the runtime are listed; `endList` takes what it returns. */
  beginList(): number {
    return ++this.#seq;
  }

  /** All pods of the runtime were `uids`: any other had nothing there. Returns the pods that turned out to be gone. */
  endList(seq: number, uids: ReadonlySet<string>): string[] {
    this.#listSeq = Math.max(this.#listSeq, seq);
    this.#listedAtMs = this.#clock.monotonicMs();
    const gone = [...this.#entries].filter(([uid, entry]) => !uids.has(uid) && entry.seq < seq).map(([uid]) => uid);
    for (const uid of gone) {
      this.#drop(uid);
      this.#tellChanged(uid);
    }
    for (const [uid, mark] of this.#markedAt) if (!uids.has(uid) && mark < seq) this.#markedAt.delete(uid);
    // A status that was asked for before the list and comes after it may show what the list did not find any more.
    for (const uid of this.#reads.keys()) if (!uids.has(uid) && !this.#markedAt.has(uid)) this.#markedAt.set(uid, seq);
    return gone;
  }

  /** True when the pod was asked about after the list that began at `seq`. */
  isNewerThan(uid: string, seq: number): boolean {
    return (this.#entries.get(uid)?.seq ?? 0) > seq;
  }

  /**
   * A status that covers everything that may have changed the pod; asks the runtime only when there is none such.
   * @throws what the runtime call throws.
   */
  async fresh(pod: PodIdentity): Promise<PodRuntimeStatus> {
    // A read that was under way when the pod was marked does not count; then the loop reads again.
    while (this.isStale(pod.uid)) await (this.#reads.get(pod.uid) ?? this.#read(pod));
    return this.#entries.get(pod.uid)?.status ?? emptyStatus(pod, this.#listedAtMs);
  }

  /** Forgets a pod that is finished everywhere. */
  remove(uid: string): void {
    this.#drop(uid);
    this.#markedAt.delete(uid);
    this.#onlyAdded.delete(uid);
    this.#tellChanged(uid);
  }

  #read(pod: PodIdentity): Promise<void> {
    const reading = (async () => {
      const seq = ++this.#seq;
      const startMs = this.#clock.monotonicMs();
      const onlyAdded = this.#onlyAdded.delete(pod.uid); // once: if it fails, nothing is known any more
      try {
        this.#store(await this.#runtime.getPodStatus(pod.uid, pod.name, pod.namespace, { onlyAdded }), seq);
      } finally {
        this.#observer?.podRelisted((this.#clock.monotonicMs() - startMs) / 1000);
        this.#reads.delete(pod.uid);
      }
    })();
    this.#reads.set(pod.uid, reading);
    return reading;
  }

  #store(status: PodRuntimeStatus, seq: number): void {
    if ((this.#entries.get(status.uid)?.seq ?? 0) > seq) return;
    this.#drop(status.uid);
    this.#entries.set(status.uid, { status, seq });
    for (const s of status.sandboxes) {
      const state = s.state === 'SANDBOX_READY' ? 'running' : 'exited';
      this.#instances.set(s.id, { podUid: status.uid, state });
    }
    for (const c of status.containers) this.#instances.set(c.id, { podUid: status.uid, state: c.state });
    if (seq > (this.#markedAt.get(status.uid) ?? 0)) this.#markedAt.delete(status.uid);
    for (const listener of this.#listeners) listener(status);
    this.#tellChanged(status.uid);
  }

  #tellChanged(uid: string): void {
    for (const listener of this.#changeListeners) listener(uid);
  }

  #drop(uid: string): void {
    const held = this.#entries.get(uid)?.status;
    for (const s of held?.sandboxes ?? []) this.#instances.delete(s.id);
    for (const c of held?.containers ?? []) this.#instances.delete(c.id);
    this.#entries.delete(uid);
  }
}

export function emptyStatus(pod: PodIdentity, observedAtMs: number): PodRuntimeStatus {
  return { ...pod, ips: [], sandboxes: [], containers: [], observedAtMs };
}

/** True when a list shows anything that the status does not: a state that changed, something new, something gone. */
export function differsFromList(status: PodRuntimeStatus | undefined, listed: RuntimePod): boolean {
  if (status === undefined) return true;
  if (status.sandboxes.length !== listed.sandboxes.length) return true;
  if (status.containers.length !== listed.containers.length) return true;
  const ready = new Map(status.sandboxes.map((s) => [s.id, s.state === 'SANDBOX_READY']));
  const states = new Map(status.containers.map((c) => [c.id, c.state]));
  return (
    listed.sandboxes.some((s) => ready.get(s.id) !== s.ready) ||
    listed.containers.some((c) => states.get(c.id) !== c.state)
  );
}
