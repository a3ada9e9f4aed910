import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { CertificateManager } from './certificate-manager.ts';
import { ClientIdentity } from './client-identity.ts';
import type { LoadedPair } from './key-pair.ts';

const MINUTE_MS = 60_000;
const pairOf = (name: string) => ({ cert: `cert ${name}`, key: `key ${name}` }) as LoadedPair;

/** What a CertificateManager shows of itself. */
class FakeManager {
  pair: LoadedPair | undefined;
  serverHealthy = true;
  #listener: ((pair: LoadedPair) => void) | undefined;
  readonly current = () => this.pair;

  onChange(listener: (pair: LoadedPair) => void): Disposable {
    this.#listener = listener;
    return { [Symbol.dispose]: () => {} };
  }

  async run(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  issue(name: string): void {
    this.pair = pairOf(name);
    this.#listener?.(this.pair);
  }
}

let clock: FakeClock;
let manager: FakeManager;
let renewals: number;
let stop: AbortController;
beforeEach(() => {
  clock = new FakeClock();
  manager = new FakeManager();
  renewals = 0;
  stop = new AbortController();
});
afterEach(() => stop.abort());

const identity = (hasOthers = false) =>
  new ClientIdentity({
    manager: manager as unknown as CertificateManager,
    renewConnections: () => renewals++,
    hasOthers,
    clock,
    log: silentLog,
  });

test('calls wait for the first certificate, and are made anew with each later one', async () => {
  const { pair } = identity();
  const waiting = pair();
  let answered = false;
  void waiting.then(() => {
    answered = true;
  });
  await clock.advance(MINUTE_MS);
  expect(answered).toBe(false);
  manager.issue('1');
  expect((await waiting)?.cert).toBe('cert 1');
  expect(renewals).toBe(0); // nobody had a connection
  manager.issue('2');
  expect((await pair())?.cert).toBe('cert 2');
  expect(renewals).toBe(1);
  manager.pair = undefined; // expired: a call shows nothing rather than wait
  expect(await pair()).toBeUndefined();
});

test('with a token beside it no call waits', async () => {
  expect(await identity(true).pair()).toBeUndefined();
});

test('ends when it has had no certificate for five minutes and the server answers', async () => {
  const ended = identity().run(stop.signal);
  ended.catch(() => {}); // looked at below
  await clock.advance(4 * MINUTE_MS);
  manager.issue('1');
  await clock.advance(10 * MINUTE_MS);
  manager.pair = undefined;
  let hasEnded = false;
  ended.catch(() => {
    hasEnded = true;
  });
  await clock.advance(4 * MINUTE_MS); // since the last one was valid
  expect(hasEnded).toBe(false);
  manager.serverHealthy = false;
  await clock.advance(30 * MINUTE_MS); // a restart would not help
  expect(hasEnded).toBe(false);
  manager.serverHealthy = true;
  await clock.advance(MINUTE_MS);
  await expect(ended).rejects.toMatchObject({ code: 'NODE_CERTIFICATE_LOST' });
});
