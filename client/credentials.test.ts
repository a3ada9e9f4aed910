import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { Credentials } from './credentials.ts';
import { type RunPlugin, runPlugin } from './exec-credential.ts';
import type { ClientConfig, ExecPlugin } from './kubeconfig.ts';

const VERSION = 'client.authentication.k8s.io/v1';
const plugin: ExecPlugin = {
  apiVersion: VERSION,
  command: 'login',
  args: [],
  env: {},
  installHint: undefined,
  provideClusterInfo: false,
};
const printed = (status: object) => JSON.stringify({ apiVersion: VERSION, kind: 'ExecCredential', status });

let dir: string;
let clock: FakeClock;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'credentials-test-'));
  clock = new FakeClock();
});
afterEach(() => rm(dir, { recursive: true }));

function credentials(config: Partial<ClientConfig>, run?: RunPlugin): Credentials {
  const all: ClientConfig = { server: 'https://x', insecureSkipTlsVerify: false, user: 'u', ...config };
  return new Credentials(all, { clock, ...(run === undefined ? {} : { runPlugin: run }) });
}

describe('files', () => {
  test('are read again when they changed, at most once a second', async () => {
    const tokenFile = path.join(dir, 'token');
    await writeFile(tokenFile, 'one\n');
    const c = credentials({ tokenFile });
    expect(await c.token()).toBe('one');
    await writeFile(tokenFile, 'three\n');
    expect(await c.token()).toBe('one');
    await clock.advance(1_000);
    expect(await c.token()).toBe('three');
  });

  test('may be missing for a moment while they are replaced', async () => {
    const tokenFile = path.join(dir, 'token');
    await writeFile(tokenFile, 'one');
    const c = credentials({ tokenFile });
    await c.token();
    await rename(tokenFile, `${tokenFile}.away`);
    await clock.advance(1_000);
    expect(await c.token()).toBe('one');
  });

  test('may be empty or half there for a moment, too: what stood in them before goes on', async () => {
    const [tokenFile, file] = [path.join(dir, 'token'), path.join(dir, 'ca')];
    const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    await writeFile(tokenFile, 'one');
    await writeFile(file, pem);
    const c = credentials({ tokenFile, ca: { file } });
    await Promise.all([c.token(), c.tls()]);
    for (const [token, ca] of [
      ['', ''],
      ['\n', pem.slice(0, 40)],
    ] as const) {
      await writeFile(tokenFile, token);
      await writeFile(file, ca);
      await clock.advance(1_000);
      expect([await c.token(), (await c.tls()).ca]).toEqual(['one', pem]);
    }
    await writeFile(tokenFile, 'two');
    await writeFile(file, pem + pem);
    expect([await c.token(), (await c.tls()).ca]).toEqual(['two', pem + pem]);
  });

  test('that were never there are an error with their name', async () => {
    await expect(credentials({ clientCert: { file: '/nonexistent/c.pem' } }).tls()).rejects.toMatchObject({
      code: 'CREDENTIALS_UNREADABLE',
      message: expect.stringContaining('/nonexistent/c.pem'),
    });
  });

  test('that did not change give the same TLS material, so that connections are kept', async () => {
    const file = path.join(dir, 'ca');
    await writeFile(file, 'pem');
    const c = credentials({ ca: { file } });
    const first = await c.tls();
    await clock.advance(5_000);
    expect(await c.tls()).toBe(first);
  });
});

describe('plugins', () => {
  test('are asked once until shortly before what they gave expires', async () => {
    let runs = 0;
    const c = credentials({ exec: plugin }, async () => {
      runs++;
      return printed({ token: `t${runs}`, expirationTimestamp: new Date(clock.now() + 60_000).toISOString() });
    });
    expect(await Promise.all([c.token(), c.token()])).toEqual(['t1', 't1']);
    await clock.advance(49_000);
    expect(await c.token()).toBe('t1');
    await clock.advance(1_000);
    expect(await c.token()).toBe('t2');
    c.invalidate();
    expect(await c.token()).toBe('t3');
  });

  test('that give a key pair identify by certificate', async () => {
    const c = credentials({ exec: plugin }, async () =>
      printed({ clientCertificateData: 'CERT', clientKeyData: 'KEY' }),
    );
    expect(await c.tls()).toEqual({ ca: undefined, cert: 'CERT', key: 'KEY' });
    expect(await c.token()).toBeUndefined();
  });

  test('that fail are asked again by the next call', async () => {
    const outputs = [Promise.reject(new Error('not logged in')), Promise.resolve(printed({ token: 't' }))];
    const c = credentials({ exec: plugin }, () => outputs.shift()!);
    await expect(c.token()).rejects.toMatchObject({
      code: 'EXEC_CREDENTIAL_FAILED',
      message: 'credential plugin login failed: not logged in',
    });
    expect(await c.token()).toBe('t');
  });

  test.each([
    'not json',
    'null',
    '{"kind":"ExecCredential","apiVersion":"v0","status":{"token":"t"}}',
    printed({}),
    printed({ clientKeyData: 'KEY' }),
    printed({ token: 't', expirationTimestamp: 'soon' }),
  ])('that print %j are refused', async (output) => {
    await expect(credentials({ exec: plugin }, async () => output).token()).rejects.toMatchObject({
      code: 'EXEC_CREDENTIAL_FAILED',
    });
  });

  test('are real programs: environment in, credential out, last line of stderr as the error', async () => {
    const script =
      'echo "{\\"apiVersion\\":\\"$V\\",\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"$T\\"}}"';
    const real = { ...plugin, command: '/bin/sh', args: ['-c', script], env: { V: VERSION, T: 'secret' } };
    expect(await credentials({ exec: real }, runPlugin).token()).toBe('secret');
    const info = {
      ...plugin,
      command: '/bin/sh',
      args: ['-c', 'echo warming up >&2; echo "$KUBERNETES_EXEC_INFO" >&2; exit 3'],
    };
    await expect(credentials({ exec: info }, runPlugin).token()).rejects.toThrow('"kind":"ExecCredential"');
  });
});
