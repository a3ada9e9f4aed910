// Runs of a tool one after the other, the input of the next one being made while the last one works.
export class OneAtATime {
  #running: Promise<void> = Promise.resolve();

  /** Starts `job` once the last one has ended, and does not wait for its end. @throws what the last one threw. */
  async start(job: () => Promise<void>): Promise<void> {
    await this.#running;
    this.#running = job();
    this.#running.catch(() => {}); // thrown by the next call, which may come later than the failure
  }

  /** Resolves when nothing runs any more. @throws what the last job threw. */
  async end(): Promise<void> {
    await this.#running;
  }
}
