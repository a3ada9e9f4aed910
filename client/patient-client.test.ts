import { describe, expect, test } from 'vitest';
import type { WatchEvent } from '../api/meta.ts';
import { configMaps, pods, serviceAccounts, volumeAttachments } from '../api/resources.ts';
import { FakeClock } from '../core/fake-clock.ts';
import type { ApiClient } from './api-client.ts';
import { ApiError, statusOf } from './errors.ts';
import { NoApi } from './no-api.ts';
import { PatientClient } from './patient-client.ts';

const STRANGER = 'configmaps "c" is forbidden: no relationship found between node \'n1\' and this object';
const UNBOUND = 'serviceaccounts "a" is forbidden: node requested token bound to a pod scheduled on a different node';

const refusal = (message: string) => new ApiError(statusOf(403, message));
const missing = (kind: string) => new ApiError({ ...statusOf(404, `${kind} "p" not found`), details: { kind } });

/** Fails with each of `errors` in turn, then answers. */
class Refusing extends NoApi {
  calls = 0;
  readonly #errors: Error[];

  constructor(...errors: Error[]) {
    super();
    this.#errors = errors;
  }

  override async get(): Promise<never> {
    return this.#next();
  }

  override async create(): Promise<never> {
    return this.#next();
  }

  override async delete(): Promise<void> {
    this.#next();
  }

  override async *watch<T>(): AsyncIterable<WatchEvent<T>> {
    yield this.#next();
  }

  #next(): never {
    this.calls++;
    const err = this.#errors.shift();
    if (err !== undefined) throw err;
    return { metadata: { name: 'p' } } as never;
  }
}

const clock = () => new FakeClock();

/** The outcome of `call` and the ms it took, however long it waits. */
async function outcome(call: (client: ApiClient) => Promise<unknown>, inner: ApiClient, time = clock()) {
  const startMs = time.monotonicMs();
  let ended = false;
  const run = call(new PatientClient(inner, time)).then(
    () => 'done',
    (err: Error) => err.message,
  );
  void run.then(() => {
    ended = true;
  });
  await time.advance(0);
  while (!ended) await time.advance(10);
  return { said: await run, ms: time.monotonicMs() - startMs };
}

const name = { namespace: 'ns', name: 'c' };
const get = (client: ApiClient) => client.get(configMaps, name);
const ask = (client: ApiClient) => client.create(serviceAccounts, name, {}, { subresource: 'token' });

describe('what the server does not know yet', () => {
  test('is asked for again within milliseconds', async () => {
    const inner = new Refusing(refusal(STRANGER));
    expect(await outcome(get, inner)).toEqual({ said: 'done', ms: 30 });
    expect(inner.calls).toBe(2);
    expect((await outcome(ask, new Refusing(refusal(UNBOUND), missing('pods')))).said).toBe('done');
  });

  test('is refused in the end when it stays so', async () => {
    const inner = new Refusing(...Array.from({ length: 9 }, () => refusal(STRANGER)));
    expect(await outcome(get, inner)).toEqual({ said: STRANGER, ms: 430 });
    expect(inner.calls).toBe(4);
  });

  test('ends the waiting when nobody waits for it any more', async () => {
    const stop = new AbortController();
    const time = clock();
    const inner = new Refusing(refusal(STRANGER), refusal(STRANGER));
    const call = new PatientClient(inner, time).get(configMaps, name, { signal: stop.signal });
    const said = expect(call).rejects.toThrow(STRANGER);
    await time.advance(10);
    stop.abort();
    await time.advance(0);
    await said;
    expect([inner.calls, time.sleeping]).toEqual([1, 0]);
  });
});

test.each([
  ['a refusal for other reasons', refusal('configmaps "c" is forbidden: User "u" cannot get resource "configmaps"')],
  ['an account that is not there', missing('serviceaccounts')],
  ['a conflict', new ApiError(statusOf(409, 'conflict'))],
])('%s is told at once', async (_, err) => {
  const inner = new Refusing(err, err);
  expect(await outcome(ask, inner)).toEqual({ said: err.message, ms: 0 });
  expect(inner.calls).toBe(1);
});

test('what is read and is not there, and what is deleted, is told at once', async () => {
  expect((await outcome((client) => client.get(pods, name), new Refusing(missing('pods')))).ms).toBe(0);
  const attachment = (client: ApiClient) => client.get(volumeAttachments, { name: 'a' });
  expect((await outcome(attachment, new Refusing(refusal(STRANGER)))).ms).toBe(0);
  const inner = new Refusing(refusal(STRANGER));
  expect((await outcome((client) => client.delete(pods, name), inner)).said).toBe(STRANGER);
});

describe('a watch', () => {
  const all = async (client: ApiClient) => {
    const seen: unknown[] = [];
    for await (const event of client.watch(configMaps, {})) seen.push(event);
    if (seen.length !== 1) throw new Error(`${seen.length} events`);
  };

  test('is begun again when it was refused', async () => {
    expect(await outcome(all, new Refusing(refusal(STRANGER), refusal(STRANGER)))).toEqual({ said: 'done', ms: 130 });
  });

  test('is not when it had begun: its follower knows where to go on', async () => {
    const inner = new (class extends Refusing {
      override async *watch<T>(): AsyncIterable<WatchEvent<T>> {
        this.calls++;
        yield {} as never;
        throw refusal(STRANGER);
      }
    })();
    expect(await outcome(all, inner)).toEqual({ said: STRANGER, ms: 0 });
    expect(inner.calls).toBe(1);
  });
});
