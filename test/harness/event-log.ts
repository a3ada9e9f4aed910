// What a runtime tells while a test goes on.
import type { RuntimeEvent, RuntimeService } from '../../cri/runtime-service.ts';

/** Events as they come, and a way to wait for one. */
export class EventLog implements AsyncDisposable {
  readonly events: RuntimeEvent[] = [];
  readonly #stop = new AbortController();
  readonly #waiting = new Set<() => void>();
  #following: Promise<void> = Promise.resolve();

  static async open(runtime: RuntimeService): Promise<EventLog> {
    const log = new EventLog();
    const connected = Promise.withResolvers<void>();
    log.#following = log.#follow(runtime, connected.resolve);
    log.#following.catch(connected.reject);
    await connected.promise;
    return log;
  }

  /** Types of the events of one container or sandbox, in order. */
  of(id: string): RuntimeEvent['type'][] {
    return this.events.filter((e) => e.containerId === id).map((e) => e.type);
  }

  async next(type: RuntimeEvent['type'], containerId: string): Promise<RuntimeEvent> {
    for (;;) {
      const found = this.events.find((e) => e.type === type && e.containerId === containerId);
      if (found !== undefined) return found;
      const news = Promise.withResolvers<void>();
      this.#waiting.add(news.resolve);
      await news.promise;
    }
  }

  async #follow(runtime: RuntimeService, onConnected: () => void): Promise<void> {
    for await (const event of runtime.events(this.#stop.signal, onConnected)) {
      this.events.push(event);
      for (const wake of this.#waiting) wake();
      this.#waiting.clear();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }
}
