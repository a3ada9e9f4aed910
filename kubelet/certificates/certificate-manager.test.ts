// The node's certificate over time: first, renewed, refused, for other addresses, expired.
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCa, createCsr, parseCsr, signCsr, YEAR_MS } from '../../api/pki.ts';
import { certificateSigningRequests } from '../../api/resources.ts';
import { FakeApi, failure } from '../../client/fake-client.ts';
import { AgentError } from '../../core/errors.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { CertificateManager, type CertificateManagerOptions } from './certificate-manager.ts';
import { CertificateStore } from './certificate-store.ts';
import {
  type CertificateTemplate,
  CLIENT_SIGNER,
  CLIENT_USAGES,
  clientTemplate,
  SERVING_SIGNER,
  SERVING_USAGES,
} from './certificate-template.ts';
import { FakeAuthority } from './fake-authority.ts';

const HOUR_MS = 3_600_000;
let clock: FakeClock;
let api: FakeApi;
let authority: FakeAuthority;
let dir: string;
let stop: AbortController;
let asked: boolean[];
let failures: number;
let ended: Promise<void>;

beforeEach(async () => {
  clock = new FakeClock();
  api = new FakeApi({ now: () => clock.now() });
  authority = new FakeAuthority(api, () => clock.now());
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-manager-'));
  stop = new AbortController();
  asked = [];
  failures = 0;
  ended = Promise.resolve();
});

afterEach(async () => {
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
  await rm(dir, { recursive: true });
});

const client: CertificateManagerOptions = {
  name: 'client',
  signerName: CLIENT_SIGNER,
  usages: CLIENT_USAGES,
  template: () => clientTemplate('n'),
};

async function start(opts: Partial<CertificateManagerOptions> = {}): Promise<CertificateManager> {
  const manager = new CertificateManager(
    { ...client, ...opts },
    {
      store: new CertificateStore({ dir, prefix: 'kubelet-client' }),
      client: (has) => {
        asked.push(has);
        return api;
      },
      onFailure: () => failures++,
      clock,
      log: silentLog,
      random: () => 0.5,
    },
  );
  await manager.open();
  ended = manager.run(stop.signal);
  return manager;
}

/** Files are written behind the clock's back. */
const until = (good: () => boolean): Promise<void> => clock.until(good);

async function nextRequest() {
  await until(() => authority.pending().length === 1);
  return authority.pending()[0]!;
}

test('the first certificate is asked for at once, in the form that approvers know, and stored', async () => {
  const manager = await start();
  expect(manager.current()).toBeUndefined();
  const request = await nextRequest();
  expect(request.metadata?.generateName).toBe('csr-');
  expect(request.spec).toMatchObject({ signerName: CLIENT_SIGNER, usages: ['digital signature', 'client auth'] });
  expect(request.spec.expirationSeconds).toBeUndefined();
  const csr = parseCsr(Buffer.from(request.spec.request, 'base64').toString());
  expect([csr.commonName, csr.organizations, csr.dnsNames]).toEqual(['system:node:n', ['system:nodes'], []]);
  await authority.issue(request, HOUR_MS, true);
  await clock.advance(1000);
  expect(manager.current()).toBeUndefined(); // approved is not signed
  let told = 0;
  manager.onChange(() => told++);
  await authority.issue(request, HOUR_MS);
  await until(() => manager.current() !== undefined);
  expect(manager.current()?.key).toContain('BEGIN EC PRIVATE KEY');
  await until(() => told === 1);
  expect((await readdir(dir)).filter((n) => n.endsWith('current.pem'))).toHaveLength(1);
  expect(asked).toEqual([false]);
});

test('renewed in time with the certificate it has, and by another process from where it was', async () => {
  const first = await start();
  await authority.issue(await nextRequest(), 100 * HOUR_MS);
  await until(() => first.current() !== undefined);
  const serial = first.current()!.leaf.serialNumber;
  stop.abort();
  await ended;

  stop = new AbortController();
  const manager = await start();
  expect(manager.current()?.leaf.serialNumber).toBe(serial);
  await clock.advance(79 * HOUR_MS);
  expect(authority.pending()).toEqual([]);
  await clock.advance(HOUR_MS); // a minute more than 0.8 of its life
  await authority.issue(await nextRequest(), 100 * HOUR_MS);
  await until(() => manager.current()!.leaf.serialNumber !== serial);
  expect(asked).toEqual([false, true]);
  expect(manager.serverHealthy).toBe(true);
});

