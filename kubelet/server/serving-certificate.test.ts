import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSelfSignedServingCert, YEAR_MS } from '../../api/pki.ts';
import { systemClock } from '../../core/clock.ts';
import { loadServingCertificate } from './serving-certificate.ts';

let dir: string;
const load = (more: { tlsCertFile?: string; tlsPrivateKeyFile?: string } = {}) =>
  loadServingCertificate(
    {
      tlsCertFile: more.tlsCertFile,
      tlsPrivateKeyFile: more.tlsPrivateKeyFile,
      certDir: path.join(dir, 'pki'),
      nodeName: 'node-1',
      addresses: ['192.0.2.7', 'host.example'],
    },
    systemClock,
  );

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-serving-'));
});

afterEach(() => rm(dir, { recursive: true }));

test('a pair is made once, for the node and its addresses, and kept', async () => {
  const first = await load();
  const certificate = new X509Certificate(first.cert);
  expect(certificate.checkHost('node-1')).toBe('node-1');
  expect(certificate.checkHost('host.example')).toBe('host.example');
  expect(certificate.checkIP('192.0.2.7')).toBe('192.0.2.7');
  expect((await stat(path.join(dir, 'pki/kubelet.key'))).mode & 0o777).toBe(0o600);
  expect(await load()).toEqual(first);
});

test('a pair that a crash left half-written, or that has run out, is made anew', async () => {
  const first = await load();
  const other = createSelfSignedServingCert('other', {}, { nowMs: Date.now(), lifetimeMs: YEAR_MS });
  await writeFile(path.join(dir, 'pki/kubelet.key'), other.key);
  const second = await load();
  expect(second.cert).not.toBe(first.cert);
  const old = createSelfSignedServingCert('old', {}, { nowMs: Date.now() - 2 * YEAR_MS, lifetimeMs: YEAR_MS });
  await writeFile(path.join(dir, 'pki/kubelet.crt'), old.cert);
  await writeFile(path.join(dir, 'pki/kubelet.key'), old.key);
  expect((await load()).cert).not.toBe(old.cert);
});

test('files that are given win, and must be readable', async () => {
  const given = createSelfSignedServingCert('given', {}, { nowMs: Date.now(), lifetimeMs: YEAR_MS });
  const [tlsCertFile, tlsPrivateKeyFile] = [path.join(dir, 'a.crt'), path.join(dir, 'a.key')];
  await writeFile(tlsCertFile, given.cert);
  await writeFile(tlsPrivateKeyFile, given.key);
  expect(await load({ tlsCertFile, tlsPrivateKeyFile })).toEqual(given);
  expect(await readFile(tlsCertFile, 'utf8')).toBe(given.cert);
  await expect(load({ tlsCertFile: path.join(dir, 'none'), tlsPrivateKeyFile })).rejects.toMatchObject({
    code: 'SERVING_CERT_UNREADABLE',
  });
});
