import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSelfSignedServingCert, YEAR_MS } from '../api/pki.ts';
import { checkCredentials } from './credential-check.ts';
import type { ClientConfig } from './kubeconfig.ts';

const validity = { nowMs: Date.now(), lifetimeMs: YEAR_MS };
const [one, other] = [
  createSelfSignedServingCert('one', {}, validity),
  createSelfSignedServingCert('other', {}, validity),
];
const config = (more: Partial<ClientConfig>): ClientConfig => ({
  server: 'https://192.0.2.1',
  insecureSkipTlsVerify: false,
  user: 'u',
  ...more,
});

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'nodelet-credentials-'));
  writeFileSync(path.join(dir, 'text'), 'hello');
  writeFileSync(path.join(dir, 'ca.crt'), one.cert);
});
afterAll(() => rmSync(dir, { recursive: true }));

const file = (name: string) => ({ file: path.join(dir, name) });
const BROKEN = { data: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' };

test('what can be used is let pass: files, data, a token alone', async () => {
  await checkCredentials(
    'k',
    config({ ca: file('ca.crt'), clientCert: { data: one.cert }, clientKey: { data: one.key } }),
  );
  await checkCredentials('k', config({ token: 'secret' }));
});

test.each<[string, () => Partial<ClientConfig>, string, RegExp]>([
  [
    'a missing CA',
    () => ({ ca: file('none') }),
    'KUBECONFIG_UNREADABLE',
    /certificate-authority \S+none cannot be read: ENOENT/,
  ],
  ['a directory', () => ({ ca: { file: dir } }), 'KUBECONFIG_UNREADABLE', /cannot be read: EISDIR/],
  ['no PEM', () => ({ ca: file('text') }), 'KUBECONFIG_INVALID', /text is not PEM text/],
  ['a broken CA', () => ({ ca: BROKEN }), 'KUBECONFIG_INVALID', /certificate-authority cannot be used/],
  [
    'a missing key',
    () => ({ clientCert: { data: one.cert }, clientKey: file('none') }),
    'KUBECONFIG_UNREADABLE',
    /client-key \S+none cannot be read/,
  ],
  [
    'a broken certificate',
    () => ({ clientCert: BROKEN, clientKey: { data: one.key } }),
    'KUBECONFIG_INVALID',
    /client-certificate cannot be used/,
  ],
  [
    'the key of another one',
    () => ({ clientCert: { data: one.cert }, clientKey: { data: other.key } }),
    'KUBECONFIG_INVALID',
    /client-key cannot be used/,
  ],
])('%s is told with the kubeconfig and its field', async (_, more, code, message) => {
  const checking = checkCredentials('/etc/k', config(more()));
  await expect(checking).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  await expect(checking).rejects.toThrow('kubeconfig /etc/k: ');
});