test('a refusal is told and another request is made after two seconds, then later and later', async () => {
  await start();
  await authority.deny(await nextRequest());
  await until(() => failures === 1);
  for (const waitMs of [2000, 4000, 8000, 16_000, 32_000, 32_000]) {
    await clock.advance(waitMs);
    expect(authority.pending()).toEqual([]); // a little longer, for the jitter
    await clock.advance(waitMs * 0.1);
    const before = failures;
    await authority.deny(await nextRequest());
    await until(() => failures === before + 1);
  }
});

test('a request that nobody decides is given up after a quarter of an hour', async () => {
  const manager = await start();
  await nextRequest();
  await clock.advance(15 * 60_000 - 1);
  // The node must not take it for a server that works without it, and end, and its key with it: see ClientIdentity.
  expect([manager.serverHealthy, failures]).toEqual([false, 0]);
  await clock.advance(1);
  await until(() => failures === 1);
  expect(manager.serverHealthy).toBe(false);
});

test('a server that goes away while it has the request is not given another', async () => {
  const away = new AgentError('connect ECONNREFUSED', { code: 'API_UNREACHABLE', retryable: true });
  for (const error of [failure(503, 'busy'), away]) api.failNext('list', error, 'certificatesigningrequests');
  const manager = await start();
  await authority.issue(await nextRequest(), HOUR_MS);
  await clock.advance(1000);
  await clock.advance(1000);
  await until(() => manager.current() !== undefined);
  expect(api.all(certificateSigningRequests)).toHaveLength(1);
  expect(failures).toBe(0);
});

test('a server that refuses us is well, one that fails is not', async () => {
  const away = new AgentError('connect ECONNREFUSED', { code: 'API_UNREACHABLE', retryable: true });
  const answers = [
    [failure(403, 'forbidden'), true],
    [failure(500, 'broken'), false],
    [failure(401, 'unknown'), true],
    [away, false],
  ] as const;
  for (const [error] of answers) api.failNext('create', error, 'certificatesigningrequests');
  const manager = await start();
  for (const [i, [error, healthy]] of answers.entries()) {
    await until(() => failures === i + 1);
    expect([error.message, manager.serverHealthy]).toEqual([error.message, healthy]);
    await clock.advance(2000 * 2 ** i * 1.1);
  }
});

test('an expired certificate is none; the next is asked for without it', async () => {
  const first = await start();
  await authority.issue(await nextRequest(), HOUR_MS);
  await until(() => first.current() !== undefined);
  stop.abort();
  await ended;
  await clock.advance(2 * HOUR_MS);
  stop = new AbortController();
  const manager = await start();
  expect(manager.current()).toBeUndefined();
  expect(manager.expiresMs).toBeLessThan(clock.now());
  await authority.issue(await nextRequest(), HOUR_MS);
  await until(() => manager.current() !== undefined);
  expect(asked).toEqual([false, false]);
});

test('a pair that came with the kubeconfig is kept and replaced at once', async () => {
  const ca = createCa('ca', { nowMs: clock.now(), lifetimeMs: YEAR_MS });
  const { csr, key } = createCsr(clientTemplate('n'));
  const cert = signCsr(ca, parseCsr(csr), ['client auth'], { nowMs: clock.now(), lifetimeMs: YEAR_MS });
  const manager = await start({ initial: { cert, key } });
  expect(manager.current()?.cert).toBe(cert);
  await authority.issue(await nextRequest(), HOUR_MS);
  await until(() => manager.current()?.cert !== cert);
  await clock.advance(1000);
  expect(authority.pending()).toEqual([]);
  expect(asked).toEqual([true]);
});

test('a serving certificate waits for addresses, and other addresses end the request for the old ones', async () => {
  let template: CertificateTemplate | undefined;
  const manager = await start({ signerName: SERVING_SIGNER, usages: SERVING_USAGES, template: () => template });
  await clock.advance(HOUR_MS);
  expect(api.requests).toEqual([]);
  template = { ...clientTemplate('n'), ipAddresses: ['10.0.0.1'] };
  manager.templateChanged();
  await nextRequest();
  manager.templateChanged(); // the same again: nothing new is asked
  template = { ...template, ipAddresses: ['10.0.0.2'] };
  manager.templateChanged();
  await clock.advance(1000);
  await until(() => authority.pending().length === 2);
  expect(failures).toBe(0);
  const newest = api.all(certificateSigningRequests).find((r) => {
    return parseCsr(Buffer.from(r.spec.request, 'base64').toString()).ipAddresses[0] === '10.0.0.2';
  });
  await authority.issue(newest!, HOUR_MS);
  await until(() => manager.current() !== undefined);
  const serial = manager.current()!.leaf.serialNumber;
  template = { ...template, ipAddresses: ['10.0.0.3'] };
  await clock.advance(1000);
  manager.templateChanged();
  await until(() => authority.pending().length === 2);
  expect(manager.current()!.leaf.serialNumber).toBe(serial); // in use until there is a better one
});
