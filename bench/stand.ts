// What the benchmarks that need a whole node stand on: a lab with one node, a client of its API server and a watch of pods.
import type { RestClient } from '../client/rest.ts';
import { BenchLab } from './pod-start/bench-lab.ts';
import { PodWatcher, waitForServiceAccount } from './pod-start/system.ts';

export interface Stand {
  readonly lab: BenchLab;
  readonly client: RestClient;
  readonly watcher: PodWatcher;
  /** Tells whoever waits how far it is. */
  readonly note: (text: string) => void;
  /** Aborted when somebody ends the benchmark. */
  readonly signal: AbortSignal;
}

/** @throws what `work` or a part of the lab throws; the lab is taken down in any case. */
export async function withStand(
  opts: { readonly dir: string; readonly port: number },
  signal: AbortSignal,
  work: (stand: Stand) => Promise<void>,
): Promise<void> {
  const note = (text: string) => void process.stderr.write(`${text}\n`);
  note('bringing up a lab with one node …');
  await using lab = await BenchLab.start(opts.dir, opts.port, signal);
  const client = await lab.client();
  try {
    await waitForServiceAccount(client, signal);
    const watcher = new PodWatcher(client);
    await whileWatching(
      (until) => watcher.run(until),
      signal,
      () => work({ lab, client, watcher, note, signal }),
    );
  } finally {
    client.closeIdleConnections();
  }
}

/** `work`, while `watch` runs until its signal is aborted. A watch that fails, or that somebody ends, ends the work. */
export async function whileWatching(
  watch: (until: AbortSignal) => Promise<unknown>,
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  const done = new AbortController();
  const watching = watch(AbortSignal.any([signal, done.signal]));
  const ended = watching.then(() => {
    signal.throwIfAborted();
    if (!done.signal.aborted) throw new Error('the watch ended before the work was done');
  });
  try {
    await Promise.race([work(), ended, rejectOn(signal)]);
  } finally {
    done.abort();
    await ended.catch(() => {}); // thrown above, or ended because it had to
  }
}

function rejectOn(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
