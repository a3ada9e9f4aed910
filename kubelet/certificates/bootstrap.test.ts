// A node that asks once, killed and started again at each step.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { certificateSigningRequests } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { bootstrapOnce, requestName } from './bootstrap.ts';
import { CertificateStore } from './certificate-store.ts';
import { CLIENT_SIGNER, CLIENT_USAGES, clientTemplate } from './certificate-template.ts';
import { FakeAuthority } from './fake-authority.ts';
import { createKeyPem } from './key-pair.ts';
import { signingRequest } from './signing-request.ts';

let clock: FakeClock;
let api: FakeApi;
let authority: FakeAuthority;
let dir: string;
let healthz: () => Promise<void>;

beforeEach(async () => {
  clock = new FakeClock();
  api = new FakeApi({ now: () => clock.now() });
  authority = new FakeAuthority(api, () => clock.now());
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-bootstrap-'));
  healthz = async () => {};
});
afterEach(() => rm(dir, { recursive: true }));

function start(signal = new AbortController().signal): { readonly ended: Promise<unknown>; isOver: () => boolean } {
  let over = false;
  const deps = { client: api, healthz: () => healthz(), clock, log: silentLog };
  const ended = bootstrapOnce('n', dir, deps, signal).then(
    () => undefined,
    (err: unknown) => err,
  );
  void ended.then(() => {
    over = true;
  });
  return { ended, isOver: () => over };
}

const until = (good: () => boolean): Promise<void> => clock.until(good);

const requests = () => api.all(certificateSigningRequests);

test('killed while it waits, the node goes on with its key and its request', async () => {
  const stop = new AbortController();
  const first = start(stop.signal);
  await until(() => requests().length === 1);
  stop.abort();
  await first.ended;
  const key = await readFile(path.join(dir, 'kubelet-client.key.tmp'), 'utf8');
  const second = start();
  await until(() => api.requests.filter((r) => r.verb === 'create').length === 2);
  expect(requests()).toHaveLength(1);
  expect(requests()[0]?.metadata?.name).toBe(requestName(key, 'n'));
  await authority.issue(requests()[0]!, 3_600_000);
  await until(second.isOver);
  expect(await second.ended).toBeUndefined();
  const store = new CertificateStore({ dir, prefix: 'kubelet-client' });
  expect((await store.current())?.key).toBe(key);
  expect((await readdir(dir)).filter((n) => n.endsWith('.tmp'))).toEqual([]);
});

test('a refused request stays refused', async () => {
  const first = start();
  await until(() => requests().length === 1);
  await authority.deny(requests()[0]!);
  await until(first.isOver);
  expect(await first.ended).toMatchObject({ code: 'CSR_DENIED' });
  expect(await start().ended).toMatchObject({ code: 'CSR_DENIED' });
});

test.each([
  ['another key', createKeyPem(), clientTemplate('n'), CLIENT_USAGES, CLIENT_SIGNER],
  ['another signer', undefined, clientTemplate('n'), CLIENT_USAGES, 'example.com/other'],
  ['other usages', undefined, clientTemplate('n'), ['server auth' as const], CLIENT_SIGNER],
  ['another subject', undefined, clientTemplate('m'), CLIENT_USAGES, CLIENT_SIGNER],
])('a request of that name with %s is not taken for ours', async (_what, otherKey, template, usages, signerName) => {
  const key = createKeyPem();
  await writeFile(path.join(dir, 'kubelet-client.key.tmp'), key);
  const name = requestName(key, 'n');
  const foreign = signingRequest({ signerName, usages, template, key: otherKey ?? key, name });
  await api.create(certificateSigningRequests, {}, foreign);
  expect(await start().ended).toMatchObject({ code: 'CSR_FOREIGN' });
});

test('a server that is not well is waited for, a minute long', async () => {
  let calls = 0;
  healthz = async () => {
    calls++;
    throw new Error('not yet');
  };
  const run = start();
  await until(() => calls === 1);
  expect(requests()).toEqual([]);
  await clock.advance(65_000);
  await until(() => requests().length === 1);
  expect(calls).toBeGreaterThan(20);
  await authority.issue(requests()[0]!, 3_600_000);
  await until(run.isOver);
});

test('a file that holds no key is replaced', async () => {
  await writeFile(path.join(dir, 'kubelet-client.key.tmp'), '');
  const run = start();
  await until(() => requests().length === 1);
  await authority.issue(requests()[0]!, 3_600_000);
  await until(run.isOver);
  expect(await run.ended).toBeUndefined();
});
