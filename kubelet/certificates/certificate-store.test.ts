import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCa, issueClientCert, YEAR_MS } from '../../api/pki.ts';
import { CertificateStore } from './certificate-store.ts';

const NOON = new Date(2026, 10, 21, 12, 0, 5).getTime(); // local time, as the names have it
const validity = { nowMs: Date.now(), lifetimeMs: YEAR_MS };
const ca = createCa('test', validity);
const pair = (name: string) => issueClientCert(ca, { commonName: name }, validity);

let dir: string;
let store: CertificateStore;
const at = (name: string) => path.join(dir, name);
const subject = async (s = store) => (await s.current())?.leaf.subject;

beforeEach(async () => {
  dir = path.join(await mkdtemp(path.join(tmpdir(), 'nodelet-store-')), 'pki');
  store = new CertificateStore({ dir, prefix: 'kubelet-client' });
});
afterEach(() => rm(path.dirname(dir), { recursive: true }));

test('a pair is a file of its time, one link names the newest, earlier ones stay', async () => {
  await store.update(pair('one'), NOON);
  await store.update(pair('two'), NOON + 1000);
  expect((await readdir(dir)).sort()).toEqual([
    'kubelet-client-2026-11-21-12-00-05.pem',
    'kubelet-client-2026-11-21-12-00-06.pem',
    'kubelet-client-current.pem',
  ]);
  expect(await readlink(at('kubelet-client-current.pem'))).toBe(at('kubelet-client-2026-11-21-12-00-06.pem'));
  const file = at('kubelet-client-2026-11-21-12-00-05.pem');
  expect((await lstat(file)).mode & 0o777).toBe(0o600);
  const blocks = [...(await readFile(file, 'utf8')).matchAll(/BEGIN ([A-Z ]+)-/g)].map((m) => m[1]);
  expect(blocks).toEqual(['CERTIFICATE', 'PRIVATE KEY']);
  expect(await subject()).toBe('CN=two');
});

test('a switch that was cut short is finished, whoever began it', async () => {
  await store.update(pair('one'), NOON);
  // client-go, killed after it removed the link
  await rename(at('kubelet-client-current.pem'), at('kubelet-client-updated.pem'));
  expect(await subject()).toBe('CN=one');
  expect((await lstat(at('kubelet-client-current.pem'))).isSymbolicLink()).toBe(true);
  // killed before it: a link that nobody put in use
  await symlink('/nowhere', at('kubelet-client-updated.pem'));
  expect(await subject()).toBe('CN=one');
  await store.update(pair('two'), NOON + 1000);
  expect(await subject()).toBe('CN=two');
  await expect(lstat(at('kubelet-client-updated.pem'))).rejects.toThrow('ENOENT');
});

test('a file in the place of the link is not overwritten', async () => {
  await mkdir(dir);
  const { cert, key } = pair('mine');
  await writeFile(at('kubelet-client-current.pem'), cert + key);
  expect(await subject()).toBe('CN=mine');
  await expect(store.update(pair('other'), NOON)).rejects.toMatchObject({
    code: 'CERTIFICATE_STORE',
    message: `expected "${at('kubelet-client-current.pem')}" to be a symlink but it is a file`,
  });
  expect(await subject()).toBe('CN=mine');
});

test('without a pair of its own the files that are named count, then those of old', async () => {
  expect(await subject()).toBeUndefined();
  await mkdir(dir);
  const [old, given] = [pair('old'), pair('given')];
  await writeFile(at('kubelet-client.crt'), old.cert);
  await writeFile(at('kubelet-client.key'), old.key);
  await symlink(at('gone.pem'), at('kubelet-client-current.pem')); // leads nowhere: as if it were not there
  expect(await subject()).toBe('CN=old');
  await writeFile(at('a.crt'), given.cert);
  await writeFile(at('a.key'), given.key);
  const files = { certFile: at('a.crt'), keyFile: at('a.key') };
  expect(await subject(new CertificateStore({ dir, prefix: 'kubelet-client', ...files }))).toBe('CN=given');
});

test.each([
  ['no PEM', 'hello'],
  ['no key', pair('a').cert],
  ["another certificate's key", pair('a').cert + pair('b').key],
])('a pair that cannot be used is an error, not a reason to bootstrap: %s', async (_what, text) => {
  await mkdir(dir);
  await writeFile(at('x.pem'), text);
  await symlink(at('x.pem'), at('kubelet-client-current.pem'));
  await expect(store.current()).rejects.toMatchObject({ code: 'CERTIFICATE_UNREADABLE' });
});
