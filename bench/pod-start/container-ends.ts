// Tells when a container has ended, as soon as the runtime says so.
import type { RuntimeService } from '../../cri/runtime-service.ts';

export class ContainerEnds implements AsyncDisposable {
  readonly #ends = new Map<string, PromiseWithResolvers<void>>();
  readonly #stop = new AbortController();
  readonly #work: Promise<void>;

  private constructor(runtime: RuntimeService, onConnected: () => void) {
    this.#work = this.#follow(runtime, onConnected);
  }

  /** Resolves once nothing is missed any more. */
  static async follow(runtime: RuntimeService): Promise<ContainerEnds> {
    const connected = Promise.withResolvers<void>();
    const ends = new ContainerEnds(runtime, connected.resolve);
    await Promise.race([connected.promise, ends.#work]);
    return ends;
  }

  /** Also of a container that had ended before it was asked about. */
  of(containerId: string): Promise<void> {
    return this.#endOf(containerId).promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }

  async #follow(runtime: RuntimeService, onConnected: () => void): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const { type, containerId } of runtime.events(signal, onConnected)) {
        if (type === 'stopped') this.#endOf(containerId).resolve();
        else if (type === 'deleted') this.#ends.delete(containerId);
      }
    } catch (err) {
      if (!signal.aborted) throw err;
    }
  }

  #endOf(containerId: string): PromiseWithResolvers<void> {
    const known = this.#ends.get(containerId) ?? Promise.withResolvers<void>();
    this.#ends.set(containerId, known);
    return known;
  }
}
